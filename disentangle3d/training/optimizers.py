"""Optimizer settings as values: one for each top-level module that trains.

A rate is a function of the phase's step, which is in the train state; the
optimizer itself counts nothing that a phase taking over its state would have
to reset, Adam's bias correction aside.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
import types
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from disentangle3d.types import UserError

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
    whole = all(isinstance(step, int) for step in self.boundaries)
    if not whole or list(self.boundaries) != sorted(set(self.boundaries)):
      raise UserError(
        "schedule.boundaries: expected rising steps, got"
        f" {list(self.boundaries)}"
      )
    if not self.final_factor >= 0:
      raise UserError(
        f"schedule.final_factor: expected 0 or more, got {self.final_factor}"
      )


def schedule_factor(
  schedule: Schedule, step: Int[Array, ""] | int
) -> Float[Array, ""]:
  """The factor of a schedule for the update after `step` updates."""
  if schedule.kind == "constant":
    return jnp.ones((), jnp.float32)
  if schedule.kind == "step_decay":
    decay = optax.piecewise_constant_schedule(
      1.0, dict.fromkeys(schedule.boundaries, schedule.final_factor)
    )
    return jnp.asarray(decay(jnp.asarray(step)), jnp.float32)
  # optax's rounds otherwise, in the last bit of every fourth step, and every
  # figure measured so far would change. The first update already moves:
  # (step + 1) / warm-up.
  step = jnp.asarray(step, jnp.float32)
  warm = (step + 1) / max(schedule.warmup_steps, 1)
  span = schedule.decay_steps - schedule.warmup_steps
  done = jnp.clip((step - schedule.warmup_steps) / span, 0.0, 1.0)
  cosine = 0.5 * (1 + jnp.cos(jnp.pi * done))
  low = schedule.final_factor
  return jnp.minimum(warm, low + (1 - low) * cosine)


def _factories() -> dict[str, Callable[..., optax.GradientTransformation]]:
  return {
    name: make
    for name, make in vars(optax).items()
    if inspect.isfunction(make)
    and not name.startswith(("_", "scale_by_"))
    and "learning_rate" in inspect.signature(make).parameters
  }


# optax's optimizers by name; `scale_by_...` are parts of some.
OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = (
  types.MappingProxyType(_factories())
)
# SphereFace's, where optax has none.
_ARGUMENTS = {"sgd": {"momentum": 0.9}}
# What a setting says by a name of its own.
_OURS = ("learning_rate", "weight_decay", "mask")


@dataclasses.dataclass(frozen=True)
class OptimizerSetting:
  """How one top-level module trains.

  Attributes:
    name: Of optax's optimizer, as "adam".
    rate: Peak learning rate.
    schedule: Of the rate.
    arguments: Of the optimizer, by optax's names; where they are silent, sgd
      has momentum 0.9, and anything else is optax's default.
    weight_decay: Of kernels (arrays of two or more dimensions; biases and
      slopes do not decay). "sgd" adds it to the gradient, as Caffe does; all
      others' is decoupled.
    clip_norm: A gradient of the module that is longer is cut to this length;
      0 cuts none.
    trunk_factor: Of an encoder, what the rate of its trunk is in rates of its
      two FC layers; 0: the trunk stands still.
  """

  name: str
  rate: float
  schedule: Schedule = Schedule()
  arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  weight_decay: float = 0.0
  clip_norm: float = 0.0
  trunk_factor: float = 1.0

  def __post_init__(self):
    if self.name not in OPTIMIZERS:
      raise UserError(
        f"optimizer.name: expected one of {', '.join(sorted(OPTIMIZERS))}, got"
        f" {self.name}"
      )
    self._check_arguments()
    if not self.rate > 0:
      raise UserError(f"optimizer.rate: expected above 0, got {self.rate}")
    for name in ("weight_decay", "clip_norm", "trunk_factor"):
      if not getattr(self, name) >= 0:
        raise UserError(
          f"optimizer.{name}: expected 0 or more, got {getattr(self, name)}"
        )

  def _check_arguments(self) -> None:
    taken = set(inspect.signature(OPTIMIZERS[self.name]).parameters)
    taken -= set(_OURS)
    unknown = sorted(set(self.arguments) - taken)
    if unknown:
      raise UserError(
        f"optimizer.arguments: expected some of {', '.join(sorted(taken))} for"
        f" {self.name}, got {', '.join(unknown)}"
      )
    example = {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32)}
    try:
      transformation = make_optimizer(self)
      jax.eval_shape(
        lambda x: transformation.update(x, transformation.init(x), x), example
      )
    except (TypeError, ValueError, NotImplementedError) as error:
      reason = str(error).splitlines()[0] if str(error) else repr(error)
      raise UserError(
        f"optimizer.arguments: {self.name} cannot train on gradients alone"
        f" with {dict(self.arguments)} ({reason})"
      ) from error


# A transformation is the whole of an update, its rate among it.
Optimizer = OptimizerSetting | optax.GradientTransformation


def make_optimizer(setting: OptimizerSetting) -> optax.GradientTransformation:
  """What makes of a module's gradient its update for a rate of 1."""
  make = OPTIMIZERS[setting.name]
  known = inspect.signature(make).parameters
  arguments = _ARGUMENTS.get(setting.name, {}) | dict(setting.arguments)
  if setting.name == "sgd":
    return _decayed_sgd(make(1.0, **arguments), setting.weight_decay)
  if {"weight_decay", "mask"} <= set(known):
    decay = {"weight_decay": setting.weight_decay, "mask": _decays}
    return make(1.0, **arguments, **decay)
  if "weight_decay" in known:
    arguments["weight_decay"] = 0.0
  return _decayed(make(1.0, **arguments), setting.weight_decay)


def learning_rate(
  setting: OptimizerSetting, step: Int[Array, ""] | int
) -> Float[Array, ""]:
  """The rate of the update after `step` updates of the phase."""
  return setting.rate * schedule_factor(setting.schedule, step)


def update_of(
  optimizer: Optimizer,
  gradient: Any,
  state: Any,
  params: Any,
  step: Int[Array, ""],
) -> tuple[Any, Any]:
  """What to add to a module's params, and the optimizer's new memory.

  Args:
    optimizer: The module's.
    gradient: Of its params.
    state: The optimizer's memory.
    params: The module's.
    step: Updates of the phase so far.
  """
  if not isinstance(optimizer, OptimizerSetting):
    return optimizer.update(gradient, state, params)
  update, state = make_optimizer(optimizer).update(gradient, state, params)
  rate = learning_rate(optimizer, step)
  update = jax.tree.map(lambda leaf: rate * leaf, update)
  setting: OptimizerSetting = optimizer
  factor = setting.trunk_factor
  if factor == 1:
    return update, state
  trunk = jax.tree.map(
    lambda leaf: factor * leaf if factor else jnp.zeros_like(leaf),
    update["trunk"],
  )
  return {**update, "trunk": trunk}, state


def initial_memory(optimizer: Optimizer, params: Any) -> Any:
  """The optimizer's memory before the first update of a module."""
  if isinstance(optimizer, OptimizerSetting):
    return make_optimizer(optimizer).init(params)
  return optimizer.init(params)


def _decayed(
  transformation: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
  """With decoupled decay; the memory is the transformation's own."""

  def update(gradient: Any, state: Any, params: Any = None) -> Any:
    made, state = transformation.update(gradient, state, params)
    kept = jax.tree.map(
      lambda u, p: u - decay * p if p.ndim > 1 else u, made, params
    )
    return kept, state

  if not decay:
    return transformation
  return optax.GradientTransformation(transformation.init, update)


def _decayed_sgd(
  transformation: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
  """With decay before it; the memory is flat, as in earlier checkpoints."""
  before = optax.add_decayed_weights(decay, _decays)

  def init(params: Any) -> Any:
    return (before.init(params), *transformation.init(params))

  def update(gradient: Any, state: Any, params: Any = None) -> Any:
    first, *rest = state
    gradient, first = before.update(gradient, first, params)
    made, rest = transformation.update(gradient, tuple(rest), params)
    return made, (first, *rest)

  if not decay:
    return transformation
  return optax.GradientTransformation(init, update)


def _decays(params: Any) -> Any:
  return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
