"""Flat shapes around a face: hair, shoulders, glasses, hats, hands.

Each lies in a plane parallel to the face's, in the head's own millimetres, and
is drawn over (or behind) a picture with soft edges. What is worn or held comes
from random numbers of the photo and says nothing about the person.
"""

import flax.struct
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from disentangle3d.geometry import Camera

Scalar = float | Array
OCCLUDER_DRAWS = 24
HAIR_DRAWS = 4
FRINGE_DRAWS = 8
# A plane seen from its edge would be drawn infinitely narrow.
_LEAST_WIDTH = 0.3
# Shares of photos with each.
_GLASSES, _SUNGLASSES, _HAT, _MICROPHONE, _HAND = 0.14, 0.02, 0.08, 0.06, 0.05
_LONG_HAIR = 0.4
_FRINGE, _LOCKS = 0.25, 0.2
# The draw that says whether there are glasses.
_HAS_GLASSES = 4


@flax.struct.dataclass
class _Plane:
  """Pixels in millimetres of a plane that the head carries.

  Attributes:
    x: To the head's left, `[H, W]`.
    y: Up, `[H, W]`.
    scale: Pixels a millimetre, `[]`.
  """

  x: Float[Array, "H W"]
  y: Float[Array, "H W"]
  scale: Float[Array, ""]

  def soft(self, distance_mm: Array) -> Array:
    """1 where a signed distance is negative, 0 where positive, `[H, W]`."""
    return jnp.clip(0.5 - distance_mm * self.scale, 0, 1)

  def ellipse(self, x: Scalar, y: Scalar, rx: Scalar, ry: Scalar) -> Array:
    """The signed distance to an ellipse, about, `[H, W]`."""
    away = jnp.hypot((self.x - x) / rx, (self.y - y) / ry)
    return (away - 1) * jnp.minimum(rx, ry)

  def box(self, x: Scalar, y: Scalar, rx: Scalar, ry: Scalar) -> Array:
    """The signed distance to an upright box, about, `[H, W]`."""
    return jnp.maximum(jnp.abs(self.x - x) - rx, jnp.abs(self.y - y) - ry)


def draw_behind(
  picture: Float[Array, "H W 3"],
  camera: Camera,
  hair: Float[Array, "3"],
  person: Float[Array, "4"],
  photo: Float[Array, "24"],
) -> Float[Array, "H W 3"]:
  """Shoulders and, over them, the hair behind a head.

  Args:
    picture: What stands behind, linear RGB.
    camera: Of the head.
    hair: Its colour.
    person: `HAIR_DRAWS` standard normal numbers: how much hair, how long.
    photo: `OCCLUDER_DRAWS` of them; the first four dress the shoulders.
  """
  clothes = 0.5 * norm.cdf(photo[:3]) ** 2 + 0.02
  plane = _plane(camera, picture, depth_mm=-60.0)
  body = plane.ellipse(0.0, -265.0 + 15 * photo[3], 215.0, 125.0)
  picture = _over(picture, plane.soft(body), clothes)
  uniform = norm.cdf(person)
  more = 4 + 26 * uniform[0]
  crown = plane.ellipse(0.0, 30.0, 82 + more, 98 + more)
  length = 40 + 120 * uniform[2]
  fall = plane.box(0.0, 30 - length / 2, 74 + more, length / 2)
  long = uniform[1] < _LONG_HAIR
  shape = jnp.where(long, jnp.minimum(crown, fall), crown)
  # The short hair of a bald crown ends above the ears.
  shape = jnp.where(long, shape, jnp.maximum(shape, -10 - plane.y))
  strands = 1 + 0.25 * jnp.sin(plane.x / 3.1 + 5 * jnp.sin(plane.y / 37.0))
  return _over(
    picture, plane.soft(shape), 0.8 * hair[None, None] * strands[..., None]
  )


def more_glasses(
  photo: Float[Array, "*B 24"], by: float
) -> Float[Array, "*B 24"]:
  """The draws of photos with more glasses.

  Args:
    photo: `OCCLUDER_DRAWS` standard normal numbers each.
    by: Standard deviations; 0.75 makes 2 % of sunglasses 10, 14 % of all 37.
  """
  return photo.at[..., _HAS_GLASSES].add(-by)


def draw_fringe(
  picture: Float[Array, "H W 3"],
  camera: Camera,
  eyes: Float[Array, "2 3"],
  hair: Float[Array, "3"],
  photo: Float[Array, "8"],
) -> Float[Array, "H W 3"]:
  """Some photos' hair over the brows, and locks over cheeks and jaw.

  Args:
    picture: Linear RGB.
    camera: Of the head.
    eyes: Right and left, mm.
    hair: Its colour.
    photo: `FRINGE_DRAWS` standard normal numbers; all 0: no hair.
  """
  uniform = norm.cdf(photo)
  middle = jnp.mean(eyes, 0)
  plane = _plane(camera, picture, depth_mm=middle[2] - 5)
  wave = jnp.sin(plane.x / 4.3 + 9 * uniform[1])
  edge = middle[1] + 6 + 34 * uniform[1] + 2 * wave
  edge = edge + 0.5 * (2 * uniform[2] - 1) * plane.x
  crown = plane.ellipse(0.0, 30.0, 84.0, 100.0)
  fringe = jnp.maximum(crown, edge - plane.y)
  # A lock hangs from the parting; its inner edge is a curve beside the face.
  inner = 38 + 30 * uniform[5] + 0.002 * (plane.y - middle[1]) ** 2
  side = plane.x * jnp.where(uniform[6] < 0.5, -1.0, 1.0)
  across = jnp.where(uniform[7] < 0.4, jnp.abs(plane.x), side)
  low = middle[1] - 60 - 80 * uniform[4]
  locks = jnp.maximum(
    jnp.maximum(inner + 2 * wave - across, across - 92), low - plane.y
  )
  locks = jnp.maximum(locks, plane.y - middle[1] - 80)
  opacity = jnp.maximum(
    (uniform[0] < _FRINGE) * plane.soft(fringe),
    (uniform[3] < _LOCKS) * plane.soft(locks),
  )
  strands = 1 + 0.12 * jnp.sin(plane.x / 2.3 + 4 * jnp.sin(plane.y / 31.0))
  return _over(picture, opacity, hair[None, None] * strands[..., None])


def draw_before(
  picture: Float[Array, "H W 3"],
  camera: Camera,
  eyes: Float[Array, "2 3"],
  skin: Float[Array, "3"],
  photo: Float[Array, "24"],
) -> Float[Array, "H W 3"]:
  """Some photos' glasses, hat, microphone or hand.

  Args:
    picture: Linear RGB.
    camera: Of the head.
    eyes: Right and left, mm.
    skin: Colour of hands.
    photo: `OCCLUDER_DRAWS` standard normal numbers.
  """
  uniform = norm.cdf(photo[4:])
  picture = _glasses(picture, camera, eyes, uniform[:7])
  picture = _hat(picture, camera, eyes, uniform[7:13])
  return _held(picture, camera, skin, uniform[13:])


def _glasses(
  picture: Array, camera: Camera, eyes: Array, uniform: Array
) -> Array:
  middle = jnp.mean(eyes, 0)
  plane = _plane(camera, picture, depth_mm=middle[2] + 12)
  apart = 0.5 * jnp.abs(eyes[1, 0] - eyes[0, 0]) + 2
  dark = uniform[0] < _SUNGLASSES
  rx = 22 + 6 * uniform[1] + jnp.where(dark, 4.0, 0.0)
  ry = 15 + 8 * uniform[2] + jnp.where(dark, 5.0, 0.0)
  x, y = jnp.abs(plane.x - middle[0]) - apart, plane.y - middle[1] + 3
  power = 2 + 4 * uniform[3]
  away = (jnp.abs(x / rx) ** power + jnp.abs(y / ry) ** power + 1e-6) ** (
    1 / power
  )
  lens = (away - 1) * jnp.minimum(rx, ry)
  thick = 0.4 + 2.2 * uniform[4] ** 2
  across = jnp.abs(plane.x - middle[0])
  bar = jnp.where(across < apart, apart - rx, 200.0)
  bridge = jnp.maximum(across - bar, jnp.abs(y - 4) - thick)
  arm = jnp.maximum(apart + rx - across, across - 74)
  arm = jnp.maximum(arm, jnp.abs(y - 5) - thick)
  rim = jnp.minimum(jnp.abs(lens) - thick, jnp.minimum(bridge, arm))
  glass = jnp.where(dark, 0.93, 0.02 + 0.2 * uniform[5] ** 3)
  # Dark lenses are brown to blue, lighter downwards, and mirror the sky.
  sky = jnp.exp(-(((y - 0.4 * ry) / (0.3 * ry)) ** 2)) * uniform[6] ** 4
  shade = 0.012 + 0.05 * uniform[5] ** 2 * (1 - y / ry)
  shaded = (shade + 0.25 * sky)[..., None]
  warmth = jnp.asarray([[[-1.0, 0, 1]]])
  tint = shaded * (1 + 0.5 * (uniform[4] - 0.5) * warmth)
  tint = jnp.where(dark, tint, 0.6)
  worn = uniform[0] < _GLASSES
  color = jnp.stack([0.03, 0.025, 0.02]) + 0.25 * uniform[6] ** 4
  picture = _over(picture, worn * glass * plane.soft(lens), tint)
  return _over(picture, worn * 0.9 * plane.soft(rim), color)


def _hat(picture: Array, camera: Camera, eyes: Array, uniform: Array) -> Array:
  plane = _plane(camera, picture, depth_mm=-10.0)
  edge = jnp.mean(eyes[:, 1]) + 34 + 30 * uniform[1]
  arch = edge + 6 - (plane.x / 40) ** 2 * (2 * uniform[2] - 0.6)
  cap = plane.ellipse(0.0, 45.0, 92 + 10 * uniform[3], 100 + 25 * uniform[3])
  cap = jnp.maximum(cap, arch - plane.y)
  brim = jnp.maximum(
    jnp.abs(plane.y - arch) - 5, jnp.abs(plane.x) - 80 - 45 * uniform[4]
  )
  color = 0.35 * jnp.mean(uniform[3:6] ** 2) + 0.12 * uniform[3:6] ** 2
  worn = uniform[0] < _HAT
  picture = _over(picture, worn * plane.soft(cap), color)
  return _over(picture, worn * plane.soft(brim), 0.6 * color)


def _held(picture: Array, camera: Camera, skin: Array, uniform: Array) -> Array:
  plane = _plane(camera, picture, depth_mm=30.0)
  x, y = 70 * (2 * uniform[1] - 1), -62 - 40 * uniform[2]
  size = 15 + 12 * uniform[3]
  ball = plane.ellipse(x, y, size, size)
  lean = x + 0.6 * (2 * uniform[4] - 1) * (y - plane.y)
  stick = jnp.maximum(jnp.abs(plane.x - lean) - 0.55 * size, plane.y - y)
  micro = jnp.minimum(ball, stick)
  shine = 1 + 0.5 * jnp.clip((x - plane.x) / size, -1, 1)
  grey = (0.02 + 0.12 * uniform[5] ** 2) * shine[..., None]
  has = uniform[0] < _MICROPHONE
  picture = _over(picture, has * plane.soft(micro), grey)
  return _hand(picture, plane, x, y, skin, uniform)


def _hand(
  picture: Array, plane: _Plane, x: Array, y: Array, skin: Array, uniform: Array
) -> Array:
  """A palm with four fingers upwards; of other photos than microphones."""
  side = jnp.sign(x)
  reach = 0.35 * (plane.y - y) * side
  shape = plane.ellipse(x, y - 35, 36.0, 44.0)
  dents = jnp.ones_like(shape)
  for number in range(4):
    at = x + 17 * (number - 1.5)
    width = jnp.abs(plane.x + reach - at) - 8
    finger = jnp.maximum(width, plane.y - y - 40 + 4 * (number - 1.5) ** 2)
    finger = jnp.maximum(finger, y - 40 - plane.y)
    shape = jnp.minimum(shape, finger)
    dents = dents - 0.35 * plane.soft(jnp.abs(width) - 1)
  has = (uniform[0] > _MICROPHONE) & (uniform[0] < _MICROPHONE + _HAND)
  return _over(
    picture, has * plane.soft(shape), skin[None, None] * dents[..., None]
  )


def _plane(
  camera: Camera, picture: Array, *, depth_mm: float | Array
) -> _Plane:
  """The head's plane at a depth, one camera without batch dimensions."""
  height, width, _ = picture.shape
  columns = jnp.arange(width, dtype=jnp.float32)[None]
  rows = jnp.arange(height, dtype=jnp.float32)[:, None]
  turn = camera.rotation
  right = (columns - camera.translation[0]) / camera.scale
  up = (camera.translation[1] - rows) / camera.scale
  right, up = right - turn[0, 2] * depth_mm, up - turn[1, 2] * depth_mm
  a, b, c, d = turn[0, 0], turn[0, 1], turn[1, 0], turn[1, 1]
  area = a * d - b * c
  area = jnp.where(area < 0, -1.0, 1.0) * jnp.maximum(
    jnp.abs(area), _LEAST_WIDTH
  )
  return _Plane(
    x=(d * right - b * up) / area,
    y=(a * up - c * right) / area,
    scale=jnp.asarray(camera.scale),
  )


def _over(picture: Array, opacity: Array, color: Array | float) -> Array:
  color = jnp.broadcast_to(jnp.asarray(color), picture.shape)
  return picture + opacity[..., None] * (color - picture)
