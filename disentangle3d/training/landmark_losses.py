"""What a locator of landmarks is trained by: likelihood of the true points."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float
import optax

from disentangle3d.network.landmark_network import FacePoints
from disentangle3d.training.landmark_augmentation import LandmarkExample

_SMALLEST_PX = 1e-3


class LandmarkWeights(flax.struct.PyTreeNode):
  """Weights of the terms beside that of the 68 points in the image.

  Attributes:
    depth: Mean distance in depth, a pixel.
    silhouette: Likelihood of the visible jaw.
    visibility: Cross-entropy.
  """

  depth: float = 0.15
  silhouette: float = 0.2
  visibility: float = 0.2


def landmark_loss(
  found: FacePoints, truth: LandmarkExample, weights: LandmarkWeights
) -> Float[Array, "*B"]:
  """Each example's loss, nats a point.

  A point's distance r follows exp(-r / b) / (2 pi b^2), b its spread.

  Args:
    found: What the network says.
    truth: Crops' truth, same batch dimensions.
    weights: Of the terms.
  """
  points = _surprise(
    found.points[..., :2], truth.points[..., :2], found.spread_px
  )
  silhouette = _surprise(
    found.silhouette, truth.silhouette, found.silhouette_spread_px
  )
  depth = jnp.abs(found.points[..., 2] - truth.points[..., 2])
  seen = optax.sigmoid_binary_cross_entropy(
    found.visibility_logit, truth.visibility
  )
  return (
    jnp.mean(points, -1)
    + weights.depth * jnp.mean(depth, -1)
    + weights.silhouette * jnp.mean(silhouette, -1)
    + weights.visibility * jnp.mean(seen, -1)
  )


def _surprise(found: Array, truth: Array, spread: Array) -> Array:
  square = jnp.sum((found - truth) ** 2, -1)
  return jnp.sqrt(square + _SMALLEST_PX) / spread + 2 * jnp.log(spread)
