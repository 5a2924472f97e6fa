"""The one loop that runs every phase."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import math
import time
from typing import Any

import jax
import numpy as np

from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.training.batches import TargetBasis, TrainBatch
from disentangle3d.training.checkpoint import PhaseCheckpoints
from disentangle3d.training.input_pipeline import (
  ExampleReader,
  position_batches,
  read_batches,
)
from disentangle3d.training.optimizers import learning_rate
from disentangle3d.training.phases import (
  Phase,
  Plateau,
  is_saturated,
  sharded_entries,
)
from disentangle3d.training.placement import (
  AXIS,
  host_copy,
  place_rows,
  place_state,
  replicate,
  replicated_key,
  state_axes,
)
from disentangle3d.training.processes import agree
from disentangle3d.training.state import TrainState
from disentangle3d.training.steps import make_train_step

# Called with the phase, the number of updates done, and the values to log.
Report = Callable[[Phase, int, Mapping[str, float]], None]


class NonFiniteLossError(RuntimeError):
  """A metric of a step was NaN or infinite; nothing was saved after it."""


@dataclasses.dataclass(frozen=True)
class LoopOptions:
  """How often the host looks.

  Attributes:
    log_every: Steps between fetching and reporting metrics.
    checkpoint_every: Steps between checkpoints.
  """

  log_every: int
  checkpoint_every: int

  def __post_init__(self):
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 1:
        raise ValueError(
          f"{field.name}: expected at least 1 step, got"
          f" {getattr(self, field.name)}"
        )


@dataclasses.dataclass(frozen=True)
class PhaseInput:
  """What all phases of a run draw on.

  Attributes:
    reader: The training split; None where no phase reads a dataset.
    num_examples: What counts as an epoch.
    num_classes: K.
    basis: The 3DMM of the targets, flat, on the host.
  """

  reader: ExampleReader | None
  num_examples: int
  num_classes: int
  basis: TargetBasis


def should_run(step: int, *, every: int, total: int) -> bool:
  """Whether something periodic is due after `step` updates.

  It is after each multiple of `every`, and after the last.
  """
  return step > 0 and (step % every == 0 or step == total)


def check_devices(
  batch_size: int, num_devices: int, *, accumulate: int = 1
) -> None:
  """Refuses a batch that the devices cannot share evenly.

  Raises:
    ValueError: Names both numbers.
  """
  if batch_size % num_devices:
    raise ValueError(
      f"batch_size: expected a multiple of the {num_devices} devices, got"
      f" {batch_size}"
    )
  if batch_size % (num_devices * accumulate):
    raise ValueError(
      f"accumulate: expected parts of equal size, got {accumulate} of the"
      f" {batch_size // num_devices} examples of each device"
    )


def total_steps(phase: Phase, steps_per_epoch: int) -> int:
  """Updates of a phase whose loss never saturates."""
  if phase.plateau is None:
    return phase.steps
  return min(phase.steps, phase.plateau.max_epochs * steps_per_epoch)


def steps_per_epoch(phase: Phase, num_examples: int) -> int:
  """Updates until every example was seen, rounded up."""
  return math.ceil(num_examples / phase.batch_size)


def train_phase(
  state: TrainState,
  phase: Phase,
  *,
  model: FaceModel,
  phase_input: PhaseInput,
  devices: Sequence[jax.Device],
  checkpoints: PhaseCheckpoints,
  options: LoopOptions,
  report: Report,
  should_stop: Callable[[], bool],
) -> tuple[TrainState, bool]:
  """Trains one phase from where its state is, to its end or a request to stop.

  Args:
    state: On the host, without an axis of devices.
    phase: What to do.
    model: The network.
    phase_input: Examples and target basis.
    devices: What to train on; their number divides the batch.
    checkpoints: Where states go.
    options: How often to log and save.
    report: Gets the metrics.
    should_stop: Asked after every step.

  Returns:
    The state on the host, saved, and whether the phase is complete.

  Raises:
    NonFiniteLossError: The loss became NaN or infinite; names the step.
    ValueError: The batch does not divide by the number of devices.
  """
  check_devices(phase.batch_size, len(devices), accumulate=phase.accumulate)
  epoch = steps_per_epoch(phase, phase_input.num_examples)
  total = total_steps(phase, epoch)
  start = int(state.step)
  if is_complete(state, phase, total):
    return state, True
  sharded = sharded_entries(phase)
  axes = state_axes(state, sharded)
  mapped = jax.pmap(
    make_train_step(
      model,
      phase,
      steps_per_epoch=epoch,
      num_classes=phase_input.num_classes,
    ),
    axis_name=AXIS,
    in_axes=(axes, TrainBatch(0, 0, 0, 0, 0, None), None),
    out_axes=(axes, None),
    devices=list(devices),
    donate_argnums=0,
  )
  key = replicated_key(phase.seed, devices)
  basis = replicate(phase_input.basis, devices)
  state = place_state(state, devices, sharded)

  def on_host(state: TrainState) -> TrainState:
    return host_copy(
      state, sharded=sharded, num_classes=phase_input.num_classes
    )

  batches = _device_batches(phase, phase_input, devices, start, total)
  pending = _Pending(phase, report)
  complete, compiled = False, None
  for step, batch in enumerate(batches, start=start + 1):
    batch = batch.replace(basis=basis)
    if compiled is None:
      compiled = mapped.lower(state, batch, key).compile(
        compiler_options=cpu_compiler_options(backend=devices[0].platform)
      )
    state, metrics = compiled(state, batch, key)
    pending.add(step, metrics)
    due = should_run(step, every=options.log_every, total=total)
    stopping = agree(should_stop(), ask=due)
    if phase.plateau is not None and step % epoch == 0:
      complete = _saturated(state, phase.plateau)
    ends = complete or stopping
    if ends or due:
      pending.flush()
    if ends or should_run(step, every=options.checkpoint_every, total=total):
      pending.flush()
      checkpoints.save(on_host(state))
    if ends:
      break
  saved = on_host(state)
  return saved, is_complete(saved, phase, total)


def is_complete(state: TrainState, phase: Phase, total: int) -> bool:
  """Whether a host state has nothing left to do in its phase."""
  if phase.plateau is not None and is_saturated(
    phase.plateau,
    patience=int(state.plateau.patience),
    epochs=int(state.plateau.epochs),
  ):
    return True
  return int(state.step) >= total


def _saturated(state: TrainState, plateau: Plateau) -> bool:
  patience, epochs = (
    int(_first_value(leaf))
    for leaf in (state.plateau.patience, state.plateau.epochs)
  )
  return is_saturated(plateau, patience=patience, epochs=epochs)


class _Pending:
  """Metrics still on the devices; fetched together, when somebody looks."""

  def __init__(self, phase: Phase, report: Report):
    self._phase, self._report = phase, report
    self._steps: list[int] = []
    self._metrics: list[Any] = []
    # The first step compiles: its time says nothing about speed.
    self._since, self._timed = 0.0, 0
    self._compiled = False

  def add(self, step: int, metrics: Any) -> None:
    """Queues the metrics of a step."""
    self._steps.append(step)
    self._metrics.append(metrics)
    if self._compiled:
      self._timed += 1
      return
    jax.block_until_ready(metrics)
    self._since, self._compiled = time.perf_counter(), True

  def flush(self) -> None:
    """Fetches, checks and reports what is queued.

    Raises:
      NonFiniteLossError: A loss among them is not finite.
    """
    if not self._steps:
      return
    fetched = [jax.tree.map(_first_value, metrics) for metrics in self._metrics]
    for step, metrics in zip(self._steps, fetched, strict=True):
      _check_finite(self._phase, step, metrics)
    totals = jax.tree.map(lambda *x: sum(x), *fetched)
    values = {name: s / c for name, (s, c) in totals.items()}
    last = self._steps[-1]
    for name, setting in self._phase.optimizers.items():
      values[f"rate_{name}"] = float(learning_rate(setting, last - 1))
    now = time.perf_counter()
    if self._timed:
      images = self._timed * self._phase.batch_size
      values["images_per_s"] = images / (now - self._since)
    self._since, self._timed = now, 0
    self._steps, self._metrics = [], []
    self._report(self._phase, last, values)


def _check_finite(
  phase: Phase, step: int, metrics: Mapping[str, tuple[float, float]]
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


def _first_value(leaf: jax.Array) -> float:
  return float(np.asarray(leaf.addressable_shards[0].data))


def _device_batches(
  phase: Phase,
  phase_input: PhaseInput,
  devices: Sequence[jax.Device],
  start: int,
  stop: int,
) -> Iterator[TrainBatch]:
  """Batches on the devices, one ahead of the step that uses it."""
  if phase.input == "dataset":
    if phase_input.reader is None:
      raise ValueError(f"{phase.name}.input: expected a dataset, got none")
    host = read_batches(
      phase_input.reader,
      seed=phase.seed,
      batch_size=phase.batch_size,
      start=start,
      stop=stop,
    )
  else:
    host = position_batches(batch_size=phase.batch_size, start=start, stop=stop)
  ahead: TrainBatch | None = None
  for batch in host:
    placed = place_rows(batch, devices)
    if ahead is not None:
      yield ahead
    ahead = placed
  if ahead is not None:
    yield ahead
