"""The photo at every size at which the proposal network looks at it."""

from collections.abc import Sequence

import cv2
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from data_prep.faces.mtcnn.networks import PNET_WINDOW, pnet_map_size


def pyramid_scales(
  shorter_px: int, *, min_size_px: float, factor: float
) -> list[float]:
  """How much a photo is shrunk for each level, largest first.

  Args:
    shorter_px: The photo's shorter side.
    min_size_px: The smallest face to find; it fills the window at level 0.
    factor: Each level's size over the one's before, below 1.

  Returns:
    The package's scales, less those at which no window fits. (The package
    counts levels as if the smallest face were 12 pixels.)
  """
  levels = round(
    -(np.log(max(shorter_px, 1) / PNET_WINDOW) / np.log(factor) + 1)
  )
  scales = [PNET_WINDOW / min_size_px * factor**k for k in range(levels)]
  return [
    scale for scale in scales if pnet_map_size(int(shorter_px * scale)) > 0
  ]


def shrink_on_host(
  photos: Sequence[UInt8[np.ndarray, "H W 3"]],
  levels: Int[np.ndarray, "B N 2"],
  shapes: Sequence[tuple[int, int]],
) -> list[Float[np.ndarray, "B h w 3"]]:
  """What `shrink` gives, by OpenCV: on CPU in less than half the time.

  Args:
    photos: Up to B photos of any sizes, `[H, W, 3]` each.
    levels: As for `shrink`.
    shapes: As for `shrink`.

  Returns:
    `[B, h, w, 3]` a level, 0 beyond a photo's size there.
  """
  small = [np.zeros((len(levels), *shape, 3), np.float32) for shape in shapes]
  for row, photo in enumerate(photos):
    pixels = photo.astype(np.float32)
    for level, (height, width) in enumerate(levels[row].tolist()):
      if height and width:
        areas = cv2.resize(
          pixels, (width, height), interpolation=cv2.INTER_AREA
        )
        small[level][row, :height, :width] = (areas - 127.5) / 128
  return small


def shrink(
  images: UInt8[Array, "B H W 3"],
  sizes: Int[Array, "B 2"],
  levels: Int[Array, "B N 2"],
  shapes: Sequence[tuple[int, int]],
) -> list[Float[Array, "B h w 3"]]:
  """Photos shrunk by averaging areas, and mapped to (x - 127.5) / 128.

  Along each side, the area between two edges is the difference of two running
  sums. The time goes with the sizes made, not with what is averaged.

  Args:
    images: `[B, H, W, 3]`.
    sizes: How much of each is photo: height and width, `[B, 2]`.
    levels: Heights and widths to shrink to, `[B, N, 2]`.
    shapes: h and w of each level, no smaller than any photo's there.

  Returns:
    `[B, h, w, 3]` a level; what lies beyond a photo's size there is not to be
    looked at.
  """
  # As the two steps are two loops, XLA cannot pull the transposition into the
  # first one's look-ups, which takes ten times as long on CPU.
  at_once = len(images)

  def shrink_rows(photo: tuple[Array, Array, Array]) -> Array:
    image, size, levels = photo
    height, width, _ = image.shape
    edges = [
      _edges(size[0], levels[i, 0], shape[0]) for i, shape in enumerate(shapes)
    ]
    pixels = (image.astype(jnp.float32).reshape(height, -1) - 127.5) / 128
    rows = _areas(pixels, _running_sums(pixels), jnp.concatenate(edges))
    return rows.reshape(-1, width, 3)

  def shrink_columns(photo: tuple[Array, Array, Array]) -> list[Array]:
    rows, size, levels = photo
    columns = rows.swapaxes(0, 1).reshape(rows.shape[1], -1)
    sums = _running_sums(columns)
    small, start = [], 0
    for level, (height, width) in enumerate(shapes):
      part = slice(3 * start, 3 * (start + height))
      start += height + 1  # The last edge begins no area.
      edges = _edges(size[1], levels[level, 1], width)
      areas = _areas(columns[:, part], sums[:, part], edges)
      areas = areas.reshape(width, height, 3).swapaxes(0, 1)
      small.append(areas * jnp.prod(levels[level] / size))
    return small

  rows = lax.map(shrink_rows, (images, sizes, levels), batch_size=at_once)
  return lax.map(shrink_columns, (rows, sizes, levels), batch_size=at_once)


def _edges(size: Array, to: Array, length: int) -> Float[Array, "h"]:
  """Where `size` pixels are cut into `to` parts, `[length + 1]`."""
  place = jnp.arange(length + 1, dtype=jnp.float32)
  return jnp.minimum(place * (size / jnp.maximum(to, 1)), size)


def _running_sums(x: Float[Array, "Y C"]) -> Float[Array, "Y C"]:
  """The sum of all rows before."""

  def step(total: Array, row: Array) -> tuple[Array, Array]:
    return total + row, total

  return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def _areas(
  x: Float[Array, "Y C"], sums: Float[Array, "Y C"], edges: Float[Array, "h"]
) -> Float[Array, "h-1 C"]:
  """Sums of x between successive edges."""
  row = jnp.clip(edges.astype(jnp.int32), 0, len(x) - 1)
  upto = sums[row] + (edges - row)[:, None] * x[row]
  return upto[1:] - upto[:-1]
