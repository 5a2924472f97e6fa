"""The crop of a face: where its points go, and the photo under it."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import cv2
import jax
from jaxtyping import Float, Int, UInt8
import numpy as np

from data_prep.photos.resizing import resize_by
from disentangle3d import crop_templates
from disentangle3d.crop_templates import LANDMARK_TEMPLATE
from disentangle3d.geometry import five_points, similarity_2d
from disentangle3d.types import (
  CROP_TEMPLATE,
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  UserError,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
  """Where points of a face come to lie in a crop.

  Attributes:
    title: For about.json.
    points: Eyes, nose tip, mouth corners, or all of iBUG-68, `[P, 2]`, crop
      pixels.
    height: Of the crop.
    width: Of the crop.
  """

  title: str
  points: Float[np.ndarray, "P 2"]
  height: int
  width: int


SPHEREFACE = Template(
  "SphereFace, 112 x 96", CROP_TEMPLATE, IMAGE_HEIGHT, IMAGE_WIDTH
)


# The same, with 8 pixels more on either side.
ARCFACE = Template(
  "ArcFace, 112 x 112",
  CROP_TEMPLATE + np.array([[8, 0]], np.float32),
  IMAGE_HEIGHT,
  112,
)


WHOLE_FACE = Template(
  "all 68 landmarks, 112 x 96", LANDMARK_TEMPLATE, IMAGE_HEIGHT, IMAGE_WIDTH
)


TEMPLATES = {
  crop_templates.SPHEREFACE: SPHEREFACE,
  "arcface": ARCFACE,
  crop_templates.WHOLE_FACE: WHOLE_FACE,
}


def template_in(settings: Mapping[str, Any]) -> str:
  """What a stage's crops are aligned by, one of `TEMPLATES`.

  Args:
    settings: Of align_faces, which tells a title, or of render_synthetic, which
      tells a name where it is not SphereFace's.
  """
  title = settings.get("crop_template")
  for name, template in TEMPLATES.items():
    if template.title == title:
      return name
  return str(settings.get("template", crop_templates.SPHEREFACE))


# Op by op it takes more time than the rest of a crop.
_similarity = jax.jit(similarity_2d)
_aligned = jax.jit(crop_templates.aligned_points, static_argnames="template")
_five_points = jax.jit(five_points)


# Points closer together than this are no face.
_LEAST_SPREAD_PX = 1.0


def crop_matrix(
  points: Float[np.ndarray, "P 2"], template: Template = SPHEREFACE
) -> Float[np.ndarray, "2 3"]:
  """`crop_from_photo` of a face.

  Args:
    points: Those of the template, `[P, 2]`, photo pixels.
    template: Where they go.

  Returns:
    crop = matrix [x, y, 1], `[2, 3]`.

  Raises:
    UserError: The points coincide.
  """
  points = np.asarray(points, np.float32)
  if np.ptp(points, axis=0).max() < _LEAST_SPREAD_PX:
    what = "five points" if len(points) == 5 else "landmarks"
    raise UserError(f"the {what} coincide")
  return np.asarray(_similarity(points, template.points))


def face_matrix(
  landmarks: Float[np.ndarray, "68 2"] | None,
  five: Float[np.ndarray, "5 2"],
  template: str = crop_templates.SPHEREFACE,
) -> Float[np.ndarray, "2 3"]:
  """`crop_from_photo` of a face for a network.

  Args:
    landmarks: iBUG-68, photo pixels, or None.
    five: A detector's points, taken where there are no landmarks.
    template: One of `crop_templates.TEMPLATES`.

  Returns:
    crop = matrix [x, y, 1], `[2, 3]`.

  Raises:
    UserError: The points coincide.
  """
  whole = TEMPLATES[template]
  if landmarks is not None:
    return crop_matrix(_aligned(landmarks, template), whole)
  if len(whole.points) != len(five):
    whole = dataclasses.replace(whole, points=_five_points(whole.points))
  return crop_matrix(five, whole)


def warp_crop(
  photo: UInt8[np.ndarray, "H W 3"],
  matrix: Float[np.ndarray, "2 3"],
  template: Template = SPHEREFACE,
) -> UInt8[np.ndarray, "h w 3"]:
  """The crop that `crop_from_photo` makes of a photo.

  A photo that shrinks to less than half is averaged down first, so that no
  pixel is left out.

  Args:
    photo: RGB, `[H, W, 3]`.
    matrix: `crop_from_photo`, `[2, 3]`.
    template: For the crop's size.

  Returns:
    RGB, `[h, w, 3]`; black outside the photo.
  """
  matrix = np.asarray(matrix, np.float64)
  scale = np.hypot(matrix[0, 0], matrix[1, 0])
  if scale < 0.5:
    photo, low = _part_around(photo, matrix, template)
    if not photo.size:
      return np.zeros((template.height, template.width, 3), np.uint8)
    matrix = np.concatenate(
      [matrix[:, :2], (matrix @ [*low, 1])[:, None]], axis=1
    )
    photo, factors = resize_by(photo, 2 * scale)
    enlarge = 1 / factors
    # x = (x_small + 0.5) enlarge - 0.5, pixel centres at integers in both.
    shift = matrix[:, :2] @ (0.5 * enlarge - 0.5) + matrix[:, 2]
    matrix = np.concatenate(
      [matrix[:, :2] * enlarge[None], shift[:, None]], axis=1
    )
  size = (template.width, template.height)
  return cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR)


def _part_around(
  photo: UInt8[np.ndarray, "H W 3"],
  matrix: Float[np.ndarray, "2 3"],
  template: Template,
) -> tuple[UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "2"]]:
  """What of a photo a crop may show, and x and y of its upper left pixel."""
  far = np.array([template.width, template.height]) - 1
  corners = np.array([[0, 0], [far[0], 0], [0, far[1]], far])
  seen = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T).T
  # Where the shrunk photo is interpolated and averaged, the crop needs more.
  margin = np.ceil(2 / np.hypot(matrix[0, 0], matrix[1, 0]))
  size = np.array([photo.shape[1], photo.shape[0]])
  low = np.clip(np.floor(seen.min(0)) - margin, 0, size).astype(int)
  high = np.clip(np.ceil(seen.max(0)) + margin + 1, 0, size).astype(int)
  return photo[low[1] : high[1], low[0] : high[0]], low
