"""What a photographer adds to a face: pose, light, background, lens, sensor.

Everything here is made from random numbers of the photo, given as standard
normal vectors (one long draw a photo compiles in a second, many short ones in
many); nothing here knows the person. Linear RGB in [0, 1] until `expose` makes
it a uint8 sRGB-like image.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from disentangle3d.faces.shading import ambient_light, directional_light
from disentangle3d.geometry import rotation_from_euler
from disentangle3d.types import UserError

_GAMMA = 2.2
# Grids of random colours that a background is blended from: rows, columns,
# deviation of the logarithm.
_BACKGROUND_OCTAVES = ((3, 3, 0.5), (7, 6, 0.25), (19, 17, 0.1))
ROTATION_DRAWS = 5
LENS_DRAWS = 9
BACKGROUND_DRAWS = 3 + sum(4 * r * c for r, c, _ in _BACKGROUND_OCTAVES)


@flax.struct.dataclass
class Lens:
  """How one photo was taken, besides its pose.

  Attributes:
    lighting: Spherical-harmonic irradiance in camera axes, `[9, 3]`.
    gain: White balance times exposure, `[3]`.
    blur_px: Standard deviation of the blur, `[]`.
    noise: Standard deviation of the sensor noise, of 1, `[]`.
  """

  lighting: Float[Array, "*B 9 3"]
  gain: Float[Array, "*B 3"]
  blur_px: Float[Array, "*B"]
  noise: Float[Array, "*B"]


def head_rotation(
  normal: Float[Array, "5"],
  *,
  yaw_distribution: str,
  max_yaw_deg: float | Array,
) -> Float[Array, "3 3"]:
  """A random head pose.

  Pitch and roll are normal with 8 and 6 degrees, cut at 2.5 deviations.

  Args:
    normal: Standard normal numbers, `[5]`.
    yaw_distribution: `mixed` (3 of 4 photos normal with 18 degrees, cut at
      40; the others uniform up to `max_yaw_deg`), `uniform` or `frontal`
      (normal with 5 degrees, cut at 11).
    max_yaw_deg: Largest yaw, degrees.

  Returns:
    Rotation, `[3, 3]`.

  Raises:
    UserError: No such distribution.
  """
  uniform = norm.cdf(normal[3:])
  wide = max_yaw_deg * (2 * uniform[0] - 1)
  narrow = jnp.clip(normal[0], -2.2, 2.2)
  if yaw_distribution == "mixed":
    yaw = jnp.where(uniform[1] < 0.25, wide, 18 * narrow)
  elif yaw_distribution == "uniform":
    yaw = wide
  elif yaw_distribution == "frontal":
    yaw = 5 * narrow
  else:
    raise UserError(
      "yaw_distribution: expected mixed, uniform or frontal, got"
      f" {yaw_distribution!r}"
    )
  yaw = jnp.clip(yaw, -max_yaw_deg, max_yaw_deg)
  pitch = 8 * jnp.clip(normal[1], -2.5, 2.5)
  roll = 6 * jnp.clip(normal[2], -2.5, 2.5)
  return rotation_from_euler(
    jnp.deg2rad(yaw), jnp.deg2rad(pitch), jnp.deg2rad(roll)
  )


def swept_rotation(
  place: Int[Array, "B"],
  photos: int | Int[Array, ""],
  *,
  max_yaw_deg: float | Array,
) -> Float[Array, "B 3 3"]:
  """Upright heads at even steps of yaw, from -max to max, `[B, 3, 3]`."""
  share = place / jnp.maximum(jnp.asarray(photos) - 1, 1)
  yaw = jnp.deg2rad(max_yaw_deg * (2 * share - 1)).astype(jnp.float32)
  zero = jnp.zeros_like(yaw)
  return rotation_from_euler(yaw, zero, zero)


def random_lens(normal: Float[Array, "9"]) -> Lens:
  """Random light, white balance, exposure, blur and noise."""
  uniform = norm.cdf(normal[2:])

  def between(number: int, low: float, high: float) -> Array:
    return low + (high - low) * uniform[number]

  azimuth = jnp.deg2rad(between(0, -75, 75))
  height = jnp.deg2rad(between(1, -10, 60))
  direction = jnp.stack(
    [
      jnp.sin(azimuth) * jnp.cos(height),
      jnp.sin(height),
      jnp.cos(azimuth) * jnp.cos(height),
    ]
  )
  side = direction * jnp.asarray([-1.0, 0.3, 0.6], jnp.float32)
  white = jnp.ones((3,), jnp.float32)
  warmth = 0.08 * normal[0] * jnp.asarray([1.0, 0.0, -1.0], jnp.float32)
  return Lens(
    lighting=ambient_light(between(2, 0.2, 0.45) * white)
    + directional_light(direction, between(3, 0.5, 1.1) * white)
    + directional_light(side, between(4, 0.0, 0.3) * white),
    gain=jnp.exp(warmth + 0.18 * normal[1]),
    blur_px=between(5, 0.6, 1.1),
    noise=between(6, 0.004, 0.02),
  )


def random_background(
  normal: Float[Array, "X"], *, height: int, width: int
) -> Float[Array, "H W 3"]:
  """A smooth, textured background of `BACKGROUND_DRAWS` normal numbers."""
  color = jnp.clip(0.3 + 0.15 * normal[0] + 0.06 * normal[:3], 0.03, 0.9)
  stops = jnp.zeros((height, width, 3), jnp.float32)
  first = 3
  for rows, columns, strength in _BACKGROUND_OCTAVES:
    size = rows * columns * 4
    grid = normal[first : first + size].reshape(rows, columns, 4)
    # Mostly brightness, a little colour.
    grid = strength * (grid[..., 3:] + 0.35 * grid[..., :3])
    stops = stops + enlarged(grid, height=height, width=width)
    first += size
  return jnp.clip(color[None, None] * jnp.exp(stops), 0, 1)


def expose(
  key: PRNGKeyArray, image: Float[Array, "H2 W2 3"], lens: Lens, *, margin: int
) -> UInt8[Array, "H W 3"]:
  """Blurs, cuts `margin` pixels off each side, exposes, adds sensor noise."""
  height, width = (size - 2 * margin for size in image.shape[:2])
  blurred = jnp.einsum(
    "hy,yxc,wx->hwc",
    blur_matrix(height, margin, lens.blur_px),
    image,
    blur_matrix(width, margin, lens.blur_px),
  )
  exposed = jnp.clip(blurred * lens.gain[None, None], 1e-4, 1) ** (1 / _GAMMA)
  noise = lens.noise * jax.random.normal(key, exposed.shape, exposed.dtype)
  levels = jnp.round(255 * jnp.clip(exposed + noise, 0, 1))
  return levels.astype(jnp.uint8)


def enlarged(
  grid: Float[Array, "r c 3"], *, height: int, width: int
) -> Float[Array, "H W 3"]:
  """A small picture at another size, smooth between its pixels."""
  rows, columns, _ = grid.shape
  return jnp.einsum(
    "hr,rcd,wc->hwd", _blend(height, rows), grid, _blend(width, columns)
  )


def _blend(size: int, knots: int) -> Array:
  """Smooth interpolation from `knots` values to `size` pixels."""
  at = jnp.linspace(0.0, knots - 1.0, size, dtype=jnp.float32)[:, None]
  distance = jnp.abs(at - jnp.arange(knots, dtype=jnp.float32)[None])
  near = jnp.clip(1 - distance, 0, 1)
  return near * near * (3 - 2 * near)


def blur_matrix(size: int, margin: int, blur_px: Array) -> Array:
  """Gaussian weights of `size + 2 margin` pixels for the middle `size`."""
  out = jnp.arange(size, dtype=jnp.float32)[:, None] + margin
  source = jnp.arange(size + 2 * margin, dtype=jnp.float32)[None]
  weights = jnp.exp(-0.5 * ((out - source) / blur_px) ** 2)
  return weights / jnp.sum(weights, -1, keepdims=True)
