"""What training on many devices is predicted to reach, from what it moves.

A step of one device is measured; what a step moves is read from the compiled
program on a few fake devices and continued to more. A step on n devices then
takes at most the two after one another, and at least the longer of the two: XLA
hides gradients behind the backward pass as far as it can.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

import jax
import numpy as np

from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.identity_heads import init_identity_head
from disentangle3d.network.margins import MARGINS, HeadSetting
from disentangle3d.reporting.charts import Series, figure_png, line_chart
from disentangle3d.reporting.html_page import Table
from disentangle3d.training.batches import TargetBasis, TrainBatch
from disentangle3d.training.export import abstract_params
from disentangle3d.training.phases import HEAD, Phase, sharded_entries
from disentangle3d.training.placement import map_step, state_axes
from disentangle3d.training.state import TrainState, initial_state
from disentangle3d.training.steps import make_train_step
from experiments.benchmarks.collectives import (
  Collective,
  Payload,
  collectives_of,
  payloads_of,
)
from experiments.benchmarks.steps import paper_phase

MOST_DEVICES = 1024
# A program that is only read need not be fast.
_NEVER_RUN = {"xla_backend_optimization_level": 0}
_SHARDED = HeadSetting("cosface", margin=MARGINS["cosface"], sharded=True)
HEADS: Mapping[str, HeadSetting] = {
  "dense": HeadSetting(),
  "sharded": _SHARDED,
  "PartialFC": dataclasses.replace(_SHARDED, sampled_share=0.1),
}


@dataclasses.dataclass(frozen=True)
class Link:
  """What connects the devices.

  Attributes:
    gb_s: Bytes a second that a device sends while it receives as many, of the
      slowest link on the way, in units of 1e9.
    latency_us: Until a first byte arrives; a collective waits for it as often
      as a tree of the devices is deep.
  """

  gb_s: float
  latency_us: float = 0.0

  def seconds(self, num_bytes: float, operations: int, devices: int) -> float:
    """What some collectives take that move so much in all."""
    depth = math.ceil(math.log2(devices)) if devices > 1 else 0
    waits = operations * depth * self.latency_us / 1e6
    return num_bytes / (1e9 * self.gb_s) + waits


@dataclasses.dataclass(frozen=True)
class Predicted:
  """A step on some devices, a batch of the same size on each.

  Attributes:
    devices: n.
    moved_mib: What a device sends.
    communication_ms: What that takes.
    efficiency: Of n devices over n times one, where nothing is hidden.
    efficiency_hidden: Same, where all is hidden that fits behind the step.
    limit: What is moved most of.
    limit_share: Its part of what is moved.
  """

  devices: int
  moved_mib: float
  communication_ms: float
  efficiency: float
  efficiency_hidden: float
  limit: str
  limit_share: float


def predict(
  payloads: Sequence[Payload], devices: int, *, step_s: float, link: Link
) -> Predicted:
  """A step on so many devices, from what it takes on one."""
  moved: dict[str, float] = collections.defaultdict(float)
  for payload in payloads:
    moved[payload.what] += payload.moved_bytes(devices)
  total = sum(moved.values())
  operations = sum(payload.operations for payload in payloads)
  seconds = link.seconds(total, operations, devices)
  limit = max(moved, key=moved.__getitem__)
  return Predicted(
    devices=devices,
    moved_mib=total / 2**20,
    communication_ms=1e3 * seconds,
    efficiency=step_s / (step_s + seconds),
    efficiency_hidden=step_s / max(step_s, seconds),
    limit=limit,
    limit_share=moved[limit] / total if total else 0.0,
  )


def count_payloads(
  model: FaceModel,
  head: str,
  *,
  batch_a_device: int,
  num_classes: int,
  gradient_dtype: str = "float32",
  counts: Sequence[int] = (2, 4, 8),
) -> list[Payload]:
  """What a step of phase III moves; compiled on fake devices, never run.

  Args:
    model: The network.
    head: Of `HEADS`.
    batch_a_device: Examples.
    num_classes: K.
    gradient_dtype: See `Phase`.
    counts: On how many devices it is compiled; as many must be there.
  """
  return payloads_of(
    [
      (
        count,
        count_step(
          model,
          head,
          jax.devices()[:count],
          batch_a_device=batch_a_device,
          num_classes=num_classes,
          gradient_dtype=gradient_dtype,
        ),
      )
      for count in counts
    ]
  )


def count_step(
  model: FaceModel,
  head: str,
  devices: Sequence[jax.Device],
  *,
  batch_a_device: int,
  num_classes: int,
  gradient_dtype: str,
) -> list[Collective]:
  """The collectives of a step on some devices; see `count_payloads`."""
  count = len(devices)
  phase, _ = paper_phase(batch_size=batch_a_device * count, input="fake")
  phase = dataclasses.replace(
    phase, head=HEADS[head], gradient_dtype=gradient_dtype
  )
  state = _abstract_state(model, phase, num_classes)
  sharded = sharded_entries(phase)
  mapped = map_step(
    make_train_step(model, phase, steps_per_epoch=1, num_classes=num_classes),
    devices,
    state=state_axes(state, sharded),
  )
  rows = jax.ShapeDtypeStruct((count, batch_a_device), np.int32)
  flat = 3 * model.num_vertices
  identity, expression = (
    jax.ShapeDtypeStruct((size, flat), np.float32)
    for size in (model.identity_dim, model.residual_dim)
  )
  basis: Any = TargetBasis(identity, expression)  # type: ignore[arg-type]
  lowered = mapped.lower(
    _cut(state, sharded, count),
    TrainBatch(position=rows, basis=basis),
    jax.eval_shape(lambda: jax.random.key(0)),
  )
  return collectives_of(
    lowered.compile(compiler_options=_NEVER_RUN).as_text(),
    count,
    gradients=gradient_sizes(state, phase),
  )


def gradient_sizes(state: TrainState, phase: Phase) -> dict[int, str]:
  """Whose gradient an array is, by its number of elements."""
  return {
    leaf.size: name
    for name in phase.optimizers
    for leaf in jax.tree.leaves(state.params[name])
  }


def _abstract_state(
  model: FaceModel, phase: Phase, num_classes: int
) -> TrainState:
  """The shapes of a fresh state; nothing is computed."""
  params = abstract_params(model)

  def fresh(params: dict[str, Any]) -> TrainState:
    head = init_identity_head(
      jax.random.key(0),
      num_classes=num_classes,
      identity_dim=model.identity_dim,
      bias=phase.head.kind == "softmax",
    )
    return initial_state(phase, {**params, HEAD: head})

  return jax.eval_shape(fresh, params)


def _cut(state: TrainState, sharded: Sequence[str], shards: int) -> TrainState:
  """The shapes of `placement.place_state`."""

  def cut(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    *first, last = leaf.shape or (1,)
    shape = (shards, *first, -(-last // shards)) if leaf.shape else (shards,)
    return jax.ShapeDtypeStruct(shape, leaf.dtype)

  def entries(by_name: dict[str, Any]) -> dict[str, Any]:
    return {
      name: jax.tree.map(cut, entry) if name in sharded else entry
      for name, entry in by_name.items()
    }

  return dataclasses.replace(
    state, params=entries(state.params), opt_state=entries(state.opt_state)
  )


def device_counts(most: int = MOST_DEVICES) -> list[int]:
  """1, 2, 4 and so on."""
  return [2**power for power in range(most.bit_length())]


def prediction_table(cases: Mapping[str, Sequence[Predicted]]) -> Table:
  """A line a case and number of devices."""
  return Table(
    (
      *("step", "devices", "moved, MiB", "communication, ms"),
      *("efficiency, nothing hidden", "all hidden", "most of it"),
    ),
    [
      (
        *(name, row.devices, f"{row.moved_mib:.1f}"),
        f"{row.communication_ms:.2f}",
        *(f"{row.efficiency:.1%}", f"{row.efficiency_hidden:.1%}"),
        f"{row.limit} {row.limit_share:.0%}" if row.moved_mib else None,
      )
      for name, rows in cases.items()
      for row in rows
    ],
    text_columns=(0, 6),
    caption="What a device moves in a step, and the efficiency that a number of"
    " devices is predicted to have over as many single ones.",
  )


def prediction_chart(cases: Mapping[str, Sequence[Predicted]]) -> bytes:
  """Efficiency over devices, nothing hidden, as PNG."""
  figure = line_chart(
    {
      name: Series(
        x=[row.devices for row in rows],
        y=[100 * row.efficiency for row in rows],
      )
      for name, rows in cases.items()
    },
    x_label="devices",
    y_label="predicted efficiency, percent",
    legend_below=True,
  )
  axes = figure.axes[0]
  axes.set_xscale("log", base=2)
  counts = sorted({row.devices for rows in cases.values() for row in rows})
  axes.set_xticks(counts, [str(count) for count in counts])
  axes.set_ylim(0, 102)
  return figure_png(figure)
