"""The real train step of phase III, ready to run, for measuring it."""

from collections.abc import Iterable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.identity_heads import init_identity_head
from disentangle3d.training.batches import (
  HeldExamples,
  TrainBatch,
  target_basis,
)
from disentangle3d.training.phases import HEAD, Phase, sharded_entries
from disentangle3d.training.placement import (
  map_step,
  place_rows,
  place_state,
  replicate,
  replicated_key,
  state_axes,
)
from disentangle3d.training.resident import resident_examples
from disentangle3d.training.state import initial_state
from disentangle3d.training.steps import make_train_step
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError
from experiments.configs import paper
from experiments.training.phases import phases_of

INPUTS = ("device_resident", "fake")
PHASE = "joint_recognition"


@dataclasses.dataclass(frozen=True)
class PreparedStep:
  """A step and what it is called with.

  Attributes:
    mapped: It over the devices: state, batch and key to state and metrics; the
      state is donated.
    state: On the devices.
    batch: Same.
    key: Same.
    devices: All of them.
    batch_size: Over all of them.
  """

  mapped: Any
  state: Any
  batch: TrainBatch
  key: jax.Array
  devices: Sequence[jax.Device]
  batch_size: int


def paper_phase(*, batch_size: int, input: str) -> tuple[Phase, int]:
  """Phase III of `configs/paper.py` at another batch size, and its K."""
  config = paper.get_config()
  config.run_phases = (PHASE,)
  config.phases[PHASE].batch_size = batch_size
  config.phases[PHASE].examples = "fake" if input == "fake" else "dataset"
  return phases_of(config)[0], config.examples.num_classes


def first_params(model: FaceModel, num_classes: int) -> dict[str, Any]:
  """Fresh params of a network and its head, on the host; not to write to."""
  # Params are float32 whatever is computed in.
  return _first_params(model.clone(dtype="float32"), num_classes)


@functools.lru_cache(maxsize=1)
def _first_params(model: FaceModel, num_classes: int) -> dict[str, Any]:
  key = jax.random.key(0)
  params = init_params(key, model, _morphable_model(model))
  params[HEAD] = init_identity_head(
    jax.random.fold_in(key, 1),
    num_classes=num_classes,
    identity_dim=model.identity_dim,
  )
  return jax.tree.map(np.asarray, params)


def prepare_step(
  model: FaceModel,
  devices: Sequence[jax.Device],
  *,
  batch_size: int,
  input: str,
  num_crops: int = 0,
  batch: TrainBatch | None = None,
  params: dict[str, Any] | None = None,
) -> PreparedStep:
  """Fresh params, noise, and the step that trains on it.

  Args:
    model: The network.
    devices: What trains; their number divides the batch.
    batch_size: B, over all devices.
    input: Of `INPUTS`; with `batch` its examples are taken.
    num_crops: n of the device-resident set.
    batch: Examples on the host that every step takes.
    params: What it starts from; fresh ones where None.

  Returns:
    The step.

  Raises:
    UserError: The batch does not divide.
  """
  if batch_size % len(devices):
    raise UserError(
      f"--batch_sizes: expected a multiple of the {len(devices)} devices, got"
      f" {batch_size}"
    )
  phase, num_classes = paper_phase(batch_size=batch_size, input=input)
  params = params or first_params(model, num_classes)
  host = initial_state(phase, params)
  host = jax.tree.map(np.asarray, host)
  held: HeldExamples | None = None
  rows = TrainBatch(position=np.arange(batch_size, dtype=np.int32))
  if batch is not None:
    rows = batch
  elif input == "device_resident":
    held = resident_examples(
      _NoiseReader(model, num_crops, num_classes), devices=devices
    )
    order = np.random.default_rng(0).integers(0, num_crops, batch_size)
    rows = rows.replace(index=order.astype(np.int32))
  sharded = sharded_entries(phase)
  axes = state_axes(host, sharded)
  basis = target_basis(_morphable_model(model))
  return PreparedStep(
    mapped=map_step(
      make_train_step(model, phase, steps_per_epoch=1, num_classes=num_classes),
      devices,
      state=axes,
      held=held,
    ),
    state=place_state(host, devices, sharded),
    batch=place_rows(rows, devices).replace(
      basis=replicate(basis, devices), held=held
    ),
    key=replicated_key(0, devices),
    devices=devices,
    batch_size=batch_size,
  )


def noise_batch(
  model: FaceModel, batch_size: int, num_classes: int
) -> TrainBatch:
  """Noise on the host: crops, labels, coefficients, and the 3DMM's basis."""
  noise = _NoiseReader(model, batch_size, num_classes).read(range(batch_size))
  noise = jax.tree.map(np.asarray, noise)
  basis = jax.tree.map(np.asarray, target_basis(_morphable_model(model)))
  position = np.arange(batch_size, dtype=np.int32)
  return noise.replace(position=position, basis=basis)


def _morphable_model(model: FaceModel) -> MorphableModel:
  return _face_model(
    num_vertices=model.num_vertices,
    identity_dim=model.identity_dim,
    expression_dim=model.residual_dim,
  )


_face_model = functools.lru_cache(maxsize=1)(procedural_face_model)


class _NoiseReader:
  """Noise that is made on the device."""

  def __init__(self, model: FaceModel, num_crops: int, num_classes: int):
    self._sizes = model.identity_dim, model.residual_dim
    self._num_crops, self._num_classes = num_crops, num_classes

  def __len__(self) -> int:
    return self._num_crops

  def read(self, indices: Iterable[int]) -> TrainBatch:
    rows = list(indices)
    keys = jax.random.split(jax.random.key(rows[0]), 4)
    count = len(rows)
    shape = (count, IMAGE_HEIGHT, IMAGE_WIDTH, 3)
    identity, expression = (
      jax.random.normal(key, (count, size))
      for key, size in zip(keys[2:], self._sizes, strict=True)
    )
    return TrainBatch(
      position=None,
      image=jax.random.bits(keys[0], shape, jnp.uint8),
      label=jax.random.randint(keys[1], (count,), 0, self._num_classes),
      identity_coefficients=identity,
      expression_coefficients=expression,
    )
