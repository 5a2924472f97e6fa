"""Backdrops out of photographs' own pixels, shuffled beyond recognition."""

from collections.abc import Sequence

from jaxtyping import UInt8
import numpy as np
import scipy

_HEIGHT, _WIDTH = 36, 32
_PIECES = (4, 24)
# Sides of what is cut out of photographs, of their smaller side: at most a
# mouth's worth, nobody's face.
_CUT = (0.03, 0.18)


def shuffled_backdrops(
  photos: Sequence[UInt8[np.ndarray, "H W 3"]], count: int, *, seed: int
) -> UInt8[np.ndarray, "M 36 32 3"]:
  """Collages of blurred pieces, each from another place of another photo.

  Args:
    photos: RGB.
    count: M.
    seed: Of what goes where.
  """
  rng = np.random.default_rng(seed)
  made = [_backdrop(photos, rng) for _ in range(count)]
  return np.round(np.clip(made, 0, 255)).astype(np.uint8)


def _backdrop(
  photos: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
  canvas = _piece(photos, rng, _HEIGHT, _WIDTH)
  for _ in range(rng.integers(*_PIECES)):
    height = int(rng.integers(3, _HEIGHT))
    width = int(rng.integers(3, _WIDTH))
    top = int(rng.integers(1 - height, _HEIGHT))
    left = int(rng.integers(1 - width, _WIDTH))
    piece = _piece(photos, rng, height, width)
    rows, columns = max(top, 0), max(left, 0)
    part = piece[rows - top :, columns - left :]
    part = part[: _HEIGHT - rows, : _WIDTH - columns]
    canvas[rows : rows + part.shape[0], columns : columns + part.shape[1]] = (
      part
    )
  blur = (*2 * (rng.uniform(0.4, 2.5),), 0)
  return scipy.ndimage.gaussian_filter(canvas, blur, mode="nearest")


def _piece(
  photos: Sequence[np.ndarray],
  rng: np.random.Generator,
  height: int,
  width: int,
) -> np.ndarray:
  """A blurred, turned, recoloured part of a photo."""
  photo = photos[int(rng.integers(len(photos)))]
  side = max(2, int(rng.uniform(*_CUT) * min(photo.shape[:2])))
  top = rng.integers(photo.shape[0] - side + 1)
  left = rng.integers(photo.shape[1] - side + 1)
  cut = photo[top : top + side, left : left + side].astype(np.float64)
  cut = np.rot90(cut, int(rng.integers(4)))
  at = [np.linspace(0, side - 1, size) for size in (height, width)]
  grid = np.meshgrid(*at, indexing="ij")
  smooth = scipy.ndimage.gaussian_filter(cut, (side / 20, side / 20, 0))
  piece = np.stack(
    [
      scipy.ndimage.map_coordinates(smooth[..., c], grid, order=1)
      for c in range(3)
    ],
    -1,
  )
  order = rng.permutation(3) if rng.random() < 0.4 else np.arange(3)
  return piece[..., order] * rng.uniform(0.15, 1.1)
