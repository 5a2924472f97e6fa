"""The photo at every size at which the proposal network looks at it.

All sizes of a photo lie in one picture, a column of a width of its own, and the
columns of several photos below one another. The network goes over strips of
them, so that one program serves photos of any shape and the time goes with what
there is.
"""

from collections.abc import Sequence
import dataclasses
import functools
import math

import cv2
from jaxtyping import Bool, Float, Int, UInt8
import numpy as np

from data_prep.faces.mtcnn.networks import (
  PNET_STRIDE,
  PNET_WINDOW,
  pnet_map_size,
)

Sizes = Sequence[tuple[int, int]]
# Rows of the proposal network's map that are made at once: as fast as any on
# CPU. A strip has the pixels of all their windows.
STRIP_ROWS = 32
_STRIP_STEP = PNET_STRIDE * STRIP_ROWS
STRIP_PX = _STRIP_STEP + PNET_WINDOW - PNET_STRIDE
_ROW_STEP = 8
# A canvas' width over that of a square photo's largest size, but for the last.
_WIDER = 4 / 3
# And the rows that it has, over those that the square photo takes.
_SLACK = 1.25


@dataclasses.dataclass(frozen=True)
class PhotoCanvas:
  """What photos of at most so many pixels are brought to.

  Attributes:
    pixels: Of a photo, at most.
    width: Of the column that its sizes lie in.
    rows: Of the column, at most.
    windows: Of the proposal network in all sizes, at most.
    levels: Sizes, at most.
  """

  pixels: int
  width: int
  rows: int
  windows: int
  levels: int


@dataclasses.dataclass(frozen=True, eq=False)
class Mosaics:
  """All sizes of B photos in one column, cut into strips.

  Attributes:
    strips: (x - 127.5) / 128, 0 beside the photos, `[N, STRIP_PX, S, 3]`.
    inside: Where a window of 3 pixels begins that is inside a size,
      `[N, STRIP_PX, S]`.
    count: How many strips there are, `[]`.
    windows: Each photo's windows by their number in the map, size after size
      and row after row, 0 behind the last, `[B, W]`.
    ends: How many windows there are up to each size's last, `[B, L]`.
    corners: Each size's upper left pixel in the column, x and y, `[B, L, 2]`.
  """

  strips: Float[np.ndarray, "N P S 3"]
  inside: Bool[np.ndarray, "N P S"]
  count: Int[np.ndarray, ""]
  windows: Int[np.ndarray, "B W"]
  ends: Int[np.ndarray, "B L"]
  corners: Int[np.ndarray, "B L 2"]


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


def level_sizes(
  height: int, width: int, *, min_size_px: float, factor: float
) -> list[tuple[int, int]]:
  """A photo's height and width at each level of its pyramid."""
  scales = pyramid_scales(
    min(height, width), min_size_px=min_size_px, factor=factor
  )
  return [(int(height * scale), int(width * scale)) for scale in scales]


@functools.cache
def canvases(
  longest_px: int, count: int, *, min_size_px: float, factor: float
) -> tuple[PhotoCanvas, ...]:
  """Canvases for photos up to a longest side, each for half the next one's.

  Args:
    longest_px: The longest side.
    count: Of canvases.
    min_size_px: The pyramid's.
    factor: The pyramid's.

  Returns:
    The smallest first.
  """
  made = []
  widest = max(PNET_WINDOW, math.ceil(longest_px * PNET_WINDOW / min_size_px))
  for halvings in reversed(range(count)):
    photo = math.ceil(longest_px / 2**halvings)
    sizes = level_sizes(photo, photo, min_size_px=min_size_px, factor=factor)
    width = min(widest, math.ceil(widest * _WIDER / 2**halvings))
    width = max(PNET_WINDOW, width + width % 2)
    rows = (place_levels(sizes, width) or (0, []))[0]
    area = sum(height * across for height, across in sizes)
    made.append(
      PhotoCanvas(
        pixels=photo**2,
        width=width,
        rows=_ROW_STEP * math.ceil(max(rows, 1) * _SLACK / _ROW_STEP),
        windows=max(1, area // PNET_STRIDE**2),
        levels=max(1, len(sizes)),
      )
    )
  return tuple(made)


def choose_canvas(
  choice: Sequence[PhotoCanvas], sizes: Sizes, pixels: int
) -> int:
  """The number of the smallest canvas that takes a photo.

  Args:
    choice: Of `canvases`.
    sizes: The photo's, of `level_sizes`.
    pixels: How many it has.
  """
  for number, canvas in enumerate(choice):
    placed = place_levels(sizes, canvas.width)
    if pixels <= canvas.pixels and placed and placed[0] <= canvas.rows:
      return number
  raise ValueError(f"photo: expected one that fits {choice[-1]}, got {sizes}")


def place_levels(
  sizes: Sizes, width: int
) -> tuple[int, list[tuple[int, int]]] | None:
  """Places rectangles in a column, which is as short as it gets.

  Args:
    sizes: Heights and widths, the largest first.
    width: Of the column.

  Returns:
    Its rows, and each rectangle's upper and left end, even numbers, as the
    network's windows lie; None if one is wider than the column.
  """
  if any(across > width for _, across in sizes):
    return None
  area = sum(height * across for height, across in sizes)
  rows = _ROW_STEP * math.ceil(area / width / _ROW_STEP)
  while (places := _places_within(sizes, rows, width)) is None:
    rows += _ROW_STEP
  return rows, places


def _places_within(
  sizes: Sizes, rows: int, columns: int
) -> list[tuple[int, int]] | None:
  """Each rectangle in the tightest gap that is left; None if one has none."""
  gaps, places = [(0, 0, rows, columns)], []
  for height, width in sizes:
    height, width = height + height % 2, width + width % 2
    fitting = [
      (min(gap[2] - height, gap[3] - width), number)
      for number, gap in enumerate(gaps)
      if height <= gap[2] and width <= gap[3]
    ]
    if not fitting:
      return None
    top, left, high, wide = gaps.pop(min(fitting)[1])
    places.append((top, left))
    # What is left is cut in two, so that one part is as large as can be.
    below, right = high - height, wide - width
    cut = (wide, height) if below > right else (width, high)
    gaps.append((top + height, left, below, cut[0]))
    gaps.append((top, left + width, cut[1], right))
  return places


def make_mosaics(
  photos: Sequence[UInt8[np.ndarray, "H W 3"]],
  sizes: Sequence[Sizes],
  canvas: PhotoCanvas,
  *,
  count: int,
) -> Mosaics:
  """Shrinks photos to all their sizes.

  Args:
    photos: RGB, `[H, W, 3]` each.
    sizes: Of `level_sizes`, for each.
    canvas: Which takes them.
    count: B, at least as many as photos.
  """
  most = math.ceil(count * canvas.rows / _STRIP_STEP)
  column = np.zeros(
    (most * _STRIP_STEP + STRIP_PX, canvas.width, 3), np.float32
  )
  inside = np.zeros(column.shape[:2], bool)
  across = pnet_map_size(canvas.width)
  windows = np.zeros((count, canvas.windows), np.int32)
  ends = np.zeros((count, canvas.levels), np.int32)
  corners = np.zeros((count, canvas.levels, 2), np.int32)
  start = 0
  for number, (photo, levels) in enumerate(zip(photos, sizes, strict=True)):
    rows, places = place_levels(levels, canvas.width) or (0, [])
    source, done = photo.astype(np.float32), 0
    for level, ((height, width), (top, left)) in enumerate(
      zip(levels, places, strict=True)
    ):
      top += start
      small = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
      column[top : top + height, left : left + width] = (small - 127.5) / 128
      inside[top : top + height - 2, left : left + width - 2] = True
      y = top // PNET_STRIDE + np.arange(pnet_map_size(height))
      x = left // PNET_STRIDE + np.arange(pnet_map_size(width))
      here = (y[:, None] * across + x[None]).reshape(-1)
      windows[number, done : done + here.size] = here
      done += here.size
      corners[number, level] = left, top
      ends[number, level:] = done
    start += rows
  strips = np.arange(most)[:, None] * _STRIP_STEP + np.arange(STRIP_PX)[None]
  return Mosaics(
    strips=column[strips],
    inside=inside[strips],
    count=np.array(math.ceil(start / _STRIP_STEP), np.int32),
    windows=windows,
    ends=ends,
    corners=corners,
  )
