"""Colours of photographs between their pixels."""

import cv2
from jaxtyping import Float, UInt8
import numpy as np


def sample_photo(
  photo: UInt8[np.ndarray, "H W 3"], places: Float[np.ndarray, "h w 2"]
) -> UInt8[np.ndarray, "h w 3"]:
  """A picture of what is at places in a photo (bilinear, its edge beyond).

  Args:
    photo: RGB.
    places: x and y, pixels.
  """
  x, y = (np.ascontiguousarray(places[..., i], np.float32) for i in (0, 1))
  return cv2.remap(
    photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
  )


def fill_smoothly(
  picture: Float[np.ndarray, "H W 3"], known: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "H W 3"]:
  """A picture filled in from where it is known, ever more coarsely.

  Args:
    picture: What is known of it.
    known: How much that is, 0 to 1.
  """
  height, width = known.shape
  share = known[..., None]
  if min(height, width) < 2:
    total = np.maximum(share.sum((0, 1)), 1e-6)
    mean = (picture * share).sum((0, 1)) / total
    return share * picture + (1 - share) * mean
  size = (-(-width // 2), -(-height // 2))
  both = np.concatenate([picture * share, share], -1).astype(np.float32)
  small = cv2.resize(both, size, interpolation=cv2.INTER_AREA)
  weight = small[..., 3]
  mean = small[..., :3] / np.maximum(weight, 1e-6)[..., None]
  # What is a quarter known counts as known for the coarser picture.
  coarse = fill_smoothly(mean, np.minimum(4 * weight, 1))
  rest = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
  return share * picture + (1 - share) * rest
