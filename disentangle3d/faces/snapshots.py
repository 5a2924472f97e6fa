"""The photographer of a world with real skins: no studio, any camera.

Hard light with a shadow's edge, backdrops, what people wear and hold, wrong
exposure and white balance, motion, few pixels, JPEG. As in `photography`,
everything is made from random numbers of the photo; nothing knows the person
but the colour and length of the hair behind a head.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from disentangle3d.faces.jpeg import jpeg_loss
from disentangle3d.faces.photography import blur_matrix, enlarged
from disentangle3d.faces.shading import (
  ambient_light,
  directional_light,
  irradiance,
)
from disentangle3d.faces.skins import GAMMA

SHOT_DRAWS = 32
BACKDROP_DRAWS = 8
# Light is rendered at half strength, so that what is too bright is only cut
# off by the exposure.
HEADROOM = 2.0
# How bright a face comes out whose exposure is right.
_GOOD_EXPOSURE = 0.33


@flax.struct.dataclass
class Shot:
  """How one photo was taken, besides its pose.

  Attributes:
    lighting: Soft light, spherical-harmonic irradiance, `[9, 3]`.
    lamp: Towards the hard light, camera axes, unit length, `[3]`.
    lamp_color: Its irradiance, `[3]`.
    gloss: Strength of the lamp's reflection on skin, `[]`.
    shadow: Direction across a shadow's edge and its place, mm, `[4]`.
    shade: What the shadow leaves of the light, `[]`.
    gain: White balance times exposure error, `[3]`.
    contrast: Exponent of the coded picture, `[]`.
    saturation: `[]`.
    blur_px: Along x and y, `[2]`.
    noise: Of 1, `[]`.
    quality: JPEG's, `[]`.
  """

  lighting: Float[Array, "*B 9 3"]
  lamp: Float[Array, "*B 3"]
  lamp_color: Float[Array, "*B 3"]
  gloss: Float[Array, "*B"]
  shadow: Float[Array, "*B 4"]
  shade: Float[Array, "*B"]
  gain: Float[Array, "*B 3"]
  contrast: Float[Array, "*B"]
  saturation: Float[Array, "*B"]
  blur_px: Float[Array, "*B 2"]
  noise: Float[Array, "*B"]
  quality: Float[Array, "*B"]


def random_shot(normal: Float[Array, "32"]) -> Shot:
  """A shot of `SHOT_DRAWS` standard normal numbers."""
  uniform = norm.cdf(normal)
  warm = jnp.asarray([1.0, 0.0, -1.0], jnp.float32)
  green = jnp.asarray([-0.5, 1.0, -0.5], jnp.float32)

  def tinted(strength: Array, at: int) -> Array:
    return strength * jnp.exp(0.18 * normal[at] * warm)

  azimuth = jnp.deg2rad(160 * (uniform[0] - 0.5))
  height = jnp.deg2rad(-15 + 80 * uniform[1])
  lamp = _direction(azimuth, height)
  fill = _direction(-azimuth + 0.5 * normal[2], 0.4 * normal[3])
  sky = jnp.asarray([0.0, 1.0, 0.15], jnp.float32)
  hard = jnp.where(uniform[4] < 0.75, uniform[4] * 1.1, 1.2)
  lighting = (
    ambient_light(tinted(0.2 + 0.5 * uniform[5], 6))
    + directional_light(fill, tinted(0.6 * uniform[7] ** 2, 8))
    + directional_light(sky, tinted(0.45 * uniform[9], 10))
  )
  edge = _direction(3.14 * uniform[11], 0.3 * normal[12])
  motion = jnp.where(uniform[15] < 0.08, 2.4 * uniform[16], 0.0)
  soft = 0.45 + 0.9 * uniform[14] ** 4
  along = jnp.where(uniform[17] < 0.5, 1.0, 0.0)
  cast = jnp.exp(0.1 * normal[18] * warm + 0.03 * normal[19] * green)
  return Shot(
    lighting=lighting / HEADROOM,
    lamp=lamp,
    lamp_color=tinted(hard, 13) / HEADROOM,
    gloss=0.07 * uniform[20] ** 2,
    shadow=jnp.append(edge, 40 * normal[21]),
    shade=jnp.where(uniform[22] < 0.2, 0.3 + 0.5 * uniform[23], 1.0),
    gain=cast * jnp.exp(0.3 * normal[24]),
    contrast=jnp.exp(0.1 + 0.15 * normal[25]),
    saturation=jnp.where(
      uniform[26] < 0.04, 0.0, 1.15 * jnp.exp(0.25 * normal[27])
    ),
    blur_px=jnp.stack([soft + along * motion, soft + (1 - along) * motion]),
    noise=0.002 + 0.022 * uniform[28] ** 4,
    quality=35 + 60 * uniform[29],
  )


def lit_colors(
  shot: Shot,
  points: Float[Array, "V 3"],
  normals: Float[Array, "V 3"],
  colors: Float[Array, "V 3"],
) -> Float[Array, "V 3"]:
  """Colours under all light, hard light's reflection and shadow included.

  Args:
    shot: One photo's.
    points: Vertices in camera axes, mm.
    normals: Theirs, same axes.
    colors: Albedo.
  """
  facing = jnp.maximum(normals @ shot.lamp, 0)[:, None]
  half = shot.lamp + jnp.asarray([0.0, 0.0, 1.0], jnp.float32)
  half = half / jnp.maximum(jnp.linalg.norm(half), 1e-3)
  shine = jnp.maximum(normals @ half, 0)[:, None] ** 18
  across = points @ shot.shadow[:3] - shot.shadow[3]
  hidden = jax.nn.sigmoid(across / 3.0)[:, None]
  left = 1 - hidden * (1 - shot.shade)
  soft = irradiance(normals, shot.lighting)
  lamp = shot.lamp_color[None] * (facing * colors + shot.gloss * shine)
  return left * (soft * colors + lamp)


def backdrop(
  backdrops: Float[Array, "M h w 3"],
  normal: Float[Array, "8"],
  *,
  height: int,
  width: int,
) -> Float[Array, "H W 3"]:
  """One of the backdrops, enlarged, turned over or not, in any light."""
  uniform = norm.cdf(normal)
  count = backdrops.shape[0]
  number = jnp.floor(uniform[0] * count).astype(jnp.int32)
  picture = backdrops[jnp.minimum(number, count - 1)]
  picture = jnp.where(uniform[1] < 0.5, picture, picture[:, ::-1])
  picture = jnp.where(uniform[2] < 0.5, picture, picture[::-1])
  picture = enlarged(picture, height=height, width=width)
  even = jnp.mean(picture, (0, 1), keepdims=True)
  picture = even + (picture - even) * uniform[3]
  tint = jnp.exp(0.6 * normal[4] - 0.4 + 0.35 * normal[5:8])
  return jnp.clip(picture * tint[None, None] / HEADROOM, 0, 1)


def expose(
  key: PRNGKeyArray, image: Float[Array, "H2 W2 3"], shot: Shot, *, margin: int
) -> UInt8[Array, "H W 3"]:
  """Blurs, cuts `margin` pixels off each side, exposes, stores as JPEG."""
  height, width = (size - 2 * margin for size in image.shape[:2])
  blurred = jnp.einsum(
    "hy,yxc,wx->hwc",
    blur_matrix(height, margin, shot.blur_px[1]),
    image,
    blur_matrix(width, margin, shot.blur_px[0]),
  )
  # The camera's meter, half right about the middle of the picture.
  middle = blurred[height // 4 : -height // 4, width // 4 : -width // 4]
  meter = jnp.sqrt(_GOOD_EXPOSURE / (jnp.mean(middle) * HEADROOM + 0.02))
  exposed = blurred * HEADROOM * meter * shot.gain[None, None]
  grey = jnp.mean(exposed, -1, keepdims=True)
  exposed = grey + shot.saturation * (exposed - grey)
  # A film's shoulder instead of an edge, where it is half too bright.
  exposed = jnp.where(
    exposed > 0.7, 1 - 0.3 * jnp.exp(-(exposed - 0.7) / 0.3), exposed
  )
  coded = jnp.clip(exposed, 1e-4, 1) ** (shot.contrast / GAMMA)
  noise = shot.noise * jax.random.normal(key, coded.shape, coded.dtype)
  levels = 255 * jnp.clip(coded + noise, 0, 1)
  return jpeg_loss(levels, shot.quality).astype(jnp.uint8)


def _direction(azimuth: Array, height: Array) -> Array:
  return jnp.stack(
    [
      jnp.sin(azimuth) * jnp.cos(height),
      jnp.sin(height),
      jnp.cos(azimuth) * jnp.cos(height),
    ]
  )
