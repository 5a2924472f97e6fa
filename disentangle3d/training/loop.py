"""The one loop that runs every phase."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import math
import time
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.training.batches import TargetBasis, TrainBatch
from disentangle3d.training.checkpoint import PhaseCheckpoints, host_copy
from disentangle3d.training.input_pipeline import (
  ExampleReader,
  position_batches,
  read_batches,
)
from disentangle3d.training.optimizers import learning_rate
from disentangle3d.training.phases import Phase, Plateau, is_saturated
from disentangle3d.training.steps import AXIS, TrainState, make_train_step

# Called with the phase, the number of updates done, and the values to log.
Report = Callable[[Phase, int, Mapping[str, float]], None]


class NonFiniteLossError(RuntimeError):
  """The loss of a step was NaN or infinite; nothing was saved after it."""


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


def check_devices(batch_size: int, num_devices: int) -> None:
  """Refuses a batch that the devices cannot share evenly.

  Raises:
    ValueError: Names both numbers.
  """
  if batch_size % num_devices:
    raise ValueError(
      f"batch_size: expected a multiple of the {num_devices} devices, got"
      f" {batch_size}"
    )


def total_steps(phase: Phase, steps_per_epoch: int) -> int:
  """Updates of a phase whose loss never saturates."""
  if phase.plateau is None:
    return phase.steps
  return min(phase.steps, phase.plateau.max_epochs * steps_per_epoch)


def steps_per_epoch(phase: Phase, num_examples: int) -> int:
  """Updates until every example was seen, rounded up."""
  return math.ceil(num_examples / phase.batch_size)


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """The same whole arrays on every device."""
  sharding = NamedSharding(_mesh(devices), PartitionSpec())
  # The host's copy must survive the donation of the device's.
  return jax.tree.map(
    lambda leaf: jax.device_put(np.asarray(leaf), sharding, may_alias=False),
    tree,
  )


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
  check_devices(phase.batch_size, len(devices))
  epoch = steps_per_epoch(phase, phase_input.num_examples)
  total = total_steps(phase, epoch)
  start = int(state.step)
  if is_complete(state, phase, total):
    return state, True
  mapped = jax.pmap(
    make_train_step(
      model,
      phase,
      steps_per_epoch=epoch,
      num_classes=phase_input.num_classes,
    ),
    axis_name=AXIS,
    # No axis of devices in the state: with one, XLA copies Adam's moments.
    in_axes=(None, 0, None),
    out_axes=None,
    devices=list(devices),
    donate_argnums=0,
  )
  key = jax.random.key(phase.seed)
  basis = _stack(phase_input.basis, devices)
  state = replicate(state, devices)
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
    stopping = should_stop()
    if phase.plateau is not None and step % epoch == 0:
      complete = _saturated(state, phase.plateau)
    ends = complete or stopping
    if ends or should_run(step, every=options.log_every, total=total):
      pending.flush()
    if ends or should_run(step, every=options.checkpoint_every, total=total):
      pending.flush()
      checkpoints.save(host_copy(state))
    if ends:
      break
  saved = host_copy(state)
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
      loss = metrics["loss"][0] / metrics["loss"][1]
      if not math.isfinite(loss):
        raise NonFiniteLossError(
          f"{self._phase.name}: the loss of step {step} is {loss}; nothing"
          " was saved since the last checkpoint. A lower rate may help"
        )
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


def _first_value(leaf: jax.Array) -> float:
  return float(np.asarray(leaf.addressable_shards[0].data))


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
  return Mesh(np.array(devices), (AXIS,))


def _stack(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """A copy on each device, as arrays `[devices, ...]`."""
  sharding = NamedSharding(_mesh(devices), PartitionSpec(AXIS))

  def put(leaf: Any) -> jax.Array:
    host = np.asarray(leaf)
    copies = np.broadcast_to(host[None], (len(devices), *host.shape))
    return jax.device_put(copies, sharding)

  return jax.tree.map(put, tree)


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
  sharding = NamedSharding(_mesh(devices), PartitionSpec(AXIS))

  def put(leaf: np.ndarray) -> jax.Array:
    rows = leaf.reshape(len(devices), -1, *leaf.shape[1:])
    return jax.device_put(rows, sharding)

  ahead: TrainBatch | None = None
  for batch in host:
    placed = jax.tree.map(put, batch)
    if ahead is not None:
      yield ahead
    ahead = placed
  if ahead is not None:
    yield ahead
