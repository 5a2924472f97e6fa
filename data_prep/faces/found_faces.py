"""The faces of a photo: boxes, landmarks, crops.

MTCNN finds the boxes and five points, the landmark network that ships the 68
landmarks in each box. The crop is cut by the points of the landmarks (the
alignment that training used), by MTCNN's five where there are none. In a crop
the face is where its template has it.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import os
import pathlib

from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.landmark_looks import box_of_points
from data_prep.faces.locators import LocatedFace, NoFaceError
from data_prep.faces.mtcnn.detector import (
  DETECTION_SIDE,
  Detector,
  Faces,
  Settings,
)
from data_prep.faces.network_locator import NetworkLocator
from data_prep.faces.second_look import looking_twice
from data_prep.photos.crops import face_matrix, warp_crop
from data_prep.photos.loose_photos import read_loose_photo
from data_prep.stages.rows import PhotoRow
from disentangle3d.crop_templates import (
  LANDMARK_TEMPLATE,
  SPHEREFACE,
  TEMPLATES,
)
from disentangle3d.geometry import five_points
from disentangle3d.types import (
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  UserError,
  check_choice,
)

# Around a box, in its sides, what the landmarks are looked for in.
_MARGIN = 0.6
# The package's pyramid: half the levels of `detect_faces`, next to no face less
# (docs/measurements/2026-12-01_detection_cpu.md).
_SETTINGS = Settings(factor=0.709)
_SMALL_FACE = "the face is smaller than the crop, which was enlarged"


@dataclasses.dataclass(frozen=True, eq=False)
class FoundFace:
  """One face of a photo.

  Attributes:
    crop: What the network sees, `[112, 96, 3]` RGB.
    crop_from_photo: crop = matrix [x, y, 1], `[2, 3]`.
    box: x0, y0, x1, y1 in photo pixels, `[4]`; None if precropped.
    score: The detector's probability of a face; 1 if precropped.
    landmarks: `[68, 2]`, photo pixels, or None.
    visibility: `[68]`; 0 outside the photo, all 0 without landmarks.
    five_points: MTCNN's eyes, nose tip and mouth corners, `[5, 2]`, photo
      pixels; None if precropped.
    notes: What is odd about it.
  """

  crop: UInt8[np.ndarray, "112 96 3"]
  crop_from_photo: Float[np.ndarray, "2 3"]
  box: Float[np.ndarray, "4"] | None
  score: float
  landmarks: Float[np.ndarray, "68 2"] | None
  visibility: Float[np.ndarray, "68"]
  five_points: Float[np.ndarray, "5 2"] | None = None
  notes: tuple[str, ...] = ()


# What finds the boxes in photos, and the landmarks in one that shows a face
# (`locators.Locator.locate`; the row has its box, or is None).
FindBoxes = Callable[[Sequence[np.ndarray]], list[Faces]]
Locate = Callable[[np.ndarray, PhotoRow | None], LocatedFace]


class FaceFinder:
  """Finds faces and crops them."""

  def __init__(
    self,
    find: FindBoxes | None = None,
    locate: Locate | None = None,
    *,
    template: str,
    side: int = DETECTION_SIDE,
  ) -> None:
    """Loads MTCNN and the landmark network, unless others are given.

    Args:
      find: In place of MTCNN.
      locate: In place of the landmark network.
      template: What crops are aligned by: the network's `model.template`.
      side: Photos with a longer side are shrunk to it for MTCNN.

    Raises:
      UserModuleNotFoundError: The extra `detect` is not installed.
    """
    check_choice("template", template, TEMPLATES)
    self._template = template
    self._find = find or _find_boxes(side)
    self._locate = locate or _landmark_network().locate

  def find(self, photo: UInt8[np.ndarray, "H W 3"]) -> list[FoundFace]:
    """All faces of a photo, the largest first.

    Args:
      photo: RGB, `[H, W, 3]`.

    Returns:
      The faces; none if there is none.
    """
    (faces,) = self._find([photo])
    order = np.argsort(-np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], -1))
    return [
      self._found(
        photo,
        faces.boxes[place],
        faces.points[place],
        float(faces.scores[place]),
      )
      for place in order.tolist()
    ]

  def _found(
    self, photo: np.ndarray, box: np.ndarray, points: np.ndarray, score: float
  ) -> FoundFace:
    landmarks, visibility = _landmarks_in(photo, box, self._locate)
    five, notes = points.astype(np.float32), []
    matrix = face_matrix(landmarks, five, self._template)
    if np.hypot(matrix[0, 0], matrix[1, 0]) > 1:
      notes.append(_SMALL_FACE)
    return FoundFace(
      crop=warp_crop(photo, matrix),
      crop_from_photo=matrix,
      box=box.astype(np.float32),
      score=score,
      landmarks=landmarks,
      visibility=visibility,
      five_points=five,
      notes=tuple(notes),
    )


def find_face(
  photo: str | os.PathLike[str] | UInt8[np.ndarray, "H W 3"], *, template: str
) -> FoundFace:
  """The largest face of a photo, as `find_faces` finds it.

  Args:
    photo: A file, or RGB `[H, W, 3]`.
    template: What the crop is aligned by: the network's `model.template`, of
      the one that ships `"whole_face"`. In another crop a network sees nothing
      that it knows.

  Returns:
    The face; `crop` is what a network takes.

  Raises:
    UserError: The file is no photo, or there is no face in it.
    ValueError: The array is no RGB photo of uint8.
    UserModuleNotFoundError: The extra `detect` is not installed.
  """
  return find_faces(photo, finder=default_finder(template))[0]


def find_faces(
  photo: str | os.PathLike[str] | UInt8[np.ndarray, "H W 3"],
  *,
  finder: FaceFinder,
) -> list[FoundFace]:
  """All faces of a photo, the largest first.

  Args:
    photo: A file, or RGB `[H, W, 3]`.
    finder: Finds them, `default_finder(network.model.template)` for example.

  Returns:
    One face at least.

  Raises:
    UserError: The file is no photo, or there is no face in it.
    ValueError: The array is no RGB photo of uint8.
  """
  where = ""
  if isinstance(photo, (str, os.PathLike)):
    where = f"{os.fspath(photo)}: "
    read = read_loose_photo(photo)
    if read.image is None:
      raise UserError(f"{where}{read.reason}")
    photo = read.image
  if photo.dtype != np.uint8 or photo.shape[2:] != (3,):
    raise ValueError(
      f"photo: expected uint8 [H, W, 3], got {photo.dtype} {list(photo.shape)}"
    )
  faces = finder.find(photo)
  if not faces:
    raise UserError(f"{where}no face found")
  return faces


@functools.cache
def default_finder(template: str) -> FaceFinder:
  """MTCNN and the landmark network, loaded once a process.

  Raises:
    UserModuleNotFoundError: The extra `detect` is not installed.
  """
  return FaceFinder(template=template)


@functools.cache
def _find_boxes(side: int) -> FindBoxes:
  return looking_twice(Detector(_SETTINGS, side=side, most_photos=1))


@functools.cache
def _landmark_network() -> NetworkLocator:
  return NetworkLocator()


def precropped_face(
  photo: UInt8[np.ndarray, "H W 3"], locate: Locate | None, *, template: str
) -> FoundFace:
  """A photo that is an aligned crop already.

  Args:
    photo: RGB: `[112, 96, 3]`, or ArcFace's `[112, 112, 3]`, whose eight
      columns on either side are cut off to make it SphereFace's.
    locate: Finds landmarks in it; None goes without.
    template: What it is aligned by.

  Returns:
    The face.

  Raises:
    UserError: The photo has another size, or ArcFace's and the template is
      another than SphereFace's.
  """
  height, width = photo.shape[:2]
  wide = IMAGE_WIDTH + 16
  if width == wide and template != SPHEREFACE:
    raise UserError(
      f"expected a crop of {IMAGE_HEIGHT} x {IMAGE_WIDTH} px (height x width)"
      f" of the template {template!r}, got {height} x {width}"
    )
  if height != IMAGE_HEIGHT or width not in (IMAGE_WIDTH, wide):
    raise UserError(
      f"expected a crop of {IMAGE_HEIGHT} x {IMAGE_WIDTH} or {IMAGE_HEIGHT} x"
      f" {wide} px (height x width), got {height} x {width}"
    )
  cut = (width - IMAGE_WIDTH) // 2
  landmarks, visibility = None, np.zeros(68, np.float32)
  if locate is not None:
    try:
      box = _template_box(template) + np.array([cut, 0, cut, 0])
      located = locate(photo, _row(box))
      landmarks, visibility = located.landmarks, located.visibility
    except NoFaceError:
      pass
  return FoundFace(
    crop=np.ascontiguousarray(photo[:, cut : cut + IMAGE_WIDTH]),
    crop_from_photo=np.array([[1, 0, -cut], [0, 1, 0]], np.float32),
    box=None,
    score=1.0,
    landmarks=landmarks,
    visibility=visibility,
  )


def _template_box(template: str) -> Float[np.ndarray, "4"]:
  """Where a crop of a template has a frontal face, as MTCNN marks it."""
  points = LANDMARK_TEMPLATE
  matrix = face_matrix(points, np.asarray(five_points(points)), template)
  return box_of_points(points @ matrix[:, :2].T + matrix[None, :, 2])


def _row(box: np.ndarray) -> PhotoRow:
  return PhotoRow(
    image_path=pathlib.Path(),
    subject="",
    image_id="",
    status="ok",
    box=box.astype(np.float32),
  )


def _landmarks_in(
  photo: np.ndarray, box: np.ndarray, locate: Locate
) -> tuple[np.ndarray | None, np.ndarray]:
  """Landmarks of the face in a box, photo pixels, and which are inside."""
  margin = _MARGIN * max(box[2] - box[0], box[3] - box[1])
  x0, y0 = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
  x1, y1 = np.ceil(box[2:] + margin).astype(int) + 1
  row = _row(box - np.array([x0, y0, x0, y0]))
  try:
    face = locate(np.ascontiguousarray(photo[y0:y1, x0:x1]), row)
  except NoFaceError:
    return None, np.zeros(68, np.float32)
  landmarks = (face.landmarks + np.array([[x0, y0]])).astype(np.float32)
  far = np.array([[photo.shape[1], photo.shape[0]]]) - 0.5
  inside = np.all((landmarks >= -0.5) & (landmarks <= far), axis=-1)
  return landmarks, inside * np.asarray(face.visibility, np.float32)
