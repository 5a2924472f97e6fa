r"""From photographs to a dataset in one command.

    python -m data_prep.prepare_dataset --images=photos --model=model.npz \
      --output=prepared --heldout_people=6

Runs the five stages one after another, each with a folder of its own, and
writes a page of pictures that shows what they made of each photo:

    prepared/  detected/  located/  aligned/  fitted/  dataset/  photos.html

Every flag of a stage can be set: --set=detect_faces.factor=0.709. Killed or
stopped, the same command goes on where it was. Machines that share the folder
take a part each with --shard=i/n: each waits for the others after each stage,
and the first one writes the page.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import shlex
import sys
import time

from absl import flags, logging

from data_prep import command_line
from data_prep.locate_landmarks import LOCATORS
from data_prep.photo_page import write_photo_page
from data_prep.photos import PHOTO_SET
from data_prep.stage_about import ABOUT, read_counts, read_licences
from data_prep.stage_folder import ALONE, Share, digest, open_stage, parse_share
from data_prep.stage_process import run_module

STAGE = "prepare_dataset"
# Each stage, its folder, and the flag that names the folder before.
STAGES = (
  ("detect_faces", "detected", "images"),
  ("locate_landmarks", "located", "detected"),
  ("align_faces", "aligned", "located"),
  ("fit_faces", "fitted", "landmarks"),
  ("build_dataset", "dataset", "fits"),
)
PAGE = "photos.html"
_ASK_AGAIN_S = 5.0
_OWN_FLAGS = ("output", "shard", "model", *(source for *_, source in STAGES))


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
  images: str,
  model: str,
  output: pathlib.Path,
  options: Mapping[str, Mapping[str, str]],
) -> list[Step]:
  """The stages of a run.

  Args:
    images: The photos, as `list_photos` takes them.
    model: The .npz to fit.
    output: The folder of them all.
    options: Flags by stage and name.

  Raises:
    ValueError: `options` has a stage that there is not.
  """
  names = [stage for stage, _, _ in STAGES]
  for stage in options:
    if stage not in names:
      raise ValueError(
        f"--set: expected a flag of {', '.join(names)}, got one of {stage!r}"
      )
  steps = []
  before = images
  for stage, folder, source in STAGES:
    inputs = [f"--{source}={before}"]
    if stage == "fit_faces":
      inputs.append(f"--model={model}")
    steps.append(
      Step(stage, output / folder, inputs, dict(options.get(stage, {})))
    )
    before = str(output / folder)
  return steps


def parse_options(texts: Sequence[str]) -> dict[str, dict[str, str]]:
  """Flags by stage and name out of `--set=stage.flag=value`.

  Raises:
    ValueError: A text is none such.
  """
  options: dict[str, dict[str, str]] = {}
  for text in texts:
    place, equals, value = text.partition("=")
    stage, dot, name = place.partition(".")
    if not (equals and dot and stage and name):
      raise ValueError(f"--set: expected stage.flag=value, got {text!r}")
    if name in _OWN_FLAGS:
      raise ValueError(f"--set: {place}: set by {STAGE} itself")
    options.setdefault(stage, {})[name] = value
  return options


def prepare_dataset(
  steps: Sequence[Step],
  output: pathlib.Path,
  *,
  share: Share = ALONE,
  most_pictures: int = 200,
) -> bool:
  """Runs the steps that are not done, and writes the page.

  Args:
    steps: From `plan_steps`.
    output: The folder to write; new, empty, or of an earlier run of this.
    share: Which shards are this machine's.
    most_pictures: How many photos the page shows at most.

  Returns:
    Whether all went well; where not, the stage has said why, and the page
    shows how far the photos came.

  Raises:
    ValueError: `output` holds something else, or was begun with other flags,
      or another machine's share failed.
  """
  settings = {
    f"{step.stage}.{name}": value
    for step in steps
    for name, value in step.options.items()
  }
  folder = open_stage(
    output,
    STAGE,
    num_shards=0,
    settings=settings,
    licences={},
    inputs=digest([]),
  )
  failure = output / f".failed-{share.index}-of-{share.count}"
  failure.unlink(missing_ok=True)
  done: dict[str, pathlib.Path] = {}
  for number, step in enumerate(steps, start=1):
    logging.info("%d of %d: %s", number, len(steps), step.stage)
    start = time.monotonic()
    failed = _run_share(step, share, output)
    if read_counts(step.folder):
      done[step.stage] = step.folder
    if failed:
      failure.write_text(step.stage)
      break
    logging.info("%s: %.1f s", step.stage, time.monotonic() - start)
  if share.index:
    return not failed
  # A dataset has no rows of photos.
  *_, last = steps
  done.pop(last.stage, None)
  if done:
    write_photo_page(
      output / PAGE, done, [step.shown() for step in steps], most=most_pictures
    )
    logging.info("Wrote %s.", output / PAGE)
  if not failed:
    licences = read_licences(last.folder)
    folder = dataclasses.replace(folder, licences=licences)
    folder.record(read_counts(last.folder))
  return not failed


def _run_share(step: Step, share: Share, output: pathlib.Path) -> bool:
  """Runs a machine's share, and waits for the others'; whether it failed."""
  # One machine begins the folder.
  while share.index and not (step.folder / ABOUT).is_file():
    _wait_for_others(output)
  if run_module(*step.command(f"--shard={share.index}/{share.count}")):
    return True
  if not read_counts(step.folder):
    logging.info("Waiting for the shards of other machines.")
  while not read_counts(step.folder):
    _wait_for_others(output)
  return False


def _wait_for_others(output: pathlib.Path) -> None:
  for failure in output.glob(".failed-*"):
    _, share, _, count = failure.name.split("-")
    raise ValueError(
      f"{output}: --shard={share}/{count} failed in {failure.read_text()}, so"
      " its part is missing; mend what it says, and run that and this again"
    )
  time.sleep(_ASK_AGAIN_S)


def define_flags() -> None:
  """Defines what most sets need of the stages' flags, and --set."""
  flags.DEFINE_string("images", None, PHOTO_SET, required=True)
  flags.DEFINE_string(
    "model", None, "The .npz convert_morphable_model wrote.", required=True
  )
  flags.DEFINE_string(
    "output", None, "The folder to write, or to go on with.", required=True
  )
  flags.DEFINE_string(
    "heldout_people",
    None,
    "How many people to hold out, or their names with commas between them.",
    required=True,
  )
  flags.DEFINE_string(
    "photo_licence",
    "not given",
    "Terms of use of the photos, to be written into all that is made of them.",
  )
  flags.DEFINE_enum("locator", "dlib", LOCATORS, "What finds the landmarks.")
  flags.DEFINE_multi_string(
    "set",
    [],
    "A flag of a stage, stage.flag=value, e.g. detect_faces.faces=largest or"
    " locate_landmarks.fan_python=fan/bin/python; may be repeated.",
  )
  flags.DEFINE_string("shard", "0/1", "This machine's part, i/n.")
  flags.DEFINE_integer(
    "pictures", 200, "Photos on the page, at most.", lower_bound=1
  )


def main() -> None:
  """Runs all stages."""
  values = flags.FLAGS
  for name in ("images", "model"):
    path = pathlib.Path(values[name].value.split("::")[0])
    if not path.exists():
      raise FileNotFoundError(f"--{name}: {path}: no such file or folder")
  options = {
    "detect_faces": {"photo_licence": values.photo_licence},
    "locate_landmarks": {"locator": values.locator},
    "build_dataset": {"heldout_people": values.heldout_people},
  }
  asked = parse_options(values.set)
  for stage, own in asked.items():
    options.setdefault(stage, {}).update(own)
  output = pathlib.Path(values.output)
  steps = plan_steps(values.images, values.model, output, options)
  share = parse_share(values.shard)
  for step in steps:
    # Wrong flags are told now, not after the stages before.
    if step.stage in asked and run_module(*step.command("--only_check_args")):
      sys.exit(1)
  if not prepare_dataset(
    steps, output, share=share, most_pictures=values.pictures
  ):
    sys.exit(1)


if __name__ == "__main__":
  command_line.run(main, define_flags)
