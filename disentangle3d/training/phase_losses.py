"""The losses of a phase: functions of one forward pass, by name.

A new loss is a function of `Forward` in `LOSSES`, or given to
`experiments.training.runs.train`, and a weight under its name in the config.
"""

from collections.abc import Callable, Mapping
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.geometry import unflatten_vertices
from disentangle3d.network.decoders import LinearDecoder
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.margins import HeadSetting, code_lengths
from disentangle3d.network.sphereface import scale_images
from disentangle3d.training.batches import TargetBasis, TrainBatch
from disentangle3d.training.identification import Moment, identification_losses
from disentangle3d.training.losses import (
  latent_loss,
  latent_targets,
  saturated_share,
  shape_loss,
)
from disentangle3d.training.phases import HEAD, Phase
from disentangle3d.training.placement import AXIS
from disentangle3d.training.residual_terms import (
  likeness_of_people,
  squared_correlation,
)
from disentangle3d.types import Latents, Reconstruction, UserError


class Forward:
  """What the losses of a step read; each part is computed once, when asked.

  Attributes:
    model: The network.
    params: All top-level entries.
    batch: The examples; without images and features where they come from the
      prior.
    head: Which identity head.
    num_classes: K.
    moment: Step, key and code norms.
    diagnostics: What to log beside the losses, each `[B]`; a loss may add.
  """

  def __init__(
    self,
    model: FaceModel,
    params: Mapping[str, Any],
    batch: TrainBatch,
    *,
    head: HeadSetting,
    num_classes: int,
    moment: Moment,
  ):
    self.model, self.params, self.batch = model, params, batch
    self.head, self.num_classes, self.moment = head, num_classes, moment
    self.diagnostics: dict[str, Float[Array, " B"]] = {}

  @functools.cached_property
  def targets(self) -> Latents:
    """What the fitted coefficients ask of the codes, `[B, I]` and `[B, E]`."""
    # True shapes are made of more modes than there are latents; these come
    # first.
    return latent_targets(
      self.batch.identity_coefficients[:, : self.model.identity_dim],
      self.batch.expression_coefficients[:, : self.model.residual_dim],
    )

  @functools.cached_property
  def latents(self) -> Latents:
    """What the encoder makes of images or features, `[B, I]`, `[B, E]`."""
    seen = self.batch.feature
    if seen is None:
      if self.batch.image is None:
        raise UserError("losses: the prior has no images for the encoder")
      seen = scale_images(self.batch.image)
    latents: Any = self.model.apply(
      {"params": {"encoder": self.params["encoder"]}}, seen, method="encode"
    )
    self.diagnostics["saturated_identity"] = saturated_share(latents.identity)
    self.diagnostics["saturated_residual"] = saturated_share(latents.residual)
    return latents

  @functools.cached_property
  def face(self) -> Reconstruction:
    """What the decoders make of `latents`: shapes `[B, V, 3]`, mm."""
    decoding = {
      k: v for k, v in self.params.items() if k not in ("encoder", HEAD)
    }
    face: Any = self.model.apply(
      {"params": decoding}, self.latents, method="decode"
    )
    return face

  @functools.cached_property
  def components(self) -> tuple[Float[Array, "B V3"], Float[Array, "B V3"]]:
    """Of `target_components`."""
    return target_components(self.batch)


# One value an example, `[B]`.
Loss = Callable[[Forward], Float[Array, "B"]]


def target_components(
  batch: TrainBatch,
) -> tuple[Float[Array, "B V3"], Float[Array, "B V3"]]:
  """The target shape's identity and expression part, flat, mm."""
  basis: TargetBasis = batch.basis
  alpha, beta = batch.identity_coefficients, batch.expression_coefficients
  # The prior has the first modes only.
  return (
    alpha @ basis.identity[: alpha.shape[-1]],
    beta @ basis.expression[: beta.shape[-1]],
  )


def _latent(forward: Forward) -> Float[Array, "B"]:
  return latent_loss(forward.latents, forward.targets)


def _identity_decoder(forward: Forward) -> Float[Array, "B"]:
  codes, target = forward.targets.identity, forward.components[0]
  return _decoder_loss(forward, "identity_decoder", codes, target)


def _residual_decoder(forward: Forward) -> Float[Array, "B"]:
  codes, target = forward.targets.residual, forward.components[1]
  return _decoder_loss(forward, "residual_decoder", codes, target)


def _decoder_loss(
  forward: Forward,
  name: str,
  codes: Float[Array, "B C"],
  target: Float[Array, "B V3"],
) -> Float[Array, "B"]:
  decoder = LinearDecoder(forward.model.num_vertices, forward.model.dtype)
  decoded: Any = decoder.apply({"params": forward.params[name]}, codes)
  return shape_loss(unflatten_vertices(decoded), unflatten_vertices(target))


def _reconstruction(forward: Forward) -> Float[Array, "B"]:
  identity, residual = forward.components
  target = unflatten_vertices(identity + residual)
  return shape_loss(
    forward.face.shape, forward.params["mean_shape"][None] + target
  )


def _identity_shape(forward: Forward) -> Float[Array, "B"]:
  target = unflatten_vertices(forward.components[0])
  return shape_loss(
    forward.face.identity_shape, forward.params["mean_shape"][None] + target
  )


def _residual_shape(forward: Forward) -> Float[Array, "B"]:
  made = forward.face.shape - forward.face.identity_shape
  return shape_loss(made, unflatten_vertices(forward.components[1]))


def _identification(forward: Forward) -> Float[Array, "B"]:
  codes = forward.latents.identity
  lengths = jax.lax.stop_gradient(code_lengths(codes))
  forward.diagnostics["code_norm"] = lengths
  forward.diagnostics["code_norm_squared"] = lengths * lengths
  return identification_losses(
    forward.params[HEAD],
    codes,
    forward.batch.label,
    setting=forward.head,
    num_classes=forward.num_classes,
    moment=forward.moment,
  )


def _residual_correlation(forward: Forward) -> Float[Array, "B"]:
  codes = forward.latents
  value = squared_correlation(
    _of_all_devices(codes.residual), _of_all_devices(codes.identity)
  )
  return jnp.broadcast_to(value, forward.batch.position.shape)


def _residual_likeness(forward: Forward) -> Float[Array, "B"]:
  value = likeness_of_people(
    _of_all_devices(forward.latents.residual),
    _of_all_devices(forward.batch.label),
  )
  return jnp.broadcast_to(value, forward.batch.position.shape)


def _of_all_devices(rows: Array) -> Array:
  """A statistic is the batch's, however many devices share it."""
  return jax.lax.all_gather(rows, AXIS, tiled=True)


# Units: `latent` is a squared distance of codes, `identification` nats, the
# last two have none, the others mm^2. A step adds them up in this order.
LOSSES: Mapping[str, Loss] = types.MappingProxyType(
  {
    "latent": _latent,
    "identity_decoder": _identity_decoder,
    "residual_decoder": _residual_decoder,
    "reconstruction": _reconstruction,
    "identity_shape": _identity_shape,
    "residual_shape": _residual_shape,
    "identification": _identification,
    "residual_correlation": _residual_correlation,
    "residual_likeness": _residual_likeness,
  }
)


def check_losses(phase: Phase, losses: Mapping[str, Loss]) -> None:
  """Refuses a phase with a weight for a loss that there is not.

  Raises:
    UserError: Names it and those that there are.
  """
  unknown = sorted(set(phase.weights) - set(losses))
  if unknown:
    raise UserError(
      f"{phase.name}.weights: expected some of {', '.join(losses)}, got"
      f" {', '.join(unknown)}"
    )


def phase_losses(
  losses: Mapping[str, Loss], phase: Phase, forward: Forward
) -> dict[str, Float[Array, "B"]]:
  """The losses that a phase has weights for, one value an example.

  Args:
    losses: By name.
    phase: Its `weights` say which.
    forward: What they read.

  Returns:
    Losses, each `[B]`.

  Raises:
    ValueError: A loss gives another shape.
  """
  values = {name: losses[name](forward) for name in phase.weights}
  for name, value in values.items():
    if value.shape != forward.batch.position.shape:
      raise ValueError(
        f"losses[{name!r}]: expected one value an example, shape"
        f" {list(forward.batch.position.shape)}, got {list(value.shape)}"
      )
  return values
