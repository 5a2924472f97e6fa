"""How a rendered photo becomes a crop that a locator of landmarks trains on.

Pure functions of one example and its key: the box's jitter, roll, mirror; a
warp of the face; what
is behind the head and before it, out of another photo; light, blur, noise and
JPEG's blocks. Crops are float RGB in [0, 1].
"""

import math

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
import numpy as np
import scipy.fft

from disentangle3d.faces.landmark_photos import FACE_PX, PHOTO_PX
from disentangle3d.geometry import apply_affine, invert_affine
from disentangle3d.network.landmark_network import CROP_PX
from disentangle3d.training.landmark_warps import (
  Warp,
  draw_warp,
  unwarped,
  warped,
)
from disentangle3d.training.resampling import bilinear
from disentangle3d.types import LANDMARK_MIRROR, NUM_CONTOUR

_LUMA = (0.299, 0.587, 0.114)
_OCCLUDERS = 2
_BLOCK = 8
# Lengths below are in 64ths of the crop.
_UNIT = CROP_PX / 64


class LandmarkExample(flax.struct.PyTreeNode):
  """A photo or crop, and the truth in its pixels.

  Attributes:
    image: RGB, and the head's opacity in a photo: `[112, 112, 4]` uint8; of
      a crop `[96, 96, 3]`, mapped as the network takes it.
    points: `[68, 3]`.
    silhouette: `[17, 2]`.
    visibility: `[68]`.
  """

  image: Array
  points: Float[Array, "*B 68 3"]
  silhouette: Float[Array, "*B 17 2"]
  visibility: Float[Array, "*B 68"]


class Jitter(flax.struct.PyTreeNode):
  """How far crops of training stray.

  Attributes:
    least_side: Of the crop, in sides of the points' box.
    most_side: Same.
    shift: Deviation of the crop's centre, in sides of the points' box.
    roll_deg: Deviation of the roll of most.
    wide_roll_deg: The others' largest.
    wide_share: Their share.
  """

  least_side: float = 1.2
  most_side: float = 1.85
  shift: float = 0.09
  roll_deg: float = 12.0
  wide_roll_deg: float = 60.0
  wide_share: float = 0.2


def plain_crop(
  key: Array, example: LandmarkExample, jitter: Jitter
) -> LandmarkExample:
  """A jittered crop as it was rendered, for measuring."""
  matrix = _crop_from_photo(jitter, key)
  return _crop(example, matrix).replace(
    image=_mapped(_sample(example.image[..., :3], _places(matrix)))
  )


def training_crop(
  key: Array,
  example: LandmarkExample,
  other: UInt8[Array, "112 112 4"],
  jitter: Jitter,
) -> LandmarkExample:
  """A crop of a photo with everything done to it.

  Args:
    key: Everything random comes from it.
    example: The photo.
    other: Another photo, of which backgrounds and occluders are made.
    jitter: Of the box.

  Returns:
    The crop.
  """
  keys = jax.random.split(key, 10)
  matrix = _crop_from_photo(jitter, keys[0])
  warp = draw_warp(keys[9])
  photo = _sample(example.image, warped(warp, _places(matrix)))
  texture = _sample(other[..., :3], _places(_texture_matrix(keys[1])))
  behind = texture * _tint(keys[1])
  before = texture[::-1, ::-1] * _tint(keys[2])
  swapped = jax.random.bernoulli(keys[3], 0.6)
  alpha = jnp.where(swapped, photo[..., 3:], 1.0)
  image = behind + alpha * (photo[..., :3] - behind)
  hidden = _occlusion(keys[4])[..., None]
  image = image + hidden * (before - image)
  image = _relight(image, keys[5])
  image = _degrade(image, keys[6])
  image = _cut_off(image, keys[7])
  mirrored = jax.random.bernoulli(keys[8], 0.5)
  crop = _crop(_unwarped(warp, example), matrix).replace(image=_mapped(image))
  return jax.tree.map(
    lambda a, b: jnp.where(mirrored, b, a), crop, mirror(crop)
  )


def mirror(crop: LandmarkExample) -> LandmarkExample:
  """The mirror image of a crop, its points renamed."""
  flip = jnp.asarray([-1, 1, 1], jnp.float32)[None]
  shift = jnp.asarray([CROP_PX - 1, 0, 0], jnp.float32)[None]
  return crop.replace(
    image=crop.image[:, ::-1],
    points=(crop.points * flip + shift)[LANDMARK_MIRROR],
    silhouette=(crop.silhouette * flip[:, :2] + shift[:, :2])[
      LANDMARK_MIRROR[:NUM_CONTOUR]
    ],
    visibility=crop.visibility[LANDMARK_MIRROR],
  )


def _unwarped(warp: Warp, example: LandmarkExample) -> LandmarkExample:
  """The truth in the photo's warped pixels."""
  flat = unwarped(warp, example.points[:, :2])
  return example.replace(
    points=jnp.concatenate([flat, example.points[:, 2:]], -1),
    silhouette=unwarped(warp, example.silhouette),
  )


def _crop(example: LandmarkExample, matrix: Array) -> LandmarkExample:
  scale = jnp.hypot(matrix[0, 0], matrix[1, 0])
  flat = apply_affine(matrix, example.points[:, :2])
  return example.replace(
    points=jnp.concatenate([flat, scale * example.points[:, 2:]], -1),
    silhouette=apply_affine(matrix, example.silhouette),
  )


def _crop_from_photo(jitter: Jitter, key: Array) -> Float[Array, "2 3"]:
  uniform, normal = jax.random.split(key)
  side, wide, roll = jax.random.uniform(uniform, (3,), jnp.float32)
  shift_x, shift_y, turn = jnp.clip(
    jax.random.normal(normal, (3,), jnp.float32), -2.5, 2.5
  )
  side = jitter.least_side * (jitter.most_side / jitter.least_side) ** side
  angle = jnp.where(
    wide < jitter.wide_share,
    jitter.wide_roll_deg * (2 * roll - 1),
    jitter.roll_deg * turn,
  )
  shift = jitter.shift * FACE_PX * jnp.stack([shift_x, shift_y])
  return _similarity(CROP_PX / (FACE_PX * side), angle, shift)


def _similarity(scale: Array, angle_deg: Array, shift: Array) -> Array:
  """Takes the photo's centre, shifted, to the crop's, scaled and turned."""
  angle = jnp.deg2rad(angle_deg)
  cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
  linear = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
  centre = (PHOTO_PX - 1) / 2 + shift
  offset = (CROP_PX - 1) / 2 - linear @ centre
  return jnp.concatenate([linear, offset[:, None]], -1)


def _texture_matrix(key: Array) -> Array:
  numbers = jax.random.uniform(key, (4,), jnp.float32)
  shift = 40 * (2 * numbers[2:] - 1)
  return _similarity(0.6 * 4 ** numbers[0], 360 * numbers[1], shift)


def _tint(key: Array) -> Float[Array, "1 1 3"]:
  grey, *colour = jax.random.uniform(
    jax.random.fold_in(key, 1), (4,), jnp.float32
  )
  return ((0.3 + 1.2 * grey) * (0.7 + 0.6 * jnp.stack(colour)))[None, None]


def _places(matrix: Array) -> Float[Array, "9216 2"]:
  """Where in the photo the crop's pixels are."""
  at = jnp.arange(CROP_PX, dtype=jnp.float32)
  grid = jnp.stack(jnp.meshgrid(at, at), -1).reshape(-1, 2)
  return apply_affine(invert_affine(matrix), grid)


def _sample(photo: Array, places: Array) -> Array:
  """A crop of a uint8 photo."""
  return (bilinear(photo, places) / 255).reshape(CROP_PX, CROP_PX, -1)


def _occlusion(key: Array) -> Float[Array, "96 96"]:
  """1 where something is before the face: ellipses, boxes, none in most."""
  numbers = jax.random.uniform(key, (_OCCLUDERS, 7), jnp.float32)
  at = jnp.arange(CROP_PX, dtype=jnp.float32)
  x, y = jnp.meshgrid(at, at)

  def one(u: Array) -> Array:
    angle = 2 * jnp.pi * u[0]
    dx, dy = x - CROP_PX * u[1], y - CROP_PX * u[2]
    across = (jnp.cos(angle) * dx + jnp.sin(angle) * dy) / (
      _UNIT * (3 + 22 * u[3] ** 2)
    )
    along = (jnp.cos(angle) * dy - jnp.sin(angle) * dx) / (
      _UNIT * (3 + 22 * u[4] ** 2)
    )
    across, along = across * across, along * along
    box, ellipse = jnp.maximum(across, along), across + along
    return (jnp.where(u[5] < 0.5, ellipse, box) < 1) & (u[6] < 0.3)

  return jnp.any(jax.vmap(one)(numbers), 0).astype(jnp.float32)


def _relight(image: Array, key: Array) -> Array:
  """Shadow across the crop, exposure, contrast, colour, grey photos."""
  uniform, normal = jax.random.split(key)
  normal = jax.random.normal(normal, (8,), jnp.float32)
  grey_photo, saturation = jax.random.uniform(uniform, (2,), jnp.float32)
  at = jnp.linspace(-1.0, 1.0, CROP_PX, dtype=jnp.float32)
  slope = 0.2 * (normal[0] * at[None, :] + normal[1] * at[:, None])
  colour = 0.15 * normal[2] + 0.06 * normal[3:6]
  gain = jnp.exp(slope[..., None] + colour[None, None])
  image = jnp.clip(image * gain, 0, 1) ** jnp.exp(0.2 * normal[6])
  image = 0.5 + (image - 0.5) * jnp.exp(0.2 * normal[7])
  grey = image @ jnp.asarray(_LUMA, jnp.float32)
  share = jnp.where(grey_photo < 0.15, 0.0, 0.4 + 1.0 * saturation)
  return grey[..., None] + share * (image - grey[..., None])


def _degrade(image: Array, key: Array) -> Array:
  """Blur, noise, and what JPEG leaves of it."""
  numbers, noise = jax.random.split(key)
  blur, strength, quality = jax.random.uniform(numbers, (3,), jnp.float32)
  at = jnp.arange(CROP_PX, dtype=jnp.float32)
  sigma = 0.2 + 1.2 * _UNIT * blur**2
  weights = jnp.exp(-0.5 * ((at[:, None] - at[None]) / sigma) ** 2)
  weights = weights / jnp.sum(weights, -1, keepdims=True)
  image = jnp.einsum("hy,yxc,wx->hwc", weights, image, weights)
  amount = 0.04 * strength**2 * math.sqrt(12)
  image = image + amount * (
    jax.random.uniform(noise, (CROP_PX, CROP_PX, 1), jnp.float32) - 0.5
  )
  return _compress(jnp.clip(image, 0, 1), 0.004 + 0.02 * quality**2)


def _compress(image: Array, step: Array) -> Array:
  """Rounds the cosine transform of 8x8 blocks, high frequencies coarser."""
  cosines = jnp.asarray(
    scipy.fft.dct(np.eye(_BLOCK), norm="ortho", axis=0), jnp.float32
  )
  order = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK))
  steps = step * jnp.asarray(1 + order, jnp.float32)
  count = CROP_PX // _BLOCK
  blocks = image.reshape(count, _BLOCK, count, _BLOCK, 3)
  turned = jnp.einsum("iy,aybxc,jx->aibjc", cosines, blocks, cosines)
  steps = steps.reshape(1, _BLOCK, 1, _BLOCK, 1)
  rounded = jnp.round(turned / steps) * steps
  back = jnp.einsum("iy,aibjc,jx->aybxc", cosines, rounded, cosines)
  return jnp.clip(back.reshape(image.shape), 0, 1)


def _cut_off(image: Array, key: Array) -> Array:
  """Black beyond the edges that some photos have inside the crop."""
  margins = jax.random.uniform(key, (5,), jnp.float32)
  depth = jnp.where(margins[:4] < 0.35, 14 * _UNIT * margins[:4] / 0.35, 0.0)
  depth = jnp.where(margins[4] < 0.5, depth, 0.0)
  at = jnp.arange(CROP_PX, dtype=jnp.float32)
  rows = (at >= depth[0]) & (at < CROP_PX - depth[1])
  columns = (at >= depth[2]) & (at < CROP_PX - depth[3])
  return jnp.where((rows[:, None] & columns[None])[..., None], image, 0.0)


def _mapped(image: Array) -> Array:
  return (255 * image - 127.5) / 128
