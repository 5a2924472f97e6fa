"""From a ConfigDict to the phases it describes; names the bad value."""

from collections.abc import Mapping, Sequence
import dataclasses
import types

from ml_collections import ConfigDict

from disentangle3d.network.margins import HeadSetting
from disentangle3d.training.augmentation import Augmentation
from disentangle3d.training.optimizers import (
  Optimizer,
  OptimizerSetting,
  Schedule,
)
from disentangle3d.training.phase_losses import LOSSES
from disentangle3d.training.phases import (
  Phase,
  Plateau,
  phase_of_modules,
  without_residual,
)
from disentangle3d.types import UserError
from experiments.configs._old_names import ByPhase
from experiments.configs.default import JOINT, PHASES


def phases_of(
  config: ConfigDict,
  optimizers: Mapping[str, Mapping[str, Optimizer]] = types.MappingProxyType(
    {}
  ),
) -> tuple[Phase, ...]:
  """The phases that a config runs, in order.

  A phase's seed is `config.seed` and its place among all four, whichever of
  them run: the control sees the examples in the order of what it controls.

  Args:
    config: See `experiments/configs/default.py`.
    optimizers: By phase and module, in place of the config's.

  Returns:
    The phases.

  Raises:
    UserError: A value is out of range or no choice; names it.
  """
  names = todays_phases(config.run_phases)
  unknown = [name for name in names if name not in PHASES]
  if unknown or not names:
    raise UserError(
      f"config.run_phases: expected some of {', '.join(PHASES)}, got"
      f" {', '.join(map(str, unknown)) or 'none'}"
    )
  strangers = sorted(set(optimizers) - set(names))
  if strangers:
    raise UserError(
      f"optimizers: expected some of the phases {', '.join(names)}, got"
      f" {', '.join(strangers)}"
    )
  phases = []
  for name in names:
    try:
      phase = _phase_of(name, config, optimizers.get(name, {}))
    except ValueError as error:
      raise UserError(f"config.phases.{name}: {error}") from error
    phases.append(dataclasses.replace(phase, head=_head_of(config, phase)))
  if not config.residual_branch:
    return tuple(map(without_residual, phases))
  return tuple(phases)


def todays_phases(names: Sequence[str]) -> tuple[str, ...]:
  """Names of phases by today's, where they may be earlier ones."""
  return tuple(ByPhase.TODAY.get(name, name) for name in names)


def exported_phases(config: ConfigDict) -> tuple[str, ...]:
  """What `config.export_phases` names and `config.run_phases` runs.

  A name that no phase has stays, to be refused.
  """
  run = todays_phases(config.run_phases)
  named = todays_phases(config.export_phases)
  return tuple(name for name in named if name in run or name not in PHASES)


def _phase_of(
  name: str, config: ConfigDict, optimizers: Mapping[str, Optimizer]
) -> Phase:
  phase = config.phases[name]
  strangers = sorted(set(optimizers) - set(phase.optimizers))
  if strangers:
    raise UserError(
      f"optimizers: expected some of {', '.join(phase.optimizers)}, got"
      f" {', '.join(strangers)}"
    )
  modules: dict[str, Optimizer] = {
    module: optimizers.get(module) or _optimizer_of(module, setting)
    for module, setting in phase.optimizers.items()
  }
  joint = {}
  if name in JOINT:
    joint = {
      "takes_over": phase.takes_over,
      "head_sharpness": phase.head_sharpness,
      "plateau": _plateau_of(phase.plateau),
    }
  return phase_of_modules(
    name,
    modules,
    weights=_weights_of(phase.weights),
    steps=phase.steps,
    batch_size=phase.batch_size,
    examples=phase.examples,
    seed=config.seed + PHASES.index(name),
    accumulate=phase.accumulate,
    average_decay=phase.average_decay,
    gradient_dtype=phase.gradient_dtype,
    augmentation=_augmentation_of(
      config.augmentation, same_people=name in JOINT
    ),
    **joint,
  )


def _augmentation_of(config: ConfigDict, *, same_people: bool) -> Augmentation:
  """What is done to the examples; `same_people` where they are told apart."""
  try:
    setting = Augmentation(**config)
  except TypeError as error:
    raise UserError(f"config.augmentation: {error}") from error
  return (
    dataclasses.replace(setting, new_identity=0.0) if same_people else setting
  )


def _weights_of(config: ConfigDict) -> dict[str, float]:
  """Those that are not 0, in the order that a step adds them up in."""
  order = list(LOSSES)
  names = sorted(
    config, key=lambda name: order.index(name) if name in order else len(order)
  )
  return {name: config[name] for name in names if config[name] != 0}


def _optimizer_of(module: str, config: ConfigDict) -> OptimizerSetting:
  settings = config.to_dict()
  arguments = settings.pop("arguments")
  schedule = settings.pop("schedule")
  try:
    return OptimizerSetting(
      **settings,
      schedule=Schedule(**schedule),
      arguments={k: v for k, v in arguments.items() if v is not None},
    )
  except ValueError as error:
    raise UserError(f"optimizers.{module}: {error}") from error


def _head_of(config: ConfigDict, phase: Phase) -> HeadSetting:
  """The run's head; a phase that takes over goes on with its annealing."""
  settings = {k: v for k, v in config.identity_head.items() if k != "margins"}
  # Softmax has no margin, and an unknown kind is the setting's to refuse.
  margin = config.identity_head.margins.to_dict().get(
    config.identity_head.kind, 0.0
  )
  before = 0
  if phase.takes_over and JOINT[0] in config.run_phases:
    before = config.phases[JOINT[0]].steps
  return HeadSetting(**settings, margin=margin, steps_before=before)


def _plateau_of(config: ConfigDict) -> Plateau | None:
  if not config.enabled:
    return None
  settings = {k: v for k, v in config.items() if k != "enabled"}
  return Plateau(**settings)
