"""What JPEG loses: the rounding of 8 x 8 blocks' cosine transforms."""

import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

# Annex K of the standard: brightness, colour.
_BRIGHTNESS = np.array(
  [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
  ],
  np.float32,
)
_COLOUR = np.full((8, 8), 99, np.float32)
_COLOUR[:4, :4] = [
  [17, 18, 24, 47],
  [18, 21, 26, 66],
  [24, 26, 56, 99],
  [47, 66, 99, 99],
]
_YCC = np.array(
  [
    [0.299, 0.587, 0.114],
    [-0.168736, -0.331264, 0.5],
    [0.5, -0.418688, -0.081312],
  ],
  np.float32,
)


def jpeg_loss(
  image: Float[Array, "H W 3"], quality: float | Array
) -> Float[Array, "H W 3"]:
  """An image as it comes back from a JPEG file, colour at full resolution.

  Args:
    image: Levels from 0 to 255; sides that 8 divides.
    quality: From 1 to 100, as libjpeg's.
  """
  height, width, _ = image.shape
  quality = jnp.asarray(quality, jnp.float32)
  scale = jnp.where(quality < 50, 50 / quality, 2 - quality / 50)
  tables = jnp.asarray(np.stack([_BRIGHTNESS, _COLOUR, _COLOUR], -1))
  step = jnp.clip(jnp.floor(tables * scale + 0.5), 1, 255)
  cosines = jnp.asarray(_cosines())
  channels = jnp.round(image @ jnp.asarray(_YCC.T))
  middle = jnp.asarray([[[128.0, 0, 0]]], jnp.float32)
  channels = channels - middle
  blocks = channels.reshape(height // 8, 8, width // 8, 8, 3)
  coded = jnp.einsum("ky,iyjxc,lx->ijklc", cosines, blocks, cosines)
  kept = jnp.round(coded / step[None, None]) * step[None, None]
  blocks = jnp.einsum("ky,ijklc,lx->iyjxc", cosines, kept, cosines)
  channels = jnp.round(blocks.reshape(height, width, 3)) + middle
  rgb = channels @ np.linalg.inv(_YCC).T.astype(np.float32)
  return jnp.clip(jnp.round(rgb), 0, 255)


def _cosines() -> np.ndarray:
  """The orthonormal cosine transform of 8 numbers."""
  wave = np.arange(8)[:, None] * (2 * np.arange(8)[None] + 1) * np.pi / 16
  matrix = np.cos(wave) / 2
  matrix[0] /= np.sqrt(2)
  return matrix.astype(np.float32)
