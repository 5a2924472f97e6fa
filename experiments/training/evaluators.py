"""What a config measures while it trains: on people held out of its dataset."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import os
import types
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int
from ml_collections import ConfigDict
import numpy as np

from disentangle3d.evaluation.code_scores import score_pairs
from disentangle3d.evaluation.pair_plans import draw_pairs, usual_plan
from disentangle3d.evaluation.rows import in_batches
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.inference import encode
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.margins import HeadSetting
from disentangle3d.training.batches import TrainBatch, target_basis
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.evaluators import Evaluate, Evaluator
from disentangle3d.training.identification import Moment
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.phase_losses import LOSSES, Forward
from disentangle3d.types import UserError

_BATCH = 50


@dataclasses.dataclass(frozen=True)
class HeldOutPhotos:
  """The people whom a dataset holds out.

  Attributes:
    examples: Their photos and fitted coefficients, on the host.
    people: Who is in each photo.
    model: The network that is measured.
    morphable_model: The 3DMM of the coefficients.
  """

  examples: TrainBatch
  people: Int[np.ndarray, "n"]
  model: FaceModel
  morphable_model: MorphableModel


def evaluators_of(
  config: ConfigDict,
  own: Mapping[str, Evaluate],
  *,
  model: FaceModel,
  morphable_model: MorphableModel,
) -> dict[str, Evaluator]:
  """The evaluators that a config gives a period.

  Args:
    config: Its `evaluators` and `examples.path` are read.
    own: The caller's, by name.
    model: The network.
    morphable_model: The 3DMM of the dataset.

  Returns:
    Evaluators by name.

  Raises:
    UserError: A name is not known, one of the caller's has no period, or
      there is no dataset with enough people held out.
  """
  for name, entry in config.evaluators.items():
    if not (isinstance(entry, ConfigDict) and "every" in entry):
      raise UserError(
        f"config.evaluators.{name}: expected {{'every': steps}}, got {entry}"
      )
  periods = {name: entry.every for name, entry in config.evaluators.items()}
  known = {*BUILT_IN, *own}
  if unknown := sorted(set(periods) - known):
    raise UserError(
      f"config.evaluators: expected some of {', '.join(sorted(known))}, got"
      f" {', '.join(unknown)}"
    )
  if idle := sorted(name for name in own if name not in periods):
    raise UserError(
      f"evaluators: expected a period of {idle[0]} in steps, got none; give"
      f" config.evaluators.{idle[0]}.every"
    )
  heldout = functools.cache(
    lambda: read_heldout(config, model, morphable_model)
  )
  evaluators = {}
  for name, every in periods.items():
    if every:
      evaluate = own[name] if name in own else BUILT_IN[name](heldout())
      evaluators[name] = Evaluator(evaluate, every)
  return evaluators


def read_heldout(
  config: ConfigDict, model: FaceModel, morphable_model: MorphableModel
) -> HeldOutPhotos:
  """Reads the photos that a config's dataset holds out.

  Raises:
    UserError: There is no dataset, or it holds nobody out.
  """
  if not config.examples.path:
    raise UserError(
      "config.evaluators: expected a dataset with people held out, got none;"
      " give --config.examples.path"
    )
  split = open_dataset(
    os.path.expanduser(config.examples.path),
    "heldout",
    verify=config.examples.verify_checksums,
  )
  reader = RecordReader(split)
  rows = range(len(reader))
  if not rows:
    raise UserError(f"{split.folder}: expected people held out, got none")
  subjects = [record["subject"] for record in reader.read_records(rows)]
  examples = reader.read(rows).replace(position=np.arange(len(rows)))
  people = np.unique(subjects, return_inverse=True)[1].astype(np.int32)
  return HeldOutPhotos(examples, people, model, morphable_model)


def heldout_reconstruction(heldout: HeldOutPhotos) -> Evaluate:
  """Measures L_R, `heldout_reconstruction` in mm^2, a mean over photos."""
  basis = target_basis(heldout.morphable_model)
  every = np.arange(len(heldout.people))

  def take(rows: np.ndarray) -> TrainBatch:
    return jax.tree.map(lambda leaf: leaf[rows], heldout.examples)

  @jax.jit
  def losses(params: Any, batch: TrainBatch) -> jax.Array:
    forward = Forward(
      heldout.model,
      params,
      batch.replace(basis=basis),
      head=HeadSetting(),
      num_classes=1,
      moment=Moment(jnp.int32(0), jax.random.key(0), None),
    )
    return LOSSES["reconstruction"](forward)

  def evaluate(params: dict[str, Any], step: int) -> dict[str, float]:
    del step
    there = jax.tree.map(jnp.asarray, params)
    values = in_batches(lambda rows: losses(there, take(rows)), every, _BATCH)
    return {"heldout_reconstruction": float(np.mean(values, dtype=np.float64))}

  return evaluate


def heldout_verification(heldout: HeldOutPhotos) -> Evaluate:
  """Measures how identity codes verify, `heldout_auc` in percent."""
  pairs = draw_pairs(heldout.people, usual_plan(heldout.people))
  every = np.arange(len(heldout.people))

  @jax.jit
  def codes(params: Any, images: jax.Array) -> jax.Array:
    return encode(params, images, model=heldout.model).identity

  def evaluate(params: dict[str, Any], step: int) -> dict[str, float]:
    del step
    there = jax.tree.map(jnp.asarray, params)
    found = in_batches(
      lambda rows: codes(there, heldout.examples.image[rows]), every, _BATCH
    )
    return {"heldout_auc": score_pairs(found, pairs).result.auc.mean}

  return evaluate


# By their names in a config.
BUILT_IN: Mapping[str, Callable[[HeldOutPhotos], Evaluate]] = (
  types.MappingProxyType(
    {
      "reconstruction": heldout_reconstruction,
      "verification": heldout_verification,
    }
  )
)
