"""From a ConfigDict to the phases it describes; names the bad value."""

import dataclasses

from ml_collections import ConfigDict

from disentangle3d.network.margins import HeadSetting
from disentangle3d.training.augmentation import Augmentation
from disentangle3d.training.optimizers import OptimizerSetting, Schedule
from disentangle3d.training.phases import (
  Phase,
  Plateau,
  decoders_phase,
  encoder_phase,
  joint_phase,
  without_residual,
)
from disentangle3d.types import UserError
from experiments.configs.default import PHASES


def phases_of(config: ConfigDict) -> tuple[Phase, ...]:
  """The phases that a config runs, in order.

  A phase's seed is `config.seed` and its place among all four, whichever of
  them run: the control sees the examples in the order of what it controls.

  Args:
    config: See `experiments/configs/default.py`.

  Returns:
    The phases.

  Raises:
    UserError: A value is out of range or no choice; names it.
  """
  unknown = [name for name in config.run_phases if name not in PHASES]
  if unknown or not config.run_phases:
    raise UserError(
      f"config.run_phases: expected some of {', '.join(PHASES)}, got"
      f" {', '.join(unknown) or 'none'}"
    )
  phases = []
  for name in config.run_phases:
    seed = config.seed + PHASES.index(name)
    try:
      phase = _phase_of(name, config.phases[name], seed)
      phases.append(
        dataclasses.replace(
          phase,
          head=_head_of(config, phase),
          accumulate=config.phases[name].accumulate,
          average_decay=config.phases[name].average_decay,
          augmentation=Augmentation(**config.augmentation),
        )
      )
    except ValueError as error:
      raise UserError(f"config.phases.{name}: {error}") from error
  if not config.residual_branch:
    return tuple(map(without_residual, phases))
  return tuple(phases)


def _phase_of(name: str, config: ConfigDict, seed: int) -> Phase:
  shared = {
    "steps": config.steps,
    "batch_size": config.batch_size,
    "input": config.input,
    "seed": seed,
  }
  if name == "encoder":
    return encoder_phase(optimizer=_optimizer_of(config.optimizer), **shared)
  if name == "decoders":
    return decoders_phase(optimizer=_optimizer_of(config.optimizer), **shared)
  return joint_phase(
    name,
    encoder=_optimizer_of(config.encoder),
    decoders=_optimizer_of(config.decoders),
    head=_optimizer_of(config.head),
    reconstruction=config.reconstruction,
    identification=config.identification,
    identity_shape=config.identity_shape,
    takes_over=config.takes_over,
    head_sharpness=config.head_sharpness,
    plateau=_plateau_of(config.plateau),
    **shared,
  )


def _optimizer_of(config: ConfigDict) -> OptimizerSetting:
  settings = {k: v for k, v in config.items() if k != "schedule"}
  return OptimizerSetting(**settings, schedule=Schedule(**config.schedule))


def _head_of(config: ConfigDict, phase: Phase) -> HeadSetting:
  """The run's head; a phase that takes over goes on with its annealing."""
  settings = {k: v for k, v in config.identity_head.items() if k != "margins"}
  # Softmax has no margin, and an unknown kind is the setting's to refuse.
  margin = config.identity_head.margins.to_dict().get(
    config.identity_head.kind, 0.0
  )
  before = 0
  if phase.takes_over and "joint_recognition" in config.run_phases:
    before = config.phases.joint_recognition.steps
  return HeadSetting(**settings, margin=margin, steps_before=before)


def _plateau_of(config: ConfigDict) -> Plateau | None:
  if not config.enabled:
    return None
  settings = {k: v for k, v in config.items() if k != "enabled"}
  return Plateau(**settings)
