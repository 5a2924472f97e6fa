"""Pictures that survive JPEG as photographs do."""

import cv2
import numpy as np


def smooth_picture(seed: int) -> np.ndarray:
  """`[112, 96, 3]` uint8 of soft blobs; another for each seed."""
  rng = np.random.default_rng(seed)
  blobs = rng.integers(0, 256, (14, 12, 3), np.uint8)
  return cv2.resize(blobs, (96, 112), interpolation=cv2.INTER_CUBIC)
