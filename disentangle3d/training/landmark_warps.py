"""Smooth deformations of rendered photos, and of the points in them.

What a face is like is then no longer what faces are like: a locator has to look
where the chin is, and cannot have it from the eyes.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.faces.landmark_photos import FACE_PX

_WAVES = 4
# Lengths of the waves, in sizes of the face.
_SHORTEST, _LONGEST = 0.5, 1.5
# How much nearer or farther a wave moves neighbours at most, as a share; of all
# waves below 1, so that places stay in order.
_STEEPEST = 0.15
# Each brings what is left to the waves' slope of it.
_ITERATIONS = 8


class Warp(flax.struct.PyTreeNode):
  """Waves that places are moved along.

  Attributes:
    towards: How far and where to a crest moves, pixels, `[N, 2]`.
    turns: Across it, radians a pixel, `[N, 2]`.
    phases: Radians, `[N]`.
  """

  towards: Float[Array, "N 2"]
  turns: Float[Array, "N 2"]
  phases: Float[Array, "N"]


def draw_warp(key: Array) -> Warp:
  """Some warp, from none to the strongest, for photos of `FACE_PX`."""
  strength, *numbers = jax.random.uniform(key, (1 + 4 * _WAVES,), jnp.float32)
  length, across, along, phase = jnp.stack(numbers).reshape(4, _WAVES)
  length = FACE_PX * _SHORTEST * (_LONGEST / _SHORTEST) ** length
  turn = 2 * jnp.pi / length
  return Warp(
    towards=(strength * _STEEPEST / turn)[:, None] * _direction(along),
    turns=turn[:, None] * _direction(across),
    phases=2 * jnp.pi * phase,
  )


def _direction(share: Array) -> Float[Array, "N 2"]:
  angle = 2 * jnp.pi * share
  return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def warped(warp: Warp, places: Float[Array, "P 2"]) -> Float[Array, "P 2"]:
  """Where in the photo the warped photo's places come from."""
  phases = places @ warp.turns.T + warp.phases[None]
  return places + jnp.sin(phases) @ warp.towards


def unwarped(warp: Warp, points: Float[Array, "P 2"]) -> Float[Array, "P 2"]:
  """Where in the warped photo the photo's points are: `warped`'s inverse."""
  places = points
  for _ in range(_ITERATIONS):
    places = places + points - warped(warp, places)
  return places
