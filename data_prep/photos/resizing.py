"""Photos at another size, and points taken there and back.

Pixel centres are at integer coordinates at both sizes.
"""

import cv2
from jaxtyping import Float, UInt8
import numpy as np


def resize_by(
  photo: UInt8[np.ndarray, "H W 3"], factor: float
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "2"]]:
  """Enlarges (cubic) or shrinks (by areas) a photo.

  Args:
    photo: RGB, `[H, W, 3]`.
    factor: What its sides are multiplied by, rounded to whole pixels.

  Returns:
    The photo, the same one where its size does not change; and what x and y
    were multiplied by, `[2]`.
  """
  height, width = photo.shape[:2]
  size = resized(height, width, factor)[::-1]
  if size != (width, height):
    method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    photo = cv2.resize(photo, size, interpolation=method)
  return photo, np.array([size[0] / width, size[1] / height])


def resized(height: int, width: int, factor: float) -> tuple[int, int]:
  """Height and width of what `resize_by` makes of a photo."""
  return max(1, round(height * factor)), max(1, round(width * factor))


def points_after(
  points: Float[np.ndarray, "N 2"], factors: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "N 2"]:
  """Where a photo's points are once it has been resized."""
  return (points + 0.5) * factors[None] - 0.5


def points_before(
  points: Float[np.ndarray, "N 2"], factors: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "N 2"]:
  """Where points of a resized photo were before."""
  return (points + 0.5) / factors[None] - 0.5
