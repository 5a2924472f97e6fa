"""Optimizer settings as values: one for each top-level module that trains.

A rate is a function of the phase's step, which is in the train state; the
optimizer itself counts nothing that a phase taking over its state would have
to reset, Adam's bias correction aside.
"""

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from disentangle3d.types import UserError

Kind = Literal["sgd", "adam"]
ScheduleKind = Literal["constant", "warmup_cosine", "step_decay"]


@dataclasses.dataclass(frozen=True)
class Schedule:
  """How a rate goes with the step, as a factor of its peak.

  Attributes:
    kind: "constant"; "warmup_cosine": up from 0 over `warmup_steps`, then
      down a cosine to `final_factor` at `decay_steps`; "step_decay": times
      `final_factor` at each of `boundaries`.
    warmup_steps: Steps of linear warm-up.
    decay_steps: The step at which the cosine ends.
    boundaries: Steps at which to decay.
    final_factor: See `kind`.
  """

  kind: ScheduleKind = "constant"
  warmup_steps: int = 0
  decay_steps: int = 0
  boundaries: tuple[int, ...] = ()
  final_factor: float = 0.0

  def __post_init__(self):
    if self.kind not in get_args(ScheduleKind):
      raise UserError(
        "schedule.kind: expected one of"
        f" {', '.join(get_args(ScheduleKind))}, got {self.kind}"
      )
    if self.kind == "warmup_cosine" and self.decay_steps <= self.warmup_steps:
      raise UserError(
        f"schedule.decay_steps: expected more than the {self.warmup_steps}"
        f" warmup_steps, got {self.decay_steps}"
      )
    if self.kind == "step_decay" and list(self.boundaries) != sorted(
      set(self.boundaries)
    ):
      raise UserError(
        "schedule.boundaries: expected rising steps, got"
        f" {list(self.boundaries)}"
      )


def schedule_factor(
  schedule: Schedule, step: Int[Array, ""] | int
) -> Float[Array, ""]:
  """The factor of a schedule for the update after `step` updates."""
  step = jnp.asarray(step, jnp.float32)
  if schedule.kind == "constant":
    return jnp.ones((), jnp.float32)
  if schedule.kind == "step_decay":
    passed = sum(
      (
        (step >= boundary).astype(jnp.float32)
        for boundary in schedule.boundaries
      ),
      start=jnp.zeros((), jnp.float32),
    )
    return jnp.asarray(schedule.final_factor, jnp.float32) ** passed
  # The first update already moves: (step + 1) / warm-up.
  warm = (step + 1) / max(schedule.warmup_steps, 1)
  span = schedule.decay_steps - schedule.warmup_steps
  done = jnp.clip((step - schedule.warmup_steps) / span, 0.0, 1.0)
  cosine = 0.5 * (1 + jnp.cos(jnp.pi * done))
  low = schedule.final_factor
  return jnp.minimum(warm, low + (1 - low) * cosine)


@dataclasses.dataclass(frozen=True)
class OptimizerSetting:
  """How one top-level module trains.

  Attributes:
    kind: "sgd" (with momentum) or "adam".
    rate: Peak learning rate.
    schedule: Of the rate.
    momentum: SGD's.
    beta1: Adam's.
    beta2: Adam's.
    epsilon: Adam's.
    weight_decay: Of kernels (arrays of two or more dimensions; biases and
      slopes do not decay). SGD adds it to the gradient, as Caffe does; Adam's
      is decoupled.
    clip_norm: A gradient of the module that is longer is cut to this length;
      0 cuts none.
  """

  kind: Kind
  rate: float
  schedule: Schedule = Schedule()
  momentum: float = 0.9
  beta1: float = 0.9
  beta2: float = 0.999
  epsilon: float = 1e-8
  weight_decay: float = 0.0
  clip_norm: float = 0.0

  def __post_init__(self):
    if self.kind not in get_args(Kind):
      raise UserError(
        f"optimizer.kind: expected one of {', '.join(get_args(Kind))}, got"
        f" {self.kind}"
      )
    if not self.rate > 0:
      raise UserError(f"optimizer.rate: expected above 0, got {self.rate}")
    for name in ("weight_decay", "clip_norm"):
      if not getattr(self, name) >= 0:
        raise UserError(
          f"optimizer.{name}: expected 0 or more, got {getattr(self, name)}"
        )


def make_optimizer(setting: OptimizerSetting) -> optax.GradientTransformation:
  """The direction of a module's update, for a rate of 1 and not negated."""
  decay = optax.add_decayed_weights(setting.weight_decay, _decays)
  decays = [decay] if setting.weight_decay else []
  if setting.kind == "sgd":
    return optax.chain(*decays, optax.trace(setting.momentum))
  adam = optax.scale_by_adam(setting.beta1, setting.beta2, eps=setting.epsilon)
  return optax.chain(adam, *decays)


def learning_rate(
  setting: OptimizerSetting, step: Int[Array, ""] | int
) -> Float[Array, ""]:
  """The rate of the update after `step` updates of the phase."""
  return setting.rate * schedule_factor(setting.schedule, step)


def _decays(params: Any) -> Any:
  return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
