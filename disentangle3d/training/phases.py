"""The phases of 3.3.3 as values: one loop and one step run them all."""

from collections.abc import Mapping
import dataclasses
import types
from typing import Any, Literal, get_args

import flax.struct
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from disentangle3d.network.margins import HeadSetting
from disentangle3d.training.augmentation import Augmentation
from disentangle3d.training.optimizers import Optimizer, OptimizerSetting
from disentangle3d.types import UserError, check_choice

Source = Literal["dataset", "prior", "fake"]
GRADIENT_DTYPES = ("float32", "bfloat16")
# What a phase was called in workdirs of earlier versions.
OLD_NAMES: Mapping[str, str] = types.MappingProxyType({"encoder": "latents"})
ENCODER, HEAD = "encoder", "identity_head"
# The top-level params of each module that trains.
MODULES: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
  {
    ENCODER: (ENCODER,),
    "decoders": ("identity_decoder", "residual_decoder"),
    HEAD: (HEAD,),
  }
)
_NETWORK = (ENCODER, "identity_decoder", "residual_decoder", "mean_shape")
# Losses of what the encoder makes of images, which the prior does not have.
_NEED_IMAGES = (
  "latent",
  "reconstruction",
  "identity_shape",
  "residual_shape",
  "identification",
  "residual_correlation",
  "residual_likeness",
)


@dataclasses.dataclass(frozen=True)
class Plateau:
  """Stops a phase when the epoch mean of its loss saturates.

  Attributes:
    relative: An epoch is better if its mean is below (1 - relative) best.
    patience_epochs: Epochs in a row without a better one before the stop.
    max_epochs: Epochs after which the phase ends in any case.
  """

  relative: float
  patience_epochs: int
  max_epochs: int

  def __post_init__(self):
    if not 0 <= self.relative < 1:
      raise UserError(
        f"plateau.relative: expected 0 or more, under 1, got {self.relative}"
      )
    for name in ("patience_epochs", "max_epochs"):
      if getattr(self, name) < 1:
        raise UserError(
          f"plateau.{name}: expected at least 1, got {getattr(self, name)}"
        )


@flax.struct.dataclass
class PlateauState:
  """What a stop rule remembers, all scalars.

  Attributes:
    sum: Of the losses of this epoch's steps.
    count: Steps of this epoch so far.
    best: The best epoch mean so far.
    patience: Epochs in a row without a better one.
    epochs: Whole epochs so far.
  """

  sum: Float[Array, "*D"]
  count: Int[Array, "*D"]
  best: Float[Array, "*D"]
  patience: Int[Array, "*D"]
  epochs: Int[Array, "*D"]


def initial_plateau() -> PlateauState:
  """Before the first step of a phase."""
  zero = jnp.zeros((), jnp.int32)
  return PlateauState(
    sum=jnp.zeros((), jnp.float32),
    count=zero,
    best=jnp.full((), jnp.inf, jnp.float32),
    patience=zero,
    epochs=zero,
  )


def update_plateau(
  state: PlateauState,
  loss: Float[Array, ""],
  *,
  relative: float,
  steps_per_epoch: int,
) -> PlateauState:
  """Takes in the loss of one step; at the end of an epoch, judges it."""
  total, count = state.sum + loss, state.count + 1
  ended = count == steps_per_epoch
  mean = total / count.astype(jnp.float32)
  better = mean < (1 - relative) * state.best
  patience = jnp.where(better, 0, state.patience + 1)
  return PlateauState(
    sum=jnp.where(ended, 0.0, total),
    count=jnp.where(ended, 0, count),
    best=jnp.where(ended & better, mean, state.best),
    patience=jnp.where(ended, patience, state.patience),
    epochs=state.epochs + ended.astype(jnp.int32),
  )


def is_saturated(plateau: Plateau, *, patience: int, epochs: int) -> bool:
  """Whether a phase's stop rule says stop."""
  return patience >= plateau.patience_epochs or epochs >= plateau.max_epochs


@dataclasses.dataclass(frozen=True)
class Phase:
  """One phase of training.

  Attributes:
    name: Of its folder, its log lines and its export.
    optimizers: The top-level params that train, and how.
    frozen: All other top-level params.
    weights: Of losses by name (`phase_losses.LOSSES` and a user's), none 0.
    steps: Updates in all; a plateau may end it sooner.
    batch_size: B, over all devices.
    examples: Where they come from: "dataset", "prior" (coefficients drawn
      on the device, no images) or "fake" (noise, for measuring speed).
    seed: Of the order and of every draw.
    takes_over: Goes on with the params and the optimizer state of the phase
      before it; otherwise with its params only.
    head_sharpness: A head that is new starts from the class means of the
      fitted codes with this sharpness; 0 starts it cold.
    plateau: When to stop early, if at all.
    head: Which identity head.
    accumulate: Parts that a device's share of a batch is taken in, one after
      the other, for less memory; the gradient is that of the whole.
    average_decay: Of the running average of the params that train, which is
      what is exported; 0 keeps none.
    augmentation: What is done to the examples of a dataset.
    gradient_dtype: What gradients are averaged over the devices in: of
      "float32" and "bfloat16" the latter moves half the bytes.
  """

  name: str
  optimizers: Mapping[str, Optimizer]
  frozen: tuple[str, ...]
  weights: Mapping[str, float]
  steps: int
  batch_size: int
  examples: Source = "dataset"
  seed: int = 0
  takes_over: bool = False
  head_sharpness: float = 0.0
  plateau: Plateau | None = None
  head: HeadSetting = HeadSetting()
  accumulate: int = 1
  average_decay: float = 0.0
  augmentation: Augmentation = Augmentation()
  gradient_dtype: str = "float32"

  def __post_init__(self):
    self._check_choices()
    for name, least in (
      ("steps", 1),
      ("batch_size", 1),
      ("seed", 0),
      ("accumulate", 1),
    ):
      if getattr(self, name) < least:
        raise UserError(
          f"{self.name}.{name}: expected at least {least}, got"
          f" {getattr(self, name)}"
        )
    if not 0 <= self.average_decay < 1:
      raise UserError(
        f"{self.name}.average_decay: expected 0 or more, under 1, got"
        f" {self.average_decay}"
      )
    if not self.optimizers:
      raise UserError(f"{self.name}.optimizers: expected at least one")
    for name, optimizer in self.optimizers.items():
      if name != ENCODER and getattr(optimizer, "trunk_factor", 1) != 1:
        raise UserError(
          f"{self.name}.optimizers: expected a trunk_factor of 1, got"
          f" {getattr(optimizer, 'trunk_factor', 1)}; {name} has no trunk"
        )
    both = sorted(set(self.optimizers) & set(self.frozen))
    if both:
      raise UserError(
        f"{self.name}.frozen: expected none that train, got {', '.join(both)}"
      )

  def _check_choices(self) -> None:
    check_choice(
      f"{self.name}.gradient_dtype", self.gradient_dtype, GRADIENT_DTYPES
    )
    if self.examples not in get_args(Source):
      raise UserError(
        f"{self.name}.examples: expected one of"
        f" {', '.join(get_args(Source))}, got {self.examples}"
      )
    if not self.weights:
      raise UserError(f"{self.name}.weights: expected at least one, got none")
    for name, weight in self.weights.items():
      if not 0 < weight < float("inf"):
        raise UserError(
          f"{self.name}.weights[{name!r}]: expected above 0, got {weight};"
          " leave out a loss that has no weight"
        )
    needy = sorted(set(self.weights) & set(_NEED_IMAGES))
    if self.examples == "prior" and needy:
      raise UserError(
        f"{self.name}.examples: the prior has no images for {', '.join(needy)}"
      )


def split_params(
  params: Mapping[str, Any], phase: Phase
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Params apart by top-level name: those that train, those that do not.

  Raises:
    UserError: The phase names an entry that is not there, or one that is
      there is covered by neither `optimizers` nor `frozen`.
  """
  named = {*phase.optimizers, *phase.frozen}
  unknown, uncovered = named - params.keys(), params.keys() - named
  if unknown or uncovered:
    raise UserError(
      f"{phase.name}: expected optimizers and frozen to name each of"
      f" {', '.join(sorted(params))}; unknown:"
      f" {', '.join(sorted(unknown)) or 'none'}; uncovered:"
      f" {', '.join(sorted(uncovered)) or 'none'}"
    )
  trained = {name: params[name] for name in phase.optimizers}
  return trained, {name: params[name] for name in phase.frozen}


def trunk_stands_still(phase: Phase) -> bool:
  """Whether a phase leaves the encoder's trunk as it is."""
  optimizer = phase.optimizers.get(ENCODER)
  if isinstance(optimizer, OptimizerSetting):
    return optimizer.trunk_factor == 0
  return optimizer is None


def stop_still_trunk(trained: dict[str, Any], phase: Phase) -> dict[str, Any]:
  """The params that train, so that none costs a gradient that is not used."""
  if ENCODER not in trained or not trunk_stands_still(phase):
    return trained
  encoder = trained[ENCODER]
  still = lax.stop_gradient(encoder["trunk"])
  return {**trained, ENCODER: {**encoder, "trunk": still}}


def needed_head(phase: Phase) -> bool:
  """Whether a phase needs an identity head among its params."""
  return HEAD in phase.optimizers or HEAD in phase.frozen


def sharded_entries(phase: Phase) -> tuple[str, ...]:
  """The top-level params that each device holds a part of."""
  return (HEAD,) if phase.head.sharded and needed_head(phase) else ()


def phase_of_modules(
  name: str, modules: Mapping[str, Optimizer], **settings: Any
) -> Phase:
  """A phase that trains whole modules; the rest of the network stands still.

  Args:
    name: Of the phase.
    modules: How each of some of `MODULES` trains.
    **settings: Other fields of `Phase`.

  Raises:
    UserError: A field is out of range.
  """
  optimizers = {
    entry: optimizer
    for module, optimizer in modules.items()
    for entry in MODULES[module]
  }
  frozen = tuple(entry for entry in _NETWORK if entry not in optimizers)
  return Phase(name=name, optimizers=optimizers, frozen=frozen, **settings)


def without_residual(phase: Phase) -> Phase:
  """The same phase with the residual decoder left as it starts, near zero."""
  name = "residual_decoder"
  return dataclasses.replace(
    phase,
    optimizers={k: v for k, v in phase.optimizers.items() if k != name},
    frozen=tuple(sorted({*phase.frozen, name})),
    weights={k: v for k, v in phase.weights.items() if k != name},
  )
