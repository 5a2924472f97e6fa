"""All stages one after another, each a process with a folder of its own."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import pathlib
import shlex
import time

from absl import logging

from data_prep.fitting.photo_page import write_photo_page
from data_prep.stages.about import ABOUT, read_counts, read_licences
from data_prep.stages.child_process import run_module
from data_prep.stages.engine import LOCAL, Engine
from data_prep.stages.folder import ALONE, Share, digest, open_stage
from data_prep.stages.ray_engine import RayEngine, address_of, connected
from disentangle3d.output_files import replace_file
from disentangle3d.types import UserError

STAGE = "prepare_dataset"


# Each stage, its folder, and the flag that names the folder before.
STAGES = (
  ("detect_faces", "detected", "photos"),
  ("locate_landmarks", "located", "detected"),
  ("align_faces", "aligned", "located"),
  ("fit_faces", "fitted", "aligned"),
  ("build_dataset", "dataset", "fitted"),
)


PAGE = "photos.html"


_ASK_AGAIN_S = 5.0


_OWN_FLAGS = (
  *("output", "shard", "morphable_model"),
  *("engine", "ray_address", "worker_cpus"),
  *(source for *_, source in STAGES),
  # Old names of the same.
  *("images", "model", "landmarks", "fits"),
)


@dataclasses.dataclass(frozen=True)
class Step:
  """One stage of a run.

  Attributes:
    stage: The binary's name.
    folder: Where it writes.
    inputs: Its flags for what it reads, as `--name=path`.
    options: Its other flags but --output and --shard, by name.
  """

  stage: str
  folder: pathlib.Path
  inputs: Sequence[str]
  options: Mapping[str, str]

  def command(self, *extra: str) -> list[str]:
    """Module and flags, with flags that are not the set's."""
    return [
      f"data_prep.{self.stage}",
      *self.inputs,
      f"--output={self.folder}",
      *(f"--{name}={value}" for name, value in self.options.items()),
      *extra,
    ]

  def shown(self) -> str:
    """The command as one would type it."""
    return shlex.join(["python", "-m", *self.command()])


def plan_steps(
  photos: str,
  morphable_model: str,
  output: pathlib.Path,
  options: Mapping[str, Mapping[str, str]],
) -> list[Step]:
  """The stages of a run.

  Args:
    photos: Where they are, as `list_photos` takes them.
    morphable_model: The .npz to fit.
    output: The folder of them all.
    options: Flags by stage and name.

  Raises:
    UserError: `options` has a stage that there is not.
  """
  names = [stage for stage, _, _ in STAGES]
  for stage in options:
    if stage not in names:
      raise UserError(
        f"--set: expected a flag of {', '.join(names)}, got one of {stage!r}"
      )
  steps = []
  before = photos
  for stage, folder, source in STAGES:
    inputs = [f"--{source}={before}"]
    if stage == "fit_faces":
      inputs.append(f"--morphable_model={morphable_model}")
    steps.append(
      Step(stage, output / folder, inputs, dict(options.get(stage, {})))
    )
    before = str(output / folder)
  return steps


def parse_options(texts: Sequence[str]) -> dict[str, dict[str, str]]:
  """Flags by stage and name out of `--set=stage.flag=value`.

  Raises:
    UserError: A text is none such.
  """
  options: dict[str, dict[str, str]] = {}
  for text in texts:
    place, equals, value = text.partition("=")
    stage, dot, name = place.partition(".")
    if not (equals and dot and stage and name):
      raise UserError(f"--set: expected stage.flag=value, got {text!r}")
    if name in _OWN_FLAGS:
      raise UserError(f"--set: {place}: set by {STAGE} itself")
    options.setdefault(stage, {})[name] = value
  return options


def prepare_dataset(
  steps: Sequence[Step],
  output: pathlib.Path,
  *,
  share: Share = ALONE,
  engine: Engine = LOCAL,
  most_pictures: int = 200,
) -> bool:
  """Runs the steps that are not done, and writes the page.

  Args:
    steps: From `plan_steps`.
    output: The folder to write; new, empty, or of an earlier run of this.
    share: Which shards are this machine's.
    engine: Who makes the shards of every stage.
    most_pictures: How many photos the page shows at most.

  Returns:
    Whether all went well; where not, the stage has said why, and the page
    shows how far the photos came.

  Raises:
    UserError: `output` holds something else, or was begun with other flags,
      or another machine's share failed.
  """
  settings = {
    f"{step.stage}.{name}": value
    for step in steps
    for name, value in step.options.items()
  }
  with (
    _flags_of(engine) as engine_flags,
    open_stage(
      output,
      STAGE,
      num_shards=0,
      settings=settings,
      licences={},
      inputs=digest([]),
      share=share,
    ) as folder,
  ):
    failure = output / f".failed-{share.index}-of-{share.count}"
    failure.unlink(missing_ok=True)
    done: dict[str, pathlib.Path] = {}
    for number, step in enumerate(steps, start=1):
      logging.info("%d of %d: %s", number, len(steps), step.stage)
      start = time.monotonic()
      failed = _run_share(step, share, output, engine_flags)
      if read_counts(step.folder):
        done[step.stage] = step.folder
      if failed:
        replace_file(failure, step.stage)
        break
      logging.info("%s: %.1f s", step.stage, time.monotonic() - start)
    if share.index:
      return not failed
    # A dataset has no rows of photos.
    *_, last = steps
    done.pop(last.stage, None)
    if done:
      write_photo_page(
        output / PAGE,
        done,
        [step.shown() for step in steps],
        most=most_pictures,
      )
      logging.info("Wrote %s.", output / PAGE)
    if not failed:
      licences = read_licences(last.folder)
      folder = dataclasses.replace(folder, licences=licences)
      folder.record(read_counts(last.folder))
    return not failed


@contextlib.contextmanager
def _flags_of(engine: Engine) -> Iterator[list[str]]:
  """What stages are told of an engine; they share one cluster."""
  if not isinstance(engine, RayEngine):
    yield []
    return
  with connected(engine.address) as ray:
    yield [
      "--engine=ray",
      f"--ray_address={address_of(ray)}",
      f"--worker_cpus={engine.worker_cpus}",
    ]


def _run_share(
  step: Step, share: Share, output: pathlib.Path, engine: Sequence[str]
) -> bool:
  """Runs a machine's share, and waits for the others'; whether it failed."""
  # One machine begins the folder.
  while share.index and not (step.folder / ABOUT).is_file():
    _wait_for_others(output)
  part = f"--shard={share.index}/{share.count}"
  if run_module(*step.command(part, *engine)):
    return True
  if not read_counts(step.folder):
    logging.info("Waiting for the shards of other machines.")
  while not read_counts(step.folder):
    _wait_for_others(output)
  return False


def _wait_for_others(output: pathlib.Path) -> None:
  for failure in output.glob(".failed-*"):
    _, share, _, count = failure.name.split("-")
    raise UserError(
      f"{output}: --shard={share}/{count} failed in {failure.read_text()}, so"
      " its part is missing; mend what it says, and run that and this again"
    )
  time.sleep(_ASK_AGAIN_S)
