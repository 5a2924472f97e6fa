r"""The paper at its own size, on people who never were, in one command.

    python -m experiments.paper_scale --workdir=runs/paper

World, photographs and fits on the device; the three phases on crops held
there; then everything measured on people never seen, and a page of answers
beside the run. A stage that is done is not done again; Ctrl-C, SIGTERM or
--minutes save, and the same command goes on. `--scale=0.001` is the same
program on a CPU:

    python -m experiments.paper_scale --workdir=runs/small --scale=0.001 \
      --config.model.trunk=tiny --config.batch_size=32 --test_people=10
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import json
import logging
import pathlib
import time

from absl import flags
import jax
from ml_collections import config_flags

from data_prep import command_line
from data_prep.output_files import replace_file
from data_prep.synthetic_set import SyntheticSet, render_batch, world_of
from disentangle3d.training.export import Export
from disentangle3d.training.run import Outcome
from disentangle3d.types import (
  CASIA_NUM_CLASSES,
  CASIA_NUM_IMAGES,
  NUM_VERTICES,
)
from experiments.benchmark_speed import timing_findings
from experiments.configs.paper_scale import with_steps
from experiments.decoder_bases import bases_section
from experiments.host_memory import keep_freed_memory
from experiments.paper_page import log_stage, save_results, write_page
from experiments.paper_people import (
  MOST_PHOTOS,
  render_people,
  training_people,
)
from experiments.paper_results import (
  AFTER_PRETRAINING,
  measure_study,
  trained_networks,
)
from experiments.paper_training import (
  Study,
  fit_variant,
  fits_file,
  is_exported,
  is_trained,
  run_folder,
  start_folder,
  train_variant,
)
from experiments.paper_variants import PAPER, VARIANTS
from experiments.saved_sections import Findings
from experiments.train import quieten_libraries, stop_on_signals

_TIMED_BATCHES = (1, 8, 32)
_BASES, _PICTURE_PX = 4, 256
STAGES = ("all", "fit", "train", "evaluate")
_logger = logging.getLogger("disentangle3d.paper_scale")


class Stopped(Exception):
  """Ctrl-C, SIGTERM or --minutes; what was done is saved."""


def open_study(values: flags.FlagValues) -> Study:
  """World, people and config of a workdir, as its first command made them.

  Raises:
    ValueError: A flag is out of range, or the workdir holds another study.
    FileNotFoundError: There is no such 3DMM.
  """
  if not 0 < values.scale <= 1:
    raise ValueError(
      f"--scale: expected above 0, at most 1, got {values.scale}"
    )
  people = training_people(
    max(2, round(CASIA_NUM_CLASSES * values.scale)),
    max(4, round(CASIA_NUM_IMAGES * values.scale)),
    seed=values.world_seed,
  )
  settings = SyntheticSet(
    people=len(people.counts),
    photos_per_person=MOST_PHOTOS,
    heldout_people=values.test_people,
    seed=values.world_seed,
    morphable_model=values.morphable_model,
    num_vertices=values.num_vertices,
  )
  workdir = pathlib.Path(values.workdir)
  _keep_settings(
    workdir, {"scale": values.scale} | dataclasses.asdict(settings)
  )
  config = with_steps(values.config, people.num_photos)
  if jax.default_backend() != "cpu":
    config.model.dtype = "bfloat16"
  world, fitter = world_of(settings)
  batch = values.render_batch or render_batch()

  @functools.cache
  def render():
    with _timed(workdir, "rendering"):
      return render_people(world, people, seed=settings.seed, batch=batch)

  return Study(workdir, settings, world, fitter, people, config, render)


def _keep_settings(workdir: pathlib.Path, settings: dict) -> None:
  path = workdir / "study.json"
  settings = json.loads(json.dumps(settings))
  if not path.is_file():
    workdir.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(settings, indent=1).encode())
    return
  before = json.loads(path.read_text())
  for name, value in settings.items():
    if before.get(name) != value:
      raise ValueError(
        f"{path}: expected {name} {before.get(name)!r} as this study was begun"
        f" with, got {value!r}; give another --workdir"
      )


def check_order(study: Study, names: Sequence[str], seed: int) -> None:
  """Refuses variants whose start nobody has trained or asked for.

  Raises:
    FileNotFoundError: The paper's run has no params after phase II.
  """
  start = start_folder(study, seed)
  needy = [name for name in names if not VARIANTS[name].own_pretraining]
  if needy and PAPER not in names and not is_exported(start):
    raise FileNotFoundError(
      f"{start}: no such export, which {', '.join(needy)} starts from; give"
      f" --ablation={PAPER} as well"
    )


def fit(study: Study, names: Sequence[str]) -> None:
  """Renders and fits all photos, once for each number of modes."""
  for name in names:
    path = fits_file(study, VARIANTS[name])
    if not path.is_file():
      study.render()
      with _timed(study.workdir, f"fitting, {path.stem}"):
        fit_variant(study, VARIANTS[name])


def train(
  study: Study, names: Sequence[str], seed: int, stop: Callable[[], bool]
) -> None:
  """Trains variants that are not done, the paper's run first.

  Raises:
    Stopped: It was asked to; what was done is saved.
  """
  for name in sorted(set(names), key=list(VARIANTS).index):
    if is_trained(run_folder(study, name, seed)):
      _logger.info("%s, seed %d: done before", name, seed)
      continue
    study.render()
    with _timed(study.workdir, f"training, {name}, seed {seed}"):
      outcome: Outcome = train_variant(study, name, seed, should_stop=stop)
      if not outcome.complete:
        raise Stopped


def evaluate(study: Study, values: flags.FlagValues) -> None:
  """Measures everything there is of a seed, and writes the pages."""
  measured = study
  if values.people == "validation":
    measured = dataclasses.replace(
      study,
      settings=dataclasses.replace(
        study.settings,
        # They come after the test people.
        people=study.settings.people + study.settings.heldout_people,
        heldout_people=values.validation_people,
      ),
    )
  with _timed(
    study.workdir, f"evaluation, {values.people}, seed {values.seed}"
  ):
    networks = trained_networks(study, values.seed)
    results = measure_study(
      measured,
      networks,
      bound_people=values.bound_people,
      protocol_photos=values.protocol_photos,
    )
    folder = save_results(
      measured,
      results,
      values.people,
      values.seed,
      _timing_and_bases(networks, values.timed_images),
    )
  page = write_page(measured, values.people, scale=values.scale)
  print(f"paper_scale: read {page}")
  print(f"paper_scale: python -m experiments.report --workdir={folder}")


def _timing_and_bases(
  networks: Mapping[str, Export], images: int
) -> dict[str, Findings]:
  """Table 4 and Fig. 9, of the paper's run."""
  paper = VARIANTS[PAPER].title
  shown = {name: networks[name] for name in (AFTER_PRETRAINING, paper)}
  bases = bases_section(shown, count=_BASES, size_px=_PICTURE_PX)
  return {
    "timing": timing_findings(
      networks[paper].model,
      networks[paper].params,
      batches=_TIMED_BATCHES,
      images=images,
    ),
    "pictures": Findings("Pictures", [bases], {}),
  }


@contextlib.contextmanager
def _timed(workdir: pathlib.Path, stage: str) -> Iterator[None]:
  """Says and keeps how long a stage took, also one that was stopped."""
  print(f"paper_scale: {stage} ...", flush=True)
  start = time.monotonic()
  note = " (stopped)"
  try:
    yield
    note = ""
  finally:
    seconds = time.monotonic() - start
    log_stage(workdir, stage + note, seconds)
    print(f"paper_scale: {stage}{note}: {seconds:.0f} s", flush=True)


def _define_flags() -> None:
  config_flags.DEFINE_config_file(
    "config",
    "experiments/configs/paper_scale.py",
    "Rates, epochs, batch and trunk.",
    lock_config=True,
  )
  flags.DEFINE_string("workdir", None, "Where everything goes.", required=True)
  flags.DEFINE_float("scale", 1.0, "Share of the paper's people and photos.")
  flags.DEFINE_string(
    "morphable_model", None, "An .npz to take instead of the procedural model."
  )
  flags.DEFINE_integer("num_vertices", NUM_VERTICES, "Of the procedural model.")
  flags.DEFINE_enum("stage", "all", STAGES, "What to do.")
  flags.DEFINE_multi_enum(
    "ablation",
    [PAPER],
    list(VARIANTS),
    "What to train; all that is trained is evaluated. Repeat for more.",
  )
  flags.DEFINE_integer("seed", 0, "Of the training.", lower_bound=0)
  flags.DEFINE_integer("world_seed", 0, "Of people and photos.", lower_bound=0)
  flags.DEFINE_enum(
    "people", "test", ("test", "validation"), "Whom to evaluate on."
  )
  flags.DEFINE_integer("test_people", 500, "Never trained on.")
  flags.DEFINE_integer("validation_people", 200, "Neither, to choose rates by.")
  flags.DEFINE_integer(
    "bound_people", 4, "Test people whose true shapes are projected (slow)."
  )
  flags.DEFINE_integer(
    "protocol_photos", 10, "Photos to compare by every protocol (slow)."
  )
  flags.DEFINE_integer(
    "timed_images", 700, "Reconstructions to time, at least.", lower_bound=1
  )
  flags.DEFINE_integer(
    "render_batch", 0, "Photos at a time; 0 takes 256, on a CPU 16."
  )
  flags.DEFINE_float(
    "minutes", 0.0, "Stop training, saved, after so long; 0: never."
  )


def main() -> None:
  """Runs the stages; bad input is one line and status 1."""
  values = flags.FLAGS
  quieten_libraries()
  keep_freed_memory()
  study = open_study(values)
  if values.stage in ("all", "train"):
    check_order(study, values.ablation, values.seed)
  end = time.monotonic() + 60 * values.minutes if values.minutes else None
  if values.stage in ("all", "fit"):
    fit(study, values.ablation)
  try:
    if values.stage in ("all", "train"):
      with stop_on_signals() as signalled:

        def stop() -> bool:
          return signalled() or (end is not None and time.monotonic() > end)

        train(study, values.ablation, values.seed, stop)
  except Stopped:
    print("paper_scale: stopped, saved; run the same command to go on")
    return
  if values.stage in ("all", "evaluate"):
    evaluate(study, values)


if __name__ == "__main__":
  command_line.run(main, _define_flags)
