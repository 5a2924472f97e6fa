"""The one loop that runs every phase."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import math
import types
from typing import Any

import jax

from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.operations import count_operations
from disentangle3d.training.batches import HeldExamples, TargetBasis, TrainBatch
from disentangle3d.training.checkpoint import PhaseCheckpoints
from disentangle3d.training.evaluators import (
  Evaluator,
  due_evaluators,
  evaluate_all,
)
from disentangle3d.training.input_pipeline import (
  ExampleReader,
  index_batches,
  position_batches,
  read_batches,
)
from disentangle3d.training.metric_queue import (
  MetricQueue,
  PackedMetrics,
  Report,
  check_finite_state,
  first_value,
  pack_metrics,
)
from disentangle3d.training.phase_losses import LOSSES, Loss
from disentangle3d.training.phases import (
  Phase,
  Plateau,
  is_saturated,
  sharded_entries,
)
from disentangle3d.training.placement import (
  host_copy,
  map_step,
  place_rows,
  place_state,
  replicate,
  replicated_key,
  state_axes,
)
from disentangle3d.training.processes import agree, is_first_process
from disentangle3d.training.state import TrainState, final_params
from disentangle3d.training.steps import make_train_step
from disentangle3d.types import UserError

# The first compiles, and the second may still fill queues.
_STEPS_BEFORE_TRACE = 3


@dataclasses.dataclass(frozen=True)
class LoopOptions:
  """How often the host looks.

  Attributes:
    log_every: Steps between fetching and reporting metrics.
    checkpoint_every: Steps between checkpoints.
    profile_steps: Steps of each phase to trace with `jax.profiler`.
    profile_folder: Where the trace goes.
    debug_nans: After every step, look for NaN and infinity in all that it
      changed; every step is waited for.
  """

  log_every: int = 100
  checkpoint_every: int = 1000
  profile_steps: int = 0
  profile_folder: str = "profile"
  debug_nans: bool = False

  def __post_init__(self):
    for name, least in (
      ("log_every", 1),
      ("checkpoint_every", 1),
      ("profile_steps", 0),
    ):
      if getattr(self, name) < least:
        raise UserError(
          f"{name}: expected at least {least} step, got {getattr(self, name)}"
        )


@dataclasses.dataclass(frozen=True)
class PhaseInput:
  """What all phases of a run draw on.

  Attributes:
    reader: The training split; None where no phase reads a dataset.
    num_examples: What counts as an epoch.
    num_classes: K.
    basis: The 3DMM of the targets, flat, on the host.
    held: In place of a reader: examples that the devices hold or make, for
      the same devices as train.
    lanes: Of a reader's examples; see `example_order`.
  """

  reader: ExampleReader | None
  num_examples: int
  num_classes: int
  basis: TargetBasis
  held: HeldExamples | None = None
  lanes: int = 1

  def __post_init__(self):
    if self.reader is not None and self.held is not None:
      raise UserError("held: expected none beside a reader, got both")


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
    UserError: Names both numbers.
  """
  if batch_size % num_devices:
    raise UserError(
      f"batch_size: expected a multiple of the {num_devices} devices, got"
      f" {batch_size}"
    )
  if batch_size % (num_devices * accumulate):
    raise UserError(
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
  losses: Mapping[str, Loss] = LOSSES,
  evaluators: Mapping[str, Evaluator] = types.MappingProxyType({}),
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
    losses: By name, those that the phase has weights for among them.
    evaluators: What else to measure; the first process does, and reports.

  Returns:
    The state on the host, saved, and whether the phase is complete.

  Raises:
    NonFiniteLossError: The loss became NaN or infinite; names the step.
    UserError: The batch does not divide by the number of devices.
  """
  check_devices(phase.batch_size, len(devices), accumulate=phase.accumulate)
  epoch = steps_per_epoch(phase, phase_input.num_examples)
  total = total_steps(phase, epoch)
  start = int(state.step)
  if is_complete(state, phase, total):
    return state, True
  sharded = sharded_entries(phase)
  axes = state_axes(state, sharded)
  train_step = make_train_step(
    model,
    phase,
    steps_per_epoch=epoch,
    num_classes=phase_input.num_classes,
    losses=losses,
  )

  def packed_step(
    state: TrainState, batch: TrainBatch, key: jax.Array
  ) -> tuple[TrainState, PackedMetrics]:
    state, metrics = train_step(state, batch, key)
    return state, pack_metrics(metrics)

  mapped = map_step(packed_step, devices, state=axes, held=phase_input.held)
  key = replicated_key(phase.seed, devices)
  basis = replicate(phase_input.basis, devices)
  state = place_state(state, devices, sharded)

  def on_host(state: TrainState) -> TrainState:
    return host_copy(
      state, sharded=sharded, num_classes=phase_input.num_classes
    )

  batches = _device_batches(phase, phase_input, devices, start, total)
  pending = MetricQueue(phase, report)
  trace = _Trace(options, first=start + _STEPS_BEFORE_TRACE)
  complete, compiled = False, None
  for step in range(start + 1, total + 1):
    with pending.waiting_for_input():
      batch = next(batches).replace(basis=basis, held=phase_input.held)
    if compiled is None:
      # JAX traces no pmap of several processes outside of lower().
      if jax.process_count() == 1:
        pending.flops_per_step = len(devices) * count_operations(
          mapped, state, batch, key
        )
      compiled = mapped.lower(state, batch, key).compile(
        compiler_options=cpu_compiler_options(backend=devices[0].platform)
      )
    trace.before(step)
    state, metrics = compiled(state, batch, key)
    pending.add(step, metrics)
    trace.after(step, metrics)
    if options.debug_nans:
      check_finite_state(phase, step, state)
    due = should_run(step, every=options.log_every, total=total)
    stopping = agree(should_stop(), ask=due)
    if phase.plateau is not None and step % epoch == 0:
      complete = _saturated(state, phase.plateau)
    asked = due_evaluators(evaluators, step, ends=complete or step == total)
    if asked:
      with pending.pausing(metrics):
        current = final_params(
          on_host(dataclasses.replace(state, opt_state={}))
        )
        if is_first_process():
          report(phase, step, evaluate_all(asked, current, step))
    ends = complete or stopping
    if ends or due:
      pending.close()
    if ends or should_run(step, every=options.checkpoint_every, total=total):
      pending.flush()
      checkpoints.save(on_host(state))
    if ends:
      break
  trace.stop()
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
    int(first_value(leaf))
    for leaf in (state.plateau.patience, state.plateau.epochs)
  )
  return is_saturated(plateau, patience=patience, epochs=epochs)


class _Trace:
  """Traces a few steps of a phase, from `first` on."""

  def __init__(self, options: LoopOptions, *, first: int):
    self._folder = options.profile_folder
    self._first, self._last = first, first + options.profile_steps - 1
    self._running = False

  def before(self, step: int) -> None:
    """Starts before the first step that is traced."""
    if step == self._first <= self._last:
      jax.profiler.start_trace(self._folder)
      self._running = True

  def after(self, step: int, metrics: Any) -> None:
    """Stops when the last of them is done."""
    if self._running and step == self._last:
      jax.block_until_ready(metrics)
      self.stop()

  def stop(self) -> None:
    """Stops in any case, at the end of a phase."""
    if self._running:
      jax.profiler.stop_trace()
    self._running = False


def _device_batches(
  phase: Phase,
  phase_input: PhaseInput,
  devices: Sequence[jax.Device],
  start: int,
  stop: int,
) -> Iterator[TrainBatch]:
  """Batches on the devices, one ahead of the step that uses it."""
  steps = {"batch_size": phase.batch_size, "start": start, "stop": stop}
  if phase.examples != "dataset":
    host = position_batches(**steps)
  elif phase_input.held is not None:
    host = index_batches(
      num_examples=len(phase_input.held), seed=phase.seed, **steps
    )
  elif phase_input.reader is not None:
    host = read_batches(
      phase_input.reader, seed=phase.seed, lanes=phase_input.lanes, **steps
    )
  else:
    raise UserError(f"{phase.name}.examples: expected a dataset, got none")
  ahead: TrainBatch | None = None
  for batch in host:
    placed = place_rows(batch, devices)
    if ahead is not None:
      yield ahead
    ahead = placed
  if ahead is not None:
    yield ahead
