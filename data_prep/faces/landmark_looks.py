"""Two looks of the landmark network at faces in boxes, many at a time.

The network looks at the detector's box, then at the face that it found there,
upright and in the middle of its crop, each time together with the mirror image;
what it says of both is averaged.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import hashlib
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8
import numpy as np

from data_prep.photos.crops import Template, warp_crop
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.landmark_network import (
  CROP_PX,
  FacePoints,
  find_points,
  mapped_crops,
  mirrored_points,
  visibility_of,
)

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
_NASION, _CHIN = 27, 8
_MIDDLE = (CROP_PX - 1) / 2
# Only its size is read: the crop is no aligned one.
_CROP = Template("landmark network", np.zeros((5, 2)), CROP_PX, CROP_PX)
# Of the first look's points: what programs for one face and for many differ in
# is less, and shall not move the second look.
_DECIMALS = 2
# Faces that go through together; a program each.
_AT_ONCE = (1, 16)


@dataclasses.dataclass(frozen=True, eq=False)
class SeenLandmarks:
  """What the network says of one face, in photo pixels.

  Attributes:
    landmarks: iBUG landmarks, the jaw on the mesh, `[68, 2]`.
    spread: How unsure each is, the scale of a Laplace distribution, `[68]`.
    visibility: Probability that the face does not hide it, `[68]`.
    silhouette: The jaw as 2D detectors mark it, `[17, 2]`.
    unsureness: The spreads' median in sizes of the face; what is no face has
      a large one.
  """

  landmarks: Float[np.ndarray, "68 2"]
  spread: Float[np.ndarray, "68"]
  visibility: Float[np.ndarray, "68"]
  silhouette: Float[np.ndarray, "17 2"]
  unsureness: float


def weights_digest(weights: str | os.PathLike[str]) -> str:
  """What stands for a file of weights in a stage's settings."""
  return hashlib.sha256(pathlib.Path(weights).read_bytes()).hexdigest()


def see_landmarks(
  params: Any,
  photos: Sequence[UInt8[np.ndarray, "H W 3"]],
  boxes: Sequence[Float[np.ndarray, "4"]],
) -> list[SeenLandmarks]:
  """Looks twice into boxes of photos.

  Args:
    params: Of the landmark network.
    photos: RGB, `[H, W, 3]`; one may come more than once.
    boxes: One of each, as MTCNN gives them.

  Returns:
    What is seen in each, whether it is a face or not.
  """
  if not photos:
    return []
  first = [first_matrix(box) for box in boxes]
  found = _look(params, photos, first)
  second = [
    second_matrix(np.round(_before(points, matrix), _DECIMALS))
    for points, matrix in zip(found.points, first, strict=True)
  ]
  found = _look(params, photos, second)
  return [
    _seen(jax.tree.map(lambda array, place=place: array[place], found), matrix)
    for place, matrix in enumerate(second)
  ]


def _look(
  params: Any, photos: Sequence[np.ndarray], matrices: Sequence[np.ndarray]
) -> FacePoints:
  """What the network says of crops, all of them."""
  found = []
  for start in range(0, len(photos), _AT_ONCE[-1]):
    part = slice(start, start + _AT_ONCE[-1])
    crops = [
      warp_crop(photo, matrix, _CROP)
      for photo, matrix in zip(photos[part], matrices[part], strict=True)
    ]
    size = next(size for size in _AT_ONCE if size >= len(crops))
    filled = np.zeros((size, CROP_PX, CROP_PX, 3), np.uint8)
    filled[: len(crops)] = crops
    seen = jax.device_get(_program()(params, filled))
    found.append(_first(seen, len(crops)))
  return jax.tree.map(lambda *arrays: np.concatenate(arrays), *found)


def _first(found: FacePoints, count: int) -> FacePoints:
  return jax.tree.map(lambda array: array[:count], found)


@functools.cache
def _program() -> Callable[..., FacePoints]:
  """The network on uint8 crops and their mirror images."""

  def look(params: Any, crops: jax.Array) -> FacePoints:
    mapped = mapped_crops(crops)
    both = find_points(params, jnp.concatenate([mapped, mapped[:, :, ::-1]]))
    count = len(crops)
    plain, turned = (
      jax.tree.map(lambda a, part=part: a[part], both)
      for part in (slice(None, count), slice(count, None))
    )
    return jax.tree.map(
      lambda a, b: (a + b) / 2, plain, mirrored_points(turned)
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


def _seen(found: FacePoints, matrix: np.ndarray) -> SeenLandmarks:
  scale = np.hypot(matrix[0, 0], matrix[1, 0])
  landmarks = _before(np.asarray(found.points), matrix).astype(np.float32)
  size = np.sqrt(max(float(np.prod(np.ptp(landmarks, axis=0))), 1e-6))
  spread = np.asarray(found.spread_px / scale, np.float32)
  return SeenLandmarks(
    landmarks=landmarks,
    spread=spread,
    visibility=np.asarray(visibility_of(found)),
    silhouette=_before(np.asarray(found.silhouette), matrix).astype(np.float32),
    unsureness=float(np.median(spread)) / size,
  )
