"""The study's stages: fit, train, evaluate; each goes on where it stopped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import json
import logging
import os
import pathlib
import time

from ml_collections import ConfigDict

from data_prep.datasets.synthetic_set import (
  SyntheticSet,
  render_batch,
  world_of,
)
from disentangle3d.evaluation.pair_plans import LEAST_PEOPLE
from disentangle3d.output_files import check_folder, replace_file
from disentangle3d.training.export import Network
from disentangle3d.training.run import Outcome
from disentangle3d.types import (
  CASIA_NUM_CLASSES,
  CASIA_NUM_IMAGES,
  UserError,
  UserFileNotFoundError,
)
from experiments.benchmarks.speed import timing_findings
from experiments.configs.paper_scale import with_steps
from experiments.pages.bases import bases_section
from experiments.pages.findings import Findings
from experiments.study.page import log_stage, save_results, write_study_page
from experiments.study.people import MOST_PHOTOS, render_people, training_people
from experiments.study.results import (
  AFTER_PRETRAINING,
  measure_study,
  trained_networks,
)
from experiments.study.runs import (
  Stopped,
  Study,
  fit_variant,
  fits_file,
  is_exported,
  is_trained,
  run_folder,
  start_folder,
  train_variant,
)
from experiments.study.variants import PAPER, VARIANTS
from experiments.training.host import stop_on_signals
from experiments.training.inputs import face_model_of

_BASES, _PICTURE_PX = 4, 256
_TIMED_BATCHES = (1, 8, 32)
STAGES = ("all", "fit", "train", "evaluate")
PEOPLE = ("test", "validation")
_logger = logging.getLogger("disentangle3d.paper_scale")


@dataclasses.dataclass(frozen=True)
class Measuring:
  """What to measure, and on whom.

  Attributes:
    people: One of `PEOPLE`.
    validation_people: How many come after the test people, to choose rates by.
    bound_people: People whose true shapes are projected.
    protocol_photos: Photos to compare by every protocol.
    timed_images: Reconstructions to time, at least.
  """

  people: str = "test"
  validation_people: int = 200
  bound_people: int = 4
  protocol_photos: int = 10
  timed_images: int = 700


def open_study(
  workdir: str | os.PathLike[str],
  config: ConfigDict,
  *,
  scale: float,
  morphable_model: str | None,
  num_vertices: int,
  test_people: int,
  world_seed: int,
  render_batch_size: int = 0,
) -> Study:
  """World, people and config of a workdir, as its first command made them.

  Args:
    workdir: Where everything goes.
    config: Of `experiments/configs/paper_scale.py`.
    scale: Share of the paper's people and photos, above 0, at most 1.
    morphable_model: An .npz to take instead of the procedural model.
    num_vertices: Of the procedural model.
    test_people: Never trained on.
    world_seed: Of people and photos.
    render_batch_size: Photos at a time; 0 takes what suits the machine.

  Raises:
    UserError: `scale` is out of range, or the workdir holds another study.
    UserFileNotFoundError: There is no such 3DMM.
  """
  check_folder(workdir)
  if not 0 < scale <= 1:
    raise UserError(f"--scale: expected above 0, at most 1, got {scale}")
  people = training_people(
    max(2, round(CASIA_NUM_CLASSES * scale)),
    max(4, round(CASIA_NUM_IMAGES * scale)),
    seed=world_seed,
  )
  settings = SyntheticSet(
    people=len(people.counts),
    photos_per_person=MOST_PHOTOS,
    heldout_people=test_people,
    seed=world_seed,
    morphable_model=morphable_model,
    num_vertices=num_vertices,
  )
  workdir = pathlib.Path(workdir)
  config = with_steps(config, people.num_photos)
  config.model.dtype = face_model_of(config).dtype
  world, fitter = world_of(settings)
  # Last, so that a command that is refused leaves no folder behind.
  _keep_settings(workdir, {"scale": scale} | dataclasses.asdict(settings))
  batch = render_batch_size or render_batch()

  @functools.cache
  def render():
    with _timed(workdir, "rendering"):
      return render_people(world, people, seed=settings.seed, batch=batch)

  return Study(workdir, settings, world, fitter, people, config, scale, render)


def run_study(
  study: Study,
  stage: str,
  names: Sequence[str],
  *,
  seed: int,
  minutes: float,
  measuring: Measuring,
) -> None:
  """Runs the stages; those that are done are not done again.

  Args:
    study: Whose.
    stage: One of `STAGES`.
    names: Variants to fit and train; all that is trained is measured.
    seed: Of the training.
    minutes: Stops training, saved, after so long; 0: never.
    measuring: What to measure.

  Raises:
    Stopped: Ctrl-C or SIGTERM came, or the time was up.
    UserFileNotFoundError: A variant lacks what it starts from.
    UserError: There are too few people to measure on.
  """
  end = time.monotonic() + 60 * minutes if minutes else None
  if stage in ("all", "evaluate"):
    _check_measuring(_measured(study, measuring), measuring)
  if stage in ("all", "train"):
    check_order(study, names, seed)
  if stage in ("all", "fit"):
    fit(study, names)
  if stage in ("all", "train"):
    with stop_on_signals() as signalled:

      def stop() -> bool:
        return signalled() or (end is not None and time.monotonic() > end)

      train_variants(study, names, seed, stop)
  if stage in ("all", "evaluate"):
    evaluate(study, seed, measuring)


def _measured(study: Study, measuring: Measuring) -> Study:
  """The study whose held-out people are measured."""
  if measuring.people != "validation":
    return study
  settings = dataclasses.replace(
    study.settings,
    # They come after the test people.
    people=study.settings.people + study.settings.heldout_people,
    heldout_people=measuring.validation_people,
  )
  return dataclasses.replace(study, settings=settings)


def _check_measuring(measured: Study, measuring: Measuring) -> None:
  """What would else be told after the training."""
  people = measured.settings.heldout_people
  photos = people * measured.settings.heldout_photos_per_person
  if people < LEAST_PEOPLE:
    raise UserError(
      f"--{measuring.people}_people: expected {LEAST_PEOPLE} or more to verify"
      f" faces, got {people}"
    )
  if measuring.protocol_photos > photos:
    raise UserError(
      f"--protocol_photos: expected at most the {photos} photos of the"
      f" {measuring.people} people, got {measuring.protocol_photos}"
    )


def _keep_settings(workdir: pathlib.Path, settings: dict) -> None:
  path = workdir / "study.json"
  settings = json.loads(json.dumps(settings))
  if not path.is_file():
    workdir.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(settings, indent=1))
    return
  before = json.loads(path.read_text())
  # What is there once something was rendered, fitted or trained.
  if not any(
    place.is_dir() or place.suffix == ".npz" for place in workdir.iterdir()
  ):
    replace_file(path, json.dumps(settings, indent=1))
    return
  for name, value in settings.items():
    if before.get(name) != value:
      raise UserError(
        f"{path}: expected {name} {before.get(name)!r} as this study was begun"
        f" with, got {value!r}; give another --workdir"
      )


def check_order(study: Study, names: Sequence[str], seed: int) -> None:
  """Refuses variants whose start nobody has trained or asked for.

  Raises:
    UserFileNotFoundError: The paper's run has no params after phase II.
  """
  start = start_folder(study, seed)
  needy = [name for name in names if not VARIANTS[name].own_pretraining]
  if needy and PAPER not in names and not is_exported(start):
    raise UserFileNotFoundError(
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


def train_variants(
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


def evaluate(study: Study, seed: int, measuring: Measuring) -> None:
  """Measures everything there is of a seed, and writes the pages."""
  people, measured = measuring.people, _measured(study, measuring)
  with _timed(study.workdir, f"evaluation, {people}, seed {seed}"):
    networks = trained_networks(study, seed)
    results = measure_study(
      measured,
      networks,
      bound_people=measuring.bound_people,
      protocol_photos=measuring.protocol_photos,
    )
    folder = save_results(
      measured,
      results,
      people,
      seed,
      _timing_and_bases(networks, measuring.timed_images),
    )
  page = write_study_page(measured, people)
  print(f"paper_scale: read {page}")
  print(f"paper_scale: python -m experiments.report --workdir={folder}")


def _timing_and_bases(
  networks: Mapping[str, Network], images: int
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
