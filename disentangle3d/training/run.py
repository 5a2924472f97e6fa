"""Phase after phase: where each starts from, and what the run leaves behind."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import logging
import os
import pathlib
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.network.face_model import (
  FaceModel,
  init_params,
  widen_to_map,
)
from disentangle3d.network.identity_heads import (
  class_means,
  cosine_head_from_means,
  identity_head_from_means,
  init_identity_head,
)
from disentangle3d.output_files import check_space
from disentangle3d.training import export as export_lib
from disentangle3d.training.checkpoint import (
  MOST_KEPT,
  PhaseCheckpoints,
  latest_step,
)
from disentangle3d.training.evaluators import Evaluator
from disentangle3d.training.input_pipeline import class_targets
from disentangle3d.training.loop import (
  LoopOptions,
  PhaseInput,
  check_devices,
  train_phase,
)
from disentangle3d.training.losses import latent_targets
from disentangle3d.training.metric_queue import Report
from disentangle3d.training.phase_losses import LOSSES, Loss, check_losses
from disentangle3d.training.phase_states import abstract_state, check_states
from disentangle3d.training.phases import HEAD, Phase, needed_head
from disentangle3d.training.state import TrainState, final_params, initial_state
from disentangle3d.types import UserError

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended.

  Attributes:
    complete: Every phase is done; otherwise it was asked to stop.
    phase: The last phase that ran.
    step: Its updates so far.
    params: Params on the host, the identity head among them.
  """

  complete: bool
  phase: str
  step: int
  params: dict[str, Any]


def run_phases(
  phases: Sequence[Phase],
  *,
  model: FaceModel,
  morphable_model: MorphableModel,
  phase_input: PhaseInput,
  workdir: str | os.PathLike[str],
  devices: Sequence[jax.Device] | None = None,
  seed: int = 0,
  init_from: str | None = None,
  options: LoopOptions | None = None,
  export_phases: Sequence[str] = (),
  report: Report = lambda phase, step, values: None,
  should_stop: Callable[[], bool] = lambda: False,
  losses: Mapping[str, Loss] = LOSSES,
  evaluators: Mapping[str, Evaluator] = types.MappingProxyType({}),
) -> Outcome:
  """Runs phases in order, going on where an earlier run left off.

  Args:
    phases: In order; their names differ.
    model: The network.
    morphable_model: Mean shape, topology and provenance.
    phase_input: Examples and target basis.
    workdir: Where checkpoints and exports go.
    devices: What to train on; None takes all there are.
    seed: Of fresh params.
    init_from: An export, or a workdir with one, whose params to start from;
      None starts fresh.
    options: How often to log and save; None is `LoopOptions()`.
    export_phases: Phases to export when they end, to `export/<name>`; the
      last phase always goes to `export`.
    report: Gets the metrics.
    should_stop: Asked after every step.
    losses: By name, those that phases have weights for among them.
    evaluators: What to measure while training, by name.

  Returns:
    How it ended.

  Raises:
    UserError: A batch does not divide by the devices, phases disagree with
      the params, something on disk does not fit, or it has too little room.
    UserFileNotFoundError: `init_from` has no export.
    NonFiniteLossError: See `train_phase`.
  """
  devices = jax.devices() if devices is None else devices
  check_phases(phases, len(devices), export_phases, losses=losses)
  workdir = pathlib.Path(workdir)
  first = _first_phase(phases, workdir)
  first_params = functools.cache(
    functools.partial(_first_params, model, morphable_model, seed, init_from)
  )
  begun = is_begun(phases, workdir)
  largest = check_states(phases, model, phase_input.num_classes)
  # Those that are kept, and the one that is being written.
  check_space(workdir, (1 if begun else MOST_KEPT + 1) * largest)
  if not begun:
    first_params()
  state: TrainState | None = None
  for index in range(first, len(phases)):
    phase = phases[index]
    with PhaseCheckpoints(workdir, phase.name) as checkpoints:
      state = _start_of_phase(
        phases,
        index,
        before=state,
        checkpoints=checkpoints,
        first_params=first_params,
        model=model,
        phase_input=phase_input,
        seed=seed,
      )
      state, complete = train_phase(
        state,
        phase,
        model=model,
        phase_input=phase_input,
        devices=devices,
        checkpoints=checkpoints,
        options=options or LoopOptions(),
        report=report,
        should_stop=should_stop,
        losses=losses,
        evaluators=evaluators,
      )
    outcome = Outcome(complete, phase.name, int(state.step), state.params)
    if not complete:
      return outcome
    _export(
      phase,
      last=index == len(phases) - 1,
      workdir=workdir,
      model=model,
      state=state,
      morphable_model=morphable_model,
      named=export_phases,
    )
  return outcome


def check_phases(
  phases: Sequence[Phase],
  num_devices: int,
  export_phases: Sequence[str],
  *,
  losses: Mapping[str, Loss] = LOSSES,
) -> None:
  """Checks what can be known before anything is computed.

  Raises:
    UserError: There is no phase, two have one name, a batch does not divide
      by the devices, a phase to export is not among them, or a phase has a
      weight for a loss that there is not.
  """
  names = [phase.name for phase in phases]
  if not names or len(set(names)) < len(names):
    raise UserError(f"phases: expected different names, got {names}")
  unknown = [name for name in export_phases if name not in names]
  if unknown:
    raise UserError(
      f"export_phases: expected some of {', '.join(names)}, got"
      f" {', '.join(map(str, unknown))}"
    )
  for phase in phases:
    check_losses(phase, losses)
    try:
      check_devices(phase.batch_size, num_devices, accumulate=phase.accumulate)
    except ValueError as error:
      raise UserError(f"{phase.name}.{error}") from error


def is_begun(phases: Sequence[Phase], workdir: str | os.PathLike[str]) -> bool:
  """Whether a workdir has a checkpoint of any of the phases."""
  return any(latest_step(workdir, phase.name) is not None for phase in phases)


def _first_phase(phases: Sequence[Phase], workdir: pathlib.Path) -> int:
  """The last phase with a checkpoint: those before it are done."""
  found = [
    index
    for index, phase in enumerate(phases)
    if latest_step(workdir, phase.name) is not None
  ]
  return max(found, default=0)


def _start_of_phase(
  phases: Sequence[Phase],
  index: int,
  *,
  before: TrainState | None,
  checkpoints: PhaseCheckpoints,
  first_params: Callable[[], dict[str, Any]],
  model: FaceModel,
  phase_input: PhaseInput,
  seed: int,
) -> TrainState:
  """The host state a phase goes on from.

  Precedence: this phase's latest checkpoint; the previous phase's last state;
  the params of `init_from`; fresh params (the last two in `first_params`).
  """
  phase = phases[index]
  if checkpoints.latest_step() is not None:
    like = abstract_state(phase, model, phase_input.num_classes)
    restored = checkpoints.restore_latest(like)
    if restored is not None:
      _logger.info("%s: going on from step %d", phase.name, restored.step)
      return restored
  params = first_params() if before is None else before.params
  params = _fit_head(params, phase, phase_input, model, seed)
  state = jax.tree.map(np.asarray, initial_state(phase, params))
  if before is None or not phase.takes_over:
    _logger.info("%s: fresh optimizer memory", phase.name)
    return state
  _logger.info("%s: optimizer memory of %s", phase.name, phases[index - 1].name)
  kept = {
    name: getattr(before, name)
    for name in ("average", "code_norms")
    if None not in (getattr(before, name), getattr(state, name))
  }
  return state.replace(opt_state=before.opt_state, **kept)


def _first_params(
  model: FaceModel,
  morphable_model: MorphableModel,
  seed: int,
  init_from: str | None,
) -> dict[str, Any]:
  if init_from is None:
    _logger.info("fresh params, seed %d", seed)
    return init_params(jax.random.key(seed), model, morphable_model)
  loaded = load_start(init_from, model, morphable_model)
  _logger.info("params from %s (%s)", init_from, loaded.phase)
  return loaded.params


def load_start(
  init_from: str, model: FaceModel, morphable_model: MorphableModel
) -> export_lib.Network:
  """The network whose params a run starts from.

  Args:
    init_from: An export, or a workdir with one.
    model: The run's network. The export's must be the same, or lack the map
      that the run's codes see (`widen_to_map`); its crops may be of another
      template.
    morphable_model: The run's 3DMM, whose mean shape it must have.

  Returns:
    The run's network, its mean shape to the last bit the 3DMM's.

  Raises:
    UserFileNotFoundError: There is no export.
    UserError: It is damaged, or of another network or 3DMM.
  """
  loaded = export_lib.load_network(init_from)
  # Other crops are nothing that params say; the trunk learns to see them.
  wide = loaded.model.clone(
    template=model.template,
    **{
      name: getattr(loaded.model, name) or getattr(model, name)
      for name in ("identity_from_map", "residual_from_map")
    },
  )
  if wide != model:
    expected, got = (
      export_lib.differing_fields(*pair)
      for pair in ((model, wide), (wide, model))
    )
    raise UserError(
      f"init_from: expected an export of a network with {expected}, got {got}"
      f" in {init_from}"
    )
  if loaded.model.template != model.template:
    _logger.info(
      "init_from: trained on crops of the template %r, goes on with %r",
      *(loaded.model.template, model.template),
    )
  mean = np.asarray(morphable_model.mean_shape)
  far = float(np.abs(loaded.params["mean_shape"] - mean).max())
  # A network kept in half precision is 0.06 mm off; another 3DMM far beyond.
  if far > 0.1:
    raise UserError(
      f"init_from: expected an export trained with the 3DMM"
      f" {morphable_model.name!r}, got one with {loaded.name!r},"
      f" whose mean shape is up to {far:.3g} mm off, in {init_from}"
    )
  params = widen_to_map(loaded.params, loaded.model, model)
  params["mean_shape"] = mean.astype(np.float32)
  return dataclasses.replace(loaded, model=model, params=params)


def _fit_head(
  params: Mapping[str, Any],
  phase: Phase,
  phase_input: PhaseInput,
  model: FaceModel,
  seed: int,
) -> dict[str, Any]:
  """Adds the identity head where the phase needs one; drops it otherwise."""
  if not needed_head(phase):
    return {name: entry for name, entry in params.items() if name != HEAD}
  if HEAD in params:
    return dict(params)
  classes = phase_input.num_classes
  bias = phase.head.has_bias
  targets = _class_targets(phase_input) if phase.head_sharpness > 0 else None
  if targets is not None:
    labels, coefficients = targets
    none = np.zeros((len(labels), 0), np.float32)
    codes = latent_targets(
      jnp.asarray(coefficients)[:, : model.identity_dim], jnp.asarray(none)
    ).identity
    means = class_means(codes, jnp.asarray(labels), num_classes=classes)
    if bias:
      head = identity_head_from_means(means, sharpness=phase.head_sharpness)
    else:
      head = cosine_head_from_means(means)
    _logger.info("%s: head from the means of %d classes", phase.name, classes)
  else:
    key = jax.random.fold_in(jax.random.key(seed), 1)
    head = init_identity_head(
      key, num_classes=classes, identity_dim=model.identity_dim, bias=bias
    )
    _logger.info("%s: cold head of %d classes", phase.name, classes)
  return {**params, HEAD: head}


def _class_targets(
  phase_input: PhaseInput,
) -> tuple[np.ndarray, np.ndarray] | None:
  if phase_input.held is not None:
    return phase_input.held.class_targets()
  if phase_input.reader is not None:
    return class_targets(phase_input.reader)
  return None


def _export(
  phase: Phase,
  *,
  last: bool,
  workdir: pathlib.Path,
  model: FaceModel,
  state: TrainState,
  morphable_model: MorphableModel,
  named: Sequence[str],
) -> None:
  if jax.process_index():
    return
  folder = workdir / export_lib.FOLDER
  targets = [folder / phase.name] if phase.name in named else []
  for target in [*targets, folder] if last else targets:
    export_lib.save_network(
      target, model, final_params(state), morphable_model, phase=phase.name
    )
    _logger.info("%s: exported to %s", phase.name, target)
