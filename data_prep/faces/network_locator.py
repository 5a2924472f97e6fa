"""Landmarks by this project's own network, trained on the synthetic world.

The network looks twice: at the detector's box, then at the face that it found
there, upright and in the middle of its crop, together with the mirror image.
What it says of both is averaged, and is the face as it lies in the photo.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import hashlib
import os
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.detection_rows import FindFaces, choose_faces
from data_prep.faces.locators import LocatedFace, NoFaceError, inside_photo
from data_prep.faces.mtcnn.detector import Detector
from data_prep.faces.second_look import looking_twice
from data_prep.photos.crops import Template, warp_crop
from data_prep.stages.rows import PhotoRow
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.landmark_files import SHIPPED, load_landmark_params
from disentangle3d.network.landmark_network import (
  CROP_PX,
  FacePoints,
  find_points,
  mapped_crops,
  mirrored_points,
  visibility_of,
)

NAME = "synthetic 68"
LICENCES = {
  "landmark network": (
    "Apache-2.0; trained on renderings of ICT-FaceKit (MIT, USC Institute for"
    " Creative Technologies)"
  )
}
# MTCNN's boxes of rendered faces at every yaw, medians: the box of the 68
# points is lower by this share of the detector's and smaller by its inverse.
_LOWER, _LARGER = 0.15, 1.17
# Root of a box's width over its height.
_WIDTH = 0.87
# Sides of the crops, in sides of the points' box.
_FIRST_SIDE, _SECOND_SIDE = 1.5, 1.4
_SMALLEST_PX = 12
_NASION, _CHIN = 27, 8
# A face whose points are worse than this share of its size is none.
_LARGEST_SPREAD = 0.12
_MIDDLE = (CROP_PX - 1) / 2
# Only its size is read: the crop is no aligned one.
_CROP = Template("landmark network", np.zeros((5, 2)), CROP_PX, CROP_PX)


class NetworkLocator:
  """Looks into the box given, or into MTCNN's box nearest the centre."""

  name = NAME
  licences: Mapping[str, str] = LICENCES

  def __init__(self, weights: str | os.PathLike[str] = SHIPPED) -> None:
    """Loads the network.

    Args:
      weights: What train_locator exported.

    Raises:
      UserFileNotFoundError: There is no such file.
      UserError: It holds something else.
    """
    self._params = jax.device_put(load_landmark_params(weights))
    self.settings: Mapping[str, object] = {
      "locator": "synthetic",
      "weights": hashlib.sha256(pathlib.Path(weights).read_bytes()).hexdigest(),
    }

  def locate(
    self, photo: UInt8[np.ndarray, "H W 3"], row: PhotoRow | None = None
  ) -> LocatedFace:
    """See `Locator`."""
    if min(photo.shape[:2]) < _SMALLEST_PX:
      raise NoFaceError(
        f"photo too small: {photo.shape[1]} x {photo.shape[0]} px"
      )
    box = _given_box(row)
    if box is None:
      box = _nearest_box(photo)
    (face,) = self.locate_all([photo], [box])
    if face is None:
      raise NoFaceError("no face in the box: the landmarks are too unsure")
    return face

  def locate_all(
    self,
    photos: Sequence[UInt8[np.ndarray, "H W 3"]],
    boxes: Sequence[Float[np.ndarray, "4"]],
  ) -> list[LocatedFace | None]:
    """Locates the faces in some photos' boxes, all together.

    Args:
      photos: RGB, `[H, W, 3]`.
      boxes: One of each, as MTCNN gives them.

    Returns:
      The faces; None where the points are too unsure to be a face's.
    """
    first = [first_matrix(box) for box in boxes]
    found = self._look(photos, first)
    second = [
      second_matrix(_before(points, matrix))
      for points, matrix in zip(found.points, first, strict=True)
    ]
    found = self._look(photos, second)
    return [
      _face(photos[i], boxes[i], second[i], _one_of(found, i))
      for i in range(len(photos))
    ]

  def _look(
    self, photos: Sequence[np.ndarray], matrices: Sequence[np.ndarray]
  ) -> FacePoints:
    crops = np.stack(
      [
        warp_crop(photo, matrix, _CROP)
        for photo, matrix in zip(photos, matrices, strict=True)
      ]
    )
    return jax.device_get(_program()(self._params, crops))


@functools.cache
def _program() -> Callable[..., FacePoints]:
  """The network on uint8 crops and their mirror images."""

  def look(params: object, crops: jax.Array) -> FacePoints:
    mapped = mapped_crops(crops)
    both = find_points(params, jnp.concatenate([mapped, mapped[:, :, ::-1]]))
    count = len(crops)
    plain, mirrored = (
      jax.tree.map(lambda a, part=part: a[part], both)
      for part in (slice(None, count), slice(count, None))
    )
    return jax.tree.map(
      lambda a, b: (a + b) / 2, plain, mirrored_points(mirrored)
    )

  return jax.jit(look, compiler_options=cpu_compiler_options())


def first_matrix(box: Float[np.ndarray, "4"]) -> Float[np.ndarray, "2 3"]:
  """From photo to crop, for a box of MTCNN."""
  corner, far = np.reshape(np.asarray(box, np.float64), (2, 2))
  side = np.sqrt(max(float(np.prod(far - corner)), 1.0))
  centre = (corner + far) / 2 + np.array([0, _LOWER * side])
  return _matrix(centre, _FIRST_SIDE * side / _LARGER, np.eye(2))


def box_of_points(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "4"]:
  """About MTCNN's box of a face with these landmarks."""
  low, high = points.min(0), points.max(0)
  side = _LARGER * np.sqrt(np.prod(high - low))
  centre = (low + high) / 2 - np.array([0, _LOWER * side])
  half = side / 2 * np.array([_WIDTH, 1 / _WIDTH])
  return np.concatenate([centre - half, centre + half]).astype(np.float32)


def second_matrix(
  points: Float[np.ndarray, "68 2"],
) -> Float[np.ndarray, "2 3"]:
  """From photo to crop, for a face's points: upright, in the middle."""
  up = points[_NASION] - points[_CHIN]
  length = max(float(np.hypot(*up)), 1e-6)
  # Takes `up` to (0, -1): the image's y points down.
  cos, sin = -up[1] / length, up[0] / length
  turn = np.array([[cos, sin], [-sin, cos]])
  turned = points @ turn.T
  low, high = turned.min(0), turned.max(0)
  side = np.sqrt(max(float(np.prod(high - low)), 1.0))
  return _matrix(turn.T @ ((low + high) / 2), _SECOND_SIDE * side, turn)


def _matrix(
  centre: np.ndarray, side: float, turn: np.ndarray
) -> Float[np.ndarray, "2 3"]:
  linear = CROP_PX / side * turn
  return np.concatenate([linear, (_MIDDLE - linear @ centre)[:, None]], 1)


def _before(
  points: Float[np.ndarray, "P _"], matrix: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "P 2"]:
  """Where points of the crop are in the photo."""
  return np.linalg.solve(matrix[:, :2], (points[:, :2] - matrix[:, 2]).T).T


def _one_of(found: FacePoints, place: int) -> FacePoints:
  return jax.tree.map(lambda array: array[place], found)


def _face(
  photo: np.ndarray, box: np.ndarray, matrix: np.ndarray, found: FacePoints
) -> LocatedFace | None:
  scale = np.hypot(matrix[0, 0], matrix[1, 0])
  landmarks = _before(np.asarray(found.points), matrix).astype(np.float32)
  size = np.sqrt(np.prod(np.ptp(landmarks, axis=0)))
  spread = np.asarray(found.spread_px / scale, np.float32)
  if not np.median(spread) < _LARGEST_SPREAD * size:
    return None
  seen = np.asarray(visibility_of(found)) > 0.5
  return LocatedFace(
    box=np.asarray(box, np.float32),
    landmarks=landmarks,
    visibility=inside_photo(landmarks, photo) * seen,
    spread=spread,
    silhouette=_before(np.asarray(found.silhouette), matrix).astype(np.float32),
  )


def _given_box(row: PhotoRow | None) -> np.ndarray | None:
  return None if row is None else row.box


@functools.cache
def _find() -> FindFaces:
  return looking_twice(Detector(most_photos=1))


def _nearest_box(photo: np.ndarray) -> np.ndarray:
  (faces,) = _find()([photo])
  chosen = choose_faces(faces, photo.shape[:2], "centre")
  if not chosen:
    raise NoFaceError("no face found")
  return faces.boxes[chosen[0]]
