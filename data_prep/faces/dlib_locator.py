"""Faces and 68 landmarks by dlib (the extra `detect`), without a download.

dlib's own frontal face detector (HOG) and the 68-point regression trees
(Kazemi and Sullivan 2014) whose file the package face_recognition_models
carries.
"""

from collections.abc import Mapping
import importlib
import importlib.util
import pathlib
from typing import Any

from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.locators import LocatedFace, NoFaceError, inside_photo
from data_prep.photos.resizing import points_after, points_before, resize_by
from data_prep.stages.extras import require
from data_prep.stages.rows import PhotoRow
from disentangle3d.types import NUM_LANDMARKS, UserFileNotFoundError

NAME = "dlib 68"
WEIGHTS = "shape_predictor_68_face_landmarks.dat"
LICENCES = {
  "dlib, face detector": "Boost Software License 1.0",
  WEIGHTS: (
    "trained on iBUG 300-W, whose licence excludes commercial use (ask"
    " Imperial College London); packaged by face_recognition_models as CC0"
  ),
}
# The detector's smallest face is 80 px wide. Below the first length of the
# short side a photo is enlarged (ORL's 92 x 112 three times), above the second
# one of the long side it is shrunk.
_SHORT_SIDE_PX = 270
_LONG_SIDE_PX = 1600
_MOST_ENLARGED = 4.0
_SMALLEST_PX = 20
# dlib's own box of a face, whose predictor was trained on such, in MTCNN's:
# how much lower, in heights, and its side, in roots of the area. Medians over
# 200 frontal photographs (ORL).
_BOX_LOWER = 0.06
_BOX_SIDE = 0.93


class DlibLocator:
  """Finds the face nearest the centre of a photo, or takes the box given."""

  name = NAME
  licences: Mapping[str, str] = LICENCES

  def __init__(self) -> None:
    """Loads detector and predictor.

    Raises:
      UserModuleNotFoundError: The extra `detect` is not installed.
    """
    weights = find_weights(WEIGHTS)
    dlib = importlib.import_module("dlib")
    self.settings: Mapping[str, object] = {
      "locator": "dlib",
      "dlib": dlib.__version__,
    }
    self._detector: Any = dlib.get_frontal_face_detector()
    self._predictor: Any = dlib.shape_predictor(str(weights))
    self._rectangle: Any = dlib.rectangle

  def __reduce__(self) -> tuple[type["DlibLocator"], tuple[()]]:
    # Another process loads the weights itself.
    return type(self), ()

  def locate(
    self, photo: UInt8[np.ndarray, "H W 3"], row: PhotoRow | None = None
  ) -> LocatedFace:
    """Locates one face.

    Args:
      photo: RGB, `[H, W, 3]`.
      row: With the box of a face detector (MTCNN); without, dlib's own
        detector looks for the face.

    Returns:
      The face; of those that dlib finds the one whose box's centre is nearest
      the photo's.

    Raises:
      NoFaceError: No face was found, or the photo is too small; says which.
    """
    height, width = photo.shape[:2]
    if min(height, width) < _SMALLEST_PX:
      raise NoFaceError(f"photo too small: {width} x {height} px")
    scaled, factor = _rescale(photo)
    given = None if row is None else row.box
    if given is None:
      box = self._nearest_box(scaled)
    else:
      left, top, right, bottom = map(round, _predictor_box(given, factor))
      box = self._rectangle(left, top, right, bottom)
    parts = self._predictor(scaled, box)
    points = np.array(
      [[parts.part(i).x, parts.part(i).y] for i in range(NUM_LANDMARKS)]
    )
    if given is None:
      corners = [[box.left(), box.top()], [box.right(), box.bottom()]]
      given = points_before(np.array(corners, np.float64), factor).reshape(4)
    landmarks = points_before(points, factor).astype(np.float32)
    return LocatedFace(
      box=np.asarray(given, np.float32),
      landmarks=landmarks,
      visibility=inside_photo(landmarks, photo),
    )

  def _nearest_box(self, photo: np.ndarray) -> Any:
    boxes = list(self._detector(photo, 0))
    if not boxes:
      raise NoFaceError("no face found")
    centre = np.array([photo.shape[1] - 1, photo.shape[0] - 1]) / 2

    def distance(box: Any) -> float:
      middle = [(box.left() + box.right()) / 2, (box.top() + box.bottom()) / 2]
      return float(np.sum((np.array(middle) - centre) ** 2))

    return min(boxes, key=distance)


def _predictor_box(
  box: Float[np.ndarray, "4"], factor: np.ndarray
) -> Float[np.ndarray, "4"]:
  """The predictor's square for a detector's box, in the rescaled photo."""
  corner, far = points_after(np.reshape(box, (2, 2)), factor).tolist()
  width, height = far[0] - corner[0], far[1] - corner[1]
  middle = [
    (corner[0] + far[0]) / 2,
    (corner[1] + far[1]) / 2 + _BOX_LOWER * height,
  ]
  half = _BOX_SIDE * np.sqrt(width * height) / 2
  return np.concatenate([np.array(middle) - half, np.array(middle) + half])


def find_weights(name: str) -> pathlib.Path:
  """A file of face_recognition_models; importing it would need pkg_resources.

  Raises:
    UserModuleNotFoundError: The extra `detect` is not installed.
    UserFileNotFoundError: The package lacks the file.
  """
  require("detect", "to locate landmarks", "dlib", "face_recognition_models")
  package = importlib.util.find_spec("face_recognition_models")
  for folder in (package and package.submodule_search_locations) or ():
    if (pathlib.Path(folder) / "models" / name).is_file():
      return pathlib.Path(folder) / "models" / name
  raise UserFileNotFoundError(
    f"models/{name}: not in the installed package face_recognition_models;"
    " install it again"
  )


def _rescale(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The photo at the detector's size; as `resize_by`."""
  height, width = photo.shape[:2]
  factor = 1.0
  if min(height, width) < _SHORT_SIDE_PX:
    factor = min(_MOST_ENLARGED, _SHORT_SIDE_PX / min(height, width))
  if max(height, width) * factor > _LONG_SIDE_PX:
    factor = _LONG_SIDE_PX / max(height, width)
  return resize_by(photo, factor)
