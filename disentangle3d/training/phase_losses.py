"""The loss terms of a phase, one value per example."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Float

from disentangle3d.geometry import unflatten_vertices
from disentangle3d.network.decoders import LinearDecoder
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.margins import code_lengths
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
from disentangle3d.types import Latents


def phase_losses(
  model: FaceModel,
  phase: Phase,
  params: Mapping[str, Any],
  batch: TrainBatch,
  *,
  num_classes: int,
  moment: Moment,
) -> tuple[dict[str, Array], dict[str, Array]]:
  """The loss terms that a phase has weights for, and what to log beside them.

  Args:
    model: The network.
    phase: Its `weights` say which terms.
    params: All top-level entries.
    batch: With everything the terms need.
    num_classes: K.
    moment: What the identity head knows beside them.

  Returns:
    Loss terms, each `[B]`, and diagnostics, each `[B]`.
  """
  terms = phase.weights.keys()
  values: dict[str, Array] = {}
  diagnostics: dict[str, Array] = {}
  # True shapes are made of more modes than there are latents; these come first.
  targets = latent_targets(
    batch.identity_coefficients[:, : model.identity_dim],
    batch.expression_coefficients[:, : model.residual_dim],
  )
  if terms & {"identity_decoder", "residual_decoder"}:
    values |= _decoder_losses(model, params, batch, targets)
  if terms & {"latent", "reconstruction", "identity_shape", "identification"}:
    latents: Any = model.apply(
      {"params": {"encoder": params["encoder"]}},
      scale_images(batch.image),
      method="encode",
    )
    diagnostics["saturated_identity"] = saturated_share(latents.identity)
    diagnostics["saturated_residual"] = saturated_share(latents.residual)
    if "latent" in terms:
      values["latent"] = latent_loss(latents, targets)
    if "identification" in terms:
      values["identification"] = identification_losses(
        params[HEAD],
        latents.identity,
        batch.label,
        setting=phase.head,
        num_classes=num_classes,
        moment=moment,
      )
      lengths = jax.lax.stop_gradient(code_lengths(latents.identity))
      diagnostics["code_norm"] = lengths
      diagnostics["code_norm_squared"] = lengths * lengths
    if terms & {"reconstruction", "identity_shape"}:
      values |= _shape_losses(model, params, batch, latents)
  return {term: values[term] for term in phase.weights}, diagnostics


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


def _shape_losses(
  model: FaceModel,
  params: Mapping[str, Any],
  batch: TrainBatch,
  latents: Latents,
) -> dict[str, Array]:
  decoding = {k: v for k, v in params.items() if k not in ("encoder", HEAD)}
  face: Any = model.apply({"params": decoding}, latents, method="decode")
  identity, residual = target_components(batch)
  mean = params["mean_shape"][None]
  # Whichever has no weight is not computed: nothing depends on it.
  return {
    "reconstruction": shape_loss(
      face.shape, mean + unflatten_vertices(identity + residual)
    ),
    "identity_shape": shape_loss(
      face.identity_shape, mean + unflatten_vertices(identity)
    ),
  }


def _decoder_losses(
  model: FaceModel,
  params: Mapping[str, Any],
  batch: TrainBatch,
  targets: Latents,
) -> dict[str, Array]:
  decoder = LinearDecoder(model.num_vertices, model.dtype)
  identity, residual = target_components(batch)
  values = {}
  for name, codes, target in (
    ("identity_decoder", targets.identity, identity),
    ("residual_decoder", targets.residual, residual),
  ):
    decoded: Any = decoder.apply({"params": params[name]}, codes)
    values[name] = shape_loss(
      unflatten_vertices(decoded), unflatten_vertices(target)
    )
  return values
