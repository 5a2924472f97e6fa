"""Trains the paper's run and its variants on rendered people."""

from collections.abc import Callable
import dataclasses
import pathlib

import jax
from ml_collections import ConfigDict
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet, label_model
from disentangle3d.faces.morphable_model import MorphableModel, truncate_modes
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.training.batches import TargetBasis, target_basis
from disentangle3d.training.export import ABOUT, FOLDER
from disentangle3d.training.loop import PhaseInput
from disentangle3d.training.resident import resident_from_arrays
from disentangle3d.training.run import Outcome
from experiments.study.people import (
  RenderedPeople,
  TrainingPeople,
  fit_people,
  load_targets,
  save_targets,
  true_targets,
)
from experiments.study.plan import Plan
from experiments.study.variants import PAPER, VARIANTS, Variant, config_of
from experiments.training.runs import train


class Stopped(Exception):
  """It was asked to stop before it was done; what was done is saved."""


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
  """What all runs of a workdir share.

  Attributes:
    workdir: Where everything goes.
    settings: What the world is made of; its `heldout` are the test people.
    world: The world.
    fitter: Its fitter's model.
    people: Who is trained on.
    config: The paper's, of `experiments/configs/paper_scale.py`.
    scale: Share of the paper's people and photos.
    render: Renders the photos of `people`, or has them.
    plan: What was expected of this machine; None where no time was set.
  """

  workdir: pathlib.Path
  settings: SyntheticSet
  world: SyntheticWorld
  fitter: MorphableModel
  people: TrainingPeople
  config: ConfigDict
  scale: float
  render: Callable[[], RenderedPeople]
  plan: Plan | None = None


def run_folder(study: Study, name: str, seed: int) -> pathlib.Path:
  """Where a variant trains with a seed."""
  return study.workdir / f"{name}-{seed}"


def start_folder(study: Study, seed: int) -> pathlib.Path:
  """Where the variants of phase III only start from."""
  return run_folder(study, PAPER, seed) / FOLDER / "decoders"


def is_exported(folder: pathlib.Path) -> bool:
  """Whether a folder is an export."""
  return (folder / ABOUT).is_file()


def is_trained(run: pathlib.Path) -> bool:
  """Whether a run is done."""
  return is_exported(run / FOLDER)


def variant_fitter(study: Study, variant: Variant) -> MorphableModel:
  """The 3DMM that a variant is fitted and trained with."""
  if variant.identity_modes is None:
    return study.fitter
  return truncate_modes(
    study.fitter, variant.identity_modes, study.fitter.expression_dim
  )


def fits_file(study: Study, variant: Variant) -> pathlib.Path:
  """Where the fits are kept that a variant is taught."""
  modes = variant_fitter(study, variant).identity_dim
  return study.workdir / f"fits-{modes}.npz"


def fit_variant(study: Study, variant: Variant) -> None:
  """Fits all photos, unless that is done."""
  path = fits_file(study, variant)
  if not path.is_file():
    fitter = variant_fitter(study, variant)
    targets = fit_people(
      label_model(fitter, study.settings.jaw), study.people, study.render()
    )
    save_targets(path, targets)


def train_variant(
  study: Study, name: str, seed: int, *, should_stop: Callable[[], bool]
) -> Outcome:
  """Trains one variant with one seed, from where an earlier run left off.

  Args:
    study: What is shared.
    name: In `VARIANTS`.
    seed: Of params, orders and draws; the people stay the same.
    should_stop: Asked after every step.

  Returns:
    How it ended.

  Raises:
    FileNotFoundError: The variant starts from the paper's run, which is not
      trained as far.
    ValueError: What is on disk is at odds.
    NonFiniteLossError: The loss became NaN or infinite.
  """
  variant = VARIANTS[name]
  fitter = variant_fitter(study, variant)
  config = config_of(variant, study.config)
  config.seed = seed
  config.model.identity_dim = fitter.identity_dim
  config.model.residual_dim = fitter.expression_dim
  config.model.num_vertices = fitter.num_vertices
  if not variant.own_pretraining:
    config.init_from = str(start_folder(study, seed))
  basis = target_basis(fitter, template=config.model.template)
  if variant.true_shapes:
    targets = true_targets(study.world, study.people, seed=study.settings.seed)
    basis = TargetBasis(study.world.identity_rows, study.world.residual_rows)
  else:
    targets = load_targets(
      fits_file(study, variant), photos=study.people.num_photos
    )
  photos = study.render()
  held = resident_from_arrays(
    photos.images,
    study.people.labels(),
    targets.identity,
    targets.expression,
    devices=jax.devices(),
  )
  phase_input = PhaseInput(
    reader=None,
    num_examples=study.people.num_photos,
    num_classes=len(study.people.counts),
    basis=jax.tree.map(np.asarray, basis),
    held=held,
  )
  return train(
    config,
    run_folder(study, name, seed),
    examples=(phase_input, fitter),
    should_stop=should_stop,
  )
