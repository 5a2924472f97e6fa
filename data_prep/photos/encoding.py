"""Pictures to bytes of a file, by OpenCV."""

import cv2
from jaxtyping import UInt8, UInt16
import numpy as np


def png_bytes(
  picture: UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W"],
) -> bytes:
  """The picture, RGB or 16 bits of grey, as a PNG file.

  At OpenCV's own settings: a seventh larger than at a compression that is
  asked for, the least included, which takes twice the time.
  """
  if picture.ndim == 3:
    picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
  _, content = cv2.imencode(".png", picture)
  return content.tobytes()


def jpeg_bytes(
  picture: UInt8[np.ndarray, "H W 3"], *, quality: int = 90
) -> bytes:
  """The picture, RGB, as a JPEG file."""
  _, content = cv2.imencode(
    ".jpg",
    cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
    [cv2.IMWRITE_JPEG_QUALITY, quality],
  )
  return content.tobytes()
