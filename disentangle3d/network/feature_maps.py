"""A trunk's last map beside its feature, for codes that need to see where.

A feature that tells people apart whatever their expression says next to nothing
of the expression; the map that it is summed up from still does.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

# Of a crop of 112 x 96.
MAP_PIXELS = 7 * 6


def join_map(
  feature: Float[Array, "B F"], last_map: Float[Array, "B 7 6 C"]
) -> Float[Array, "B seen"]:
  """A feature and behind it the map, row by row, the channel fastest.

  The map is divided by the number of its pixels: a code then moves with it as
  with its mean, and may learn at the feature's rate.

  Args:
    feature: A trunk's.
    last_map: What it was made of.

  Returns:
    `[B, F + 42 C]`.
  """
  flat = last_map.reshape(last_map.shape[0], math.prod(last_map.shape[1:]))
  return jnp.concatenate([feature, flat / MAP_PIXELS], axis=-1)
