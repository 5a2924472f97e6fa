"""The losses of the three phases (Eq. 5, 3.3.3), one value per example.

Callers reduce: every function returns `[B]`, so that a mean, a weighted mean
or a sum over devices is taken exactly once. Units: latents are coefficients /
3, shapes millimetres, the identification loss nats.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from disentangle3d.geometry import flatten_vertices
from disentangle3d.types import LATENT_SCALE, Latents, check_array

# A tanh output beyond this has less than 2 % of its slope left.
SATURATION = 0.99


def latent_targets(
  identity_coefficients: Float[Array, "*B I"],
  expression_coefficients: Float[Array, "*B E"],
) -> Latents:
  """What phase I asks of the encoder: coefficients / 3, clipped to [-1, 1].

  Args:
    identity_coefficients: alpha, `[..., I]`, standard deviations.
    expression_coefficients: beta, `[..., E]`, same batch dimensions.

  Returns:
    Latents, `[..., I]` and `[..., E]`.

  Raises:
    ValueError: The batch dimensions differ.
    TypeError: An argument is not floating.
  """
  check_array("identity_coefficients", identity_coefficients, "... I")
  check_array("expression_coefficients", expression_coefficients, "... E")
  if identity_coefficients.shape[:-1] != expression_coefficients.shape[:-1]:
    raise ValueError(
      "expression_coefficients: expected batch dimensions"
      f" {list(identity_coefficients.shape[:-1])} as identity_coefficients"
      f" has, got {list(expression_coefficients.shape[:-1])}"
    )
  return Latents(
    identity=jnp.clip(identity_coefficients / LATENT_SCALE, -1.0, 1.0),
    residual=jnp.clip(expression_coefficients / LATENT_SCALE, -1.0, 1.0),
  )


def latent_loss(latents: Latents, targets: Latents) -> Float[Array, "*B"]:
  """Squared distance over all latents, identity and residual together.

  Args:
    latents: What the encoder says, `[..., I]` and `[..., E]`.
    targets: From `latent_targets`, same shapes.

  Returns:
    Squared distances, `[...]`.

  Raises:
    ValueError: The shapes disagree.
  """
  total = jnp.zeros(latents.identity.shape[:-1], jnp.float32)
  for name in ("identity", "residual"):
    code, target = getattr(latents, name), getattr(targets, name)
    check_array(f"latents.{name}", code, "... C")
    _check_same(f"targets.{name}", target, code.shape)
    total = total + jnp.sum(jnp.square(code - target), -1)
  return total


def shape_loss(
  shape: Float[Array, "*B V 3"], target: Float[Array, "*B V 3"]
) -> Float[Array, "*B"]:
  """Mean over the vertices of the squared distance (L_R of Eq. 5).

  Args:
    shape: Reconstructed shapes, `[..., V, 3]`, mm.
    target: Fitted or true shapes, same shape.

  Returns:
    Mean squared distances, `[...]`, mm^2, summed over x, y and z.

  Raises:
    ValueError: The shapes disagree.
  """
  sizes = check_array("shape", shape, "... V 3")
  _check_same("target", target, shape.shape)
  # Flat rows: a sum over the innermost three would not vectorise.
  difference = flatten_vertices(shape) - flatten_vertices(target)
  return jnp.sum(jnp.square(difference), -1) / sizes["V"]


def identification_loss(
  logits: Float[Array, "*B K"], labels: Int[Array, "*B"]
) -> Float[Array, "*B"]:
  """Negative log-likelihood of the right person (L_C of Eq. 5).

  Args:
    logits: `[..., K]`, from an identity head; -inf marks a class that
      cannot be.
    labels: Classes, `[...]`, in [0, K).

  Returns:
    Losses, `[...]`, nats; log K for equal logits.

  Raises:
    ValueError: The shapes disagree.
    TypeError: `labels` is not of integers.
  """
  check_array("logits", logits, "... K")
  check_array("labels", labels, "...", dtype="integer")
  if labels.shape != logits.shape[:-1]:
    raise ValueError(
      f"labels: expected shape {list(logits.shape[:-1])} to go with logits"
      f" {list(logits.shape)}, got {list(labels.shape)}"
    )
  right = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
  return jax.nn.logsumexp(logits, -1) - right


def saturated_share(codes: Float[Array, "*B C"]) -> Float[Array, "*B"]:
  """The share of a code's entries beyond +-0.99, where tanh hardly learns.

  Args:
    codes: Latents, `[..., C]`.

  Returns:
    Shares in [0, 1], `[...]`, float32.

  Raises:
    TypeError: `codes` is not a floating array.
  """
  check_array("codes", codes, "... C")
  return jnp.mean(jnp.abs(codes) > SATURATION, -1, dtype=jnp.float32)


def _check_same(name: str, array: Array, shape: tuple[int, ...]) -> None:
  check_array(name, array, "...")
  if array.shape != shape:
    raise ValueError(
      f"{name}: expected shape {list(shape)}, got {list(array.shape)}"
    )
