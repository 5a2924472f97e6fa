"""What a locator of landmarks is trained by: likelihood of the true points."""

import flax.struct
import jax
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


def normalised_error(
  found: Float[Array, "*B 68 2"], truth: Float[Array, "*B 68 2"]
) -> Float[Array, "*B"]:
  """Mean distance over the root of the true points' box, percent."""
  size = jnp.prod(jnp.max(truth, -2) - jnp.min(truth, -2), -1)
  distance = jnp.linalg.norm(found - truth, axis=-1)
  return 100 * jnp.mean(distance, -1) / jnp.sqrt(size)


def mean_error(
  found: FacePoints, truth: LandmarkExample
) -> Float[Array, "*B"]:
  """`normalised_error` of the 68 points."""
  return normalised_error(found.points[..., :2], truth.points[..., :2])


def num_params(params: object) -> int:
  """How many numbers a tree of params has."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
