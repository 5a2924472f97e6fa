"""Metrics on their way from the devices to whoever reports them."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import math
import time

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.training.optimizers import OptimizerSetting, learning_rate
from disentangle3d.training.phases import Phase
from disentangle3d.training.state import TrainState

# Called with the phase, the number of updates done, and the values to log.
Report = Callable[[Phase, int, Mapping[str, float]], None]
_STEPS_AHEAD = 2
_WRONG_SHOWN = 8


class NonFiniteLossError(RuntimeError):
  """A metric of a step was NaN or infinite; nothing was saved after it."""


class PackedMetrics(flax.struct.PyTreeNode):
  """All metrics of a step in one array: one transfer in place of many.

  Attributes:
    values: Total and count of each, `[M, 2]`.
    names: In the order of the rows.
  """

  values: Float[Array, "M 2"]
  names: tuple[str, ...] = flax.struct.field(pytree_node=False)


def pack_metrics(metrics: Mapping[str, tuple[Array, Array]]) -> PackedMetrics:
  """Inside the step; `metrics` are scalars."""
  rows = [jnp.stack(pair) for pair in metrics.values()]
  return PackedMetrics(jnp.stack(rows), tuple(metrics))


class MetricQueue:
  """Metrics still on the devices, fetched when the devices have other work.

  What is closed is fetched after the next step was handed to the devices, so
  that they never wait for the host; and no more than two steps are handed to
  them ahead, so that batches do not pile up.
  """

  def __init__(self, phase: Phase, report: Report):
    self._phase, self._report = phase, report
    self._open: list[tuple[int, PackedMetrics]] = []
    self._closed: list[tuple[int, PackedMetrics]] = []
    # The first step compiles: its time says nothing about speed.
    self._since, self._timed, self._waited = 0.0, 0, 0.0
    self._compiled = False
    # Known once the step is traced.
    self.flops_per_step = 0.0

  @contextlib.contextmanager
  def waiting_for_input(self) -> Iterator[None]:
    """Counts the time of the block as waiting for input."""
    start = time.perf_counter()
    yield
    self._waited += time.perf_counter() - start

  @contextlib.contextmanager
  def pausing(self, metrics: PackedMetrics) -> Iterator[None]:
    """Leaves the time of the block out, and begins when a step is done."""
    jax.block_until_ready(metrics)
    start = time.perf_counter()
    yield
    self._since += time.perf_counter() - start

  def add(self, step: int, metrics: PackedMetrics) -> None:
    """Queues the metrics of a step, and reports what was closed before it.

    Raises:
      NonFiniteLossError: A metric among those is not finite.
    """
    self._report_closed()
    self._open.append((step, metrics))
    if not self._compiled:
      jax.block_until_ready(metrics)
      self._since, self._waited = time.perf_counter(), 0.0
      self._compiled = True
      return
    self._timed += 1
    if len(self._open) > _STEPS_AHEAD:
      jax.block_until_ready(self._open[-1 - _STEPS_AHEAD][1])

  def close(self) -> None:
    """What is queued is to be reported together, after the next step."""
    self._closed, self._open = self._closed + self._open, []

  def flush(self) -> None:
    """Fetches, checks and reports all now.

    Raises:
      NonFiniteLossError: A metric among them is not finite.
    """
    self.close()
    self._report_closed()

  def _report_closed(self) -> None:
    if not self._closed:
      return
    names = self._closed[0][1].names
    fetched = jax.device_get(
      [metrics.values.addressable_shards[0].data for _, metrics in self._closed]
    )
    for (step, _), rows in zip(self._closed, fetched, strict=True):
      _check_finite(self._phase, step, dict(zip(names, rows, strict=True)))
    totals, counts = np.asarray(fetched, np.float64).sum(0).T
    values = dict(zip(names, (totals / counts).tolist(), strict=True))
    last = self._closed[-1][0]
    for name, optimizer in self._phase.optimizers.items():
      if isinstance(optimizer, OptimizerSetting):
        values[f"rate_{name}"] = float(learning_rate(optimizer, last - 1))
    values["flops_per_step"] = self.flops_per_step
    now = time.perf_counter()
    if self._timed:
      images = self._timed * self._phase.batch_size
      values["images_per_s"] = images / (now - self._since)
      values["input_wait_share"] = self._waited / (now - self._since)
    self._since, self._timed, self._waited = now, 0, 0.0
    self._closed = []
    self._report(self._phase, last, values)


def _check_finite(
  phase: Phase, step: int, metrics: Mapping[str, Float[np.ndarray, "2"]]
) -> None:
  means = {name: total / count for name, (total, count) in metrics.items()}
  wrong = [name for name, x in means.items() if not math.isfinite(x)]
  if wrong:
    loss = means["loss"]
    raise NonFiniteLossError(
      f"{phase.name}: the loss of step {step} is {loss}; not finite:"
      f" {', '.join(sorted(wrong))}; nothing was saved since the last"
      " checkpoint. A lower rate may help"
    )


def check_finite_state(phase: Phase, step: int, state: TrainState) -> None:
  """Looks for what a step spoiled: which params, which optimizer memory.

  JAX's own `jax_debug_nans` sees nothing that happens inside a mapped step.

  Raises:
    NonFiniteLossError: Names the step and the first few arrays.
  """
  changed = {"params": state.params, "opt_state": state.opt_state}
  wrong = [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, leaf in jax.tree_util.tree_leaves_with_path(changed)
    if not all(
      np.isfinite(np.asarray(shard.data)).all()
      for shard in leaf.addressable_shards
    )
  ]
  if wrong:
    shown = ", ".join(wrong[:_WRONG_SHOWN])
    more = len(wrong) - _WRONG_SHOWN
    rest = f" and {more} more" if more > 0 else ""
    raise NonFiniteLossError(
      f"{phase.name}: step {step} made NaN or infinity of {shown}{rest};"
      " nothing was saved after it"
    )


def first_value(leaf: jax.Array) -> float:
  """The host's copy of a replicated scalar."""
  return float(np.asarray(leaf.addressable_shards[0].data))
