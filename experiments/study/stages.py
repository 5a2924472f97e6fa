"""The study's stages: fit, train, evaluate; each goes on where it stopped."""

from collections.abc import Callable, Iterator, Sequence
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
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.output_files import check_folder, replace_file
from disentangle3d.training.run import Outcome
from disentangle3d.types import (
  CASIA_NUM_CLASSES,
  CASIA_NUM_IMAGES,
  UserError,
  UserFileNotFoundError,
)
from experiments.configs.paper_scale import with_steps
from experiments.study.evaluation import (
  Measuring,
  evaluate,
  measured_study,
  sizes_of,
)
from experiments.study.page import log_stage, results_folder, write_study_page
from experiments.study.people import MOST_PHOTOS, render_people, training_people
from experiments.study.plan import (
  Budget,
  Plan,
  Rates,
  keep_plan,
  kept_plan,
  plan_of,
  plan_text,
  scale_for,
  setting_of,
  training_of,
)
from experiments.study.rates import measure_rates
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
from experiments.training.inputs import face_model_of

_STUDY = "study.json"
_logger = logging.getLogger("disentangle3d.paper_scale")


def open_study(
  workdir: str | os.PathLike[str],
  config: ConfigDict,
  *,
  scale: float | None,
  morphable_model: str | None,
  num_vertices: int,
  test_people: int,
  world_seed: int,
  render_batch_size: int = 0,
  budget: Budget | None = None,
) -> Study:
  """World, people and config of a workdir, as its first command made them.

  Args:
    workdir: Where everything goes.
    config: Of `experiments/configs/paper_scale.py`.
    scale: Share of the paper's people and photos, above 0, at most 1; None
      takes the workdir's, else what fits into the budget, else 1.
    morphable_model: An .npz to take instead of the procedural model.
    num_vertices: Of the procedural model.
    test_people: Never trained on.
    world_seed: Of people and photos.
    render_batch_size: Photos at a time; 0 takes what suits the machine.
    budget: Time that is planned for, if it ends.

  Raises:
    UserError: `scale` is out of range, or the workdir holds another study.
    UserFileNotFoundError: There is no such 3DMM.
  """
  check_folder(workdir)
  if scale is not None and not 0 < scale <= 1:
    raise UserError(f"--scale: expected above 0, at most 1, got {scale}")
  workdir = pathlib.Path(workdir)
  settings = SyntheticSet(
    photos_per_person=MOST_PHOTOS,
    heldout_people=test_people,
    seed=world_seed,
    morphable_model=morphable_model,
    num_vertices=num_vertices,
    template=config.model.template,
  )
  world, fitter = world_of(settings)
  batch = render_batch_size or render_batch()

  scale, plan = _planned(
    workdir,
    scale,
    setting_of(config, num_vertices),
    budget or Budget(0),
    lambda: measure_rates(config, world, fitter, seed=world_seed, batch=batch),
    config,
  )
  people = training_people(
    max(2, round(CASIA_NUM_CLASSES * scale)),
    max(4, round(CASIA_NUM_IMAGES * scale)),
    seed=world_seed,
  )
  settings = dataclasses.replace(settings, people=len(people.counts))
  # Late, so that a command that is refused leaves no folder behind.
  _keep_settings(workdir, {"scale": scale} | dataclasses.asdict(settings))
  if plan is not None:
    keep_plan(workdir, plan)
    print(f"paper_scale: {plan_text(plan)}", flush=True)
  config = with_steps(config, people.num_photos)
  config.model.dtype = face_model_of(config).dtype

  @functools.cache
  def render():
    with _timed(workdir, "rendering"):
      return render_people(world, people, seed=settings.seed, batch=batch)

  return Study(
    workdir, settings, world, fitter, people, config, scale, render, plan
  )


def _planned(
  workdir: pathlib.Path,
  scale: float | None,
  setting: str,
  budget: Budget,
  measure: Callable[[], Rates],
  config: ConfigDict,
) -> tuple[float, Plan | None]:
  """The scale of a study, and where time is set the plan for it.

  A scale that was given stays, and so does the workdir's; rates are measured
  once a machine.
  """
  scale = scale or _kept_scale(workdir)
  if not budget.limited:
    return scale or 1.0, None
  plan = kept_plan(workdir)
  if plan is None or (plan.setting, plan.scale) != (setting, scale):
    rates = measure()
    scale = scale or scale_for(rates, config, budget.left)
    plan = plan_of(rates, config, setting=setting, scale=scale)
  return plan.scale, plan


def _kept_scale(workdir: pathlib.Path) -> float | None:
  path = workdir / _STUDY
  return json.loads(path.read_text())["scale"] if path.is_file() else None


def _keep_settings(workdir: pathlib.Path, settings: dict) -> None:
  path = workdir / _STUDY
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
  # Studies begun before there was a choice have five points.
  before = {"template": SPHEREFACE} | before
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


def in_order(names: Sequence[str]) -> list[str]:
  """Variants, each once, the paper's run first and then its control."""
  return sorted(set(names), key=list(VARIANTS).index)


def train_one(
  study: Study, name: str, seed: int, stop: Callable[[], bool]
) -> None:
  """Trains a variant, unless that is done.

  Raises:
    Stopped: It was asked to; what was done is saved.
  """
  if is_trained(run_folder(study, name, seed)):
    _logger.info("%s, seed %d: done before", name, seed)
    return
  study.render()
  with _timed(study.workdir, f"{training_of(name)} seed {seed}"):
    outcome: Outcome = train_variant(study, name, seed, should_stop=stop)
    if not outcome.complete:
      raise Stopped


def evaluate_everyone(study: Study, seed: int, measuring: Measuring) -> None:
  """Measures everything there is of a seed on everyone, and says where."""
  everyone = sizes_of(study, measuring)[-1]
  evaluate_some(study, seed, measuring, everyone)
  tell_page(study, measuring)
  folder = results_folder(study, measuring.people, seed)
  print(f"paper_scale: python -m experiments.report --workdir={folder}")


def evaluate_some(
  study: Study, seed: int, measuring: Measuring, people: int
) -> None:
  """Measures everything there is of a seed on some people."""
  whose = f"{people} of {measuring.people}"
  with _timed(study.workdir, f"evaluation, {whose}, seed {seed}"):
    evaluate(study, seed, measuring, people)


def tell_page(study: Study, measuring: Measuring) -> None:
  """Writes the page and says where."""
  page = write_study_page(measured_study(study, measuring), measuring.people)
  print(f"paper_scale: read {page}", flush=True)


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
