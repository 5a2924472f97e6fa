"""What an identity head costs a device: memory and time."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.identity_heads import init_identity_head
from disentangle3d.network.margins import HeadSetting
from disentangle3d.reporting.html_page import Table
from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.export import abstract_params
from disentangle3d.training.optimizers import OptimizerSetting
from disentangle3d.training.phases import HEAD, Phase
from disentangle3d.training.placement import (
  map_step,
  place_rows,
  place_state,
  replicated_key,
  state_axes,
)
from disentangle3d.training.state import initial_state
from disentangle3d.training.steps import make_train_step
from disentangle3d.types import IDENTITY_DIM
from experiments.benchmarks.timing import time_calls

_MIB = 1 << 20


_STEPS = 3


_FLOAT = 4


@dataclasses.dataclass(frozen=True)
class HeadCost:
  """What a head takes.

  Attributes:
    head: "dense", "sharded" or "sharded, 10 % sampled".
    devices: How many share the batch, and the classes if sharded.
    computed_mib: By hand, a device.
    arrays_mib: Kernel and momentum on the fullest device, as they lie there.
    temporaries_mib: Of the compiled program, a device.
    step_ms: Median time of an update.
  """

  head: str
  devices: int
  computed_mib: float
  arrays_mib: float
  temporaries_mib: float
  step_ms: float


def computed_bytes(
  num_classes: int, batch_size: int, devices: int, setting: HeadSetting
) -> int:
  """Kernel, momentum, gradient and logits of one device, by hand.

  Args:
    num_classes: K.
    batch_size: B, over all devices.
    devices: n.
    setting: Which head.

  Returns:
    Bytes. Dense: 3 I K + (B / n) K numbers. Sharded: 3 I K / n + B K s / n,
    s the share that is sampled.
  """
  shards = devices if setting.sharded else 1
  classes = -(-num_classes // shards)
  rows = batch_size if setting.sharded else batch_size // devices
  columns = round(classes * setting.sampled_share)
  return _FLOAT * (3 * IDENTITY_DIM * classes + rows * columns)


def measure_head(
  name: str,
  setting: HeadSetting,
  devices: Sequence[jax.Device],
  *,
  num_classes: int,
  batch_size: int,
) -> HeadCost:
  """Runs a few updates of a head and measures them.

  Args:
    name: For the table.
    setting: Which head.
    devices: What shares the batch; their number divides it.
    num_classes: K.
    batch_size: B.

  Returns:
    What it took.
  """
  phase = Phase(
    name="head",
    optimizers={HEAD: OptimizerSetting("sgd", 0.1)},
    frozen=("encoder", "identity_decoder", "residual_decoder", "mean_shape"),
    weights={"identification": 1.0},
    steps=_STEPS,
    batch_size=batch_size,
    examples="fake",
    head=setting,
  )
  model = FaceModel(trunk="tiny", num_vertices=4)
  params = jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_params(model)
  )
  params[HEAD] = init_identity_head(
    jax.random.key(0),
    num_classes=num_classes,
    identity_dim=IDENTITY_DIM,
    bias=False,
  )
  host = jax.tree.map(np.asarray, initial_state(phase, params))
  del params
  sharded = (HEAD,) if setting.sharded else ()
  state, axes = place_state(host, devices, sharded), state_axes(host, sharded)
  del host
  step = make_train_step(
    model, phase, steps_per_epoch=1, num_classes=num_classes
  )
  batch = place_rows(
    TrainBatch(position=np.arange(batch_size, dtype=np.int32)), devices
  )
  key = replicated_key(0, devices)
  compiled = (
    map_step(step, devices, state=axes).lower(state, batch, key).compile()
  )

  def update() -> Any:
    nonlocal state
    state, metrics = compiled(state, batch, key)
    return state, metrics

  timing = time_calls(update, rounds=_STEPS)
  held = dict.fromkeys(devices, 0)
  for leaf in jax.tree.leaves((state.params[HEAD], state.opt_state[HEAD])):
    for shard in leaf.addressable_shards:
      held[shard.device] += shard.data.nbytes
  computed = computed_bytes(num_classes, batch_size, len(devices), setting)
  return HeadCost(
    head=name,
    devices=len(devices),
    computed_mib=computed / _MIB,
    arrays_mib=max(held.values()) / _MIB,
    temporaries_mib=compiled.memory_analysis().temp_size_in_bytes / _MIB,
    step_ms=1e3 * timing.median_s,
  )


def table_of(costs: Sequence[HeadCost]) -> Table:
  """The costs."""
  return Table(
    (
      "head",
      "devices",
      "computed, MiB",
      "kernel + momentum, MiB",
      "temporaries, MiB",
      "step, ms",
    ),
    [dataclasses.astuple(cost) for cost in costs],
    digits=0,
  )
