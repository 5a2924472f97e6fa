"""Where a 2D detector would put the landmarks of a synthetic face."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.crop_templates import (
  aligned_points,
  crop_from_landmarks,
  template_points,
  template_scale,
)
from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  landmark_covariance,
)
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_points,
  main_landmark_vertices,
)
from disentangle3d.geometry import (
  euler_from_rotation,
  five_points,
  similarity_2d,
)
from disentangle3d.types import CROP_TEMPLATE, NUM_CONTOUR

# The yaw from which a detector loses the contour of iBUG-68.
_CONTOUR_YAW_RAD = math.radians(15.0)
_CANDIDATES = 16
# Limits of the scale of a crop, against that of the nominal photo. Without
# noise a frontal face has 1 and a profile of the procedural mean face 0.98.
_CROP_SCALES = (0.8, 1.25)


def nominal_scale(model: MorphableModel) -> Float[Array, ""]:
  """Scale at which the frontal mean face fits the crop, pixels a mm."""
  points = landmark_points(model, jnp.asarray(model.mean_shape))
  matrix = similarity_2d(
    five_points(points[:, :2] * jnp.asarray([[1.0, -1.0]], jnp.float32)),
    jnp.asarray(CROP_TEMPLATE),
  )
  return jnp.hypot(matrix[0, 0], matrix[1, 0])


def align_to_template(
  landmarks: Float[Array, "B 68 2"], template: str
) -> Float[Array, "B 2 3"]:
  """The template's similarity from a photo at nominal scale to the crop.

  The hidden eye of a profile is taken where the face has it, through the
  head: both eyes then coincide, and height (eyes to mouth) alone decides the
  scale. Should noise or a grimace take it out of 0.8 to 1.25 of what the
  template gives a frontal face it is set to that limit, the points' mean
  staying on the template's.

  Args:
    landmarks: iBUG landmarks, pixels of the photo, `[B, 68, 2]`.
    template: One of `crop_templates.TEMPLATES`.

  Returns:
    `crop_from_photo`, `[B, 2, 3]`.
  """
  source = aligned_points(landmarks, template)
  matrix = crop_from_landmarks(landmarks, template)
  scale = jnp.hypot(matrix[:, 0, 0], matrix[:, 1, 0])
  least, most = (template_scale(template) * limit for limit in _CROP_SCALES)
  factor = jnp.clip(scale, least, most) / scale
  linear = matrix[:, :, :2] * factor[:, None, None]
  middle = jnp.mean(jnp.asarray(template_points(template)), 0)
  shift = middle[None] - jnp.einsum("bij,bj->bi", linear, jnp.mean(source, 1))
  return jnp.concatenate([linear, shift[..., None]], -1)


def contour_candidates(model: MorphableModel) -> Int[Array, "17 16"]:
  """Vertices that may carry each contour landmark, on the host.

  From each landmark they run inwards at its height to 40 % of its distance
  from the middle. The first is the landmark itself.
  """
  mean = np.asarray(model.mean_shape, np.float64)
  landmarks = np.asarray(main_landmark_vertices(model))[:NUM_CONTOUR]
  found = np.zeros((NUM_CONTOUR, _CANDIDATES), np.int32)
  for number, vertex in enumerate(np.maximum(landmarks, 0)):
    found[number, 0] = vertex
    previous = mean[vertex]
    for step in range(1, _CANDIDATES):
      share = 1 - 0.6 * step / (_CANDIDATES - 1)
      target = np.array([mean[vertex, 0] * share, mean[vertex, 1]])
      square = ((mean[:, :2] - target) ** 2).sum(1)
      # Stay on the outside: do not jump to a surface far behind.
      square = square + 0.1 * np.minimum(mean[:, 2] - previous[2], 0) ** 2
      found[number, step] = np.argmin(square)
      previous = mean[found[number, step]]
  return jnp.asarray(found)


def photo_landmark_vertices(
  model: MorphableModel,
  contour: Int[Array, "17 C"] | None,
  shape: Float[Array, "B V 3"],
  rotation: Float[Array, "B 3 3"],
) -> Int[Array, "B 68"]:
  """The vertex of each landmark in each photo.

  Args:
    model: Where landmarks are when fixed; vertex 0 stands for none.
    contour: From `contour_candidates`: beyond 15 degrees of yaw each contour
      landmark of the far side takes the candidate farthest out, across the
      head's own axis. None keeps all on their fixed vertices.
    shape: Shapes, `[B, V, 3]`.
    rotation: Poses, `[B, 3, 3]`.

  Returns:
    Vertices, `[B, 68]` int32.
  """
  fixed = jnp.maximum(main_landmark_vertices(model).astype(jnp.int32), 0)
  fixed = jnp.broadcast_to(fixed[None], (shape.shape[0], fixed.shape[0]))
  if contour is None:
    return fixed
  # rotation = R_z(roll) R_x(pitch) R_y(yaw): seen along this axis roll is out.
  yaw = jnp.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
  across = jnp.stack([jnp.cos(yaw), 0 * yaw, jnp.sin(yaw)], -1)
  points = shape[:, contour]
  outwards = jnp.sign(yaw)[:, None, None] * jnp.einsum(
    "blcj,bj->blc", points, across
  )
  best = jnp.argmax(outwards, -1)
  slid = jnp.take_along_axis(
    jnp.broadcast_to(contour[None], (shape.shape[0], *contour.shape)),
    best[..., None],
    -1,
  )[..., 0]
  far = jnp.asarray(np.sign(np.arange(NUM_CONTOUR) - 8), jnp.float32)
  slides = (far[None] * jnp.sign(yaw)[:, None] > 0) & (
    jnp.abs(yaw) > _CONTOUR_YAW_RAD
  )[:, None]
  moved = jnp.where(slides, slid, fixed[:, :NUM_CONTOUR])
  return jnp.concatenate([moved, fixed[:, NUM_CONTOUR:]], -1)


def marked_points(
  model: MorphableModel,
  vertices: Int[Array, "B 68"],
  shape: Float[Array, "B V 3"],
) -> Float[Array, "B 68 3"]:
  """The points that a detector marks in each photo.

  Args:
    model: Without a landmark calibration they are vertices; with one, points
      where that has them, and landmarks that slid along the contour are as
      far from their vertices as they are where they did not.
    vertices: From `photo_landmark_vertices`.
    shape: Shapes, `[B, V, 3]`.

  Returns:
    Points, `[B, 68, 3]`, mm.
  """
  points = jnp.take_along_axis(shape, vertices[..., None], 1)
  if model.landmark_calibration is None:
    return points
  mean = jnp.asarray(model.mean_shape)
  fixed = jnp.maximum(main_landmark_vertices(model), 0)
  shift = landmark_points(model, mean) - mean[fixed]
  slid = vertices != fixed[None]
  return jnp.where(
    slid[..., None], points + shift[None], landmark_points(model, shape)
  )


def landmark_noise(
  calibration: LandmarkCalibration,
  normal: Float[Array, "B 68 2"],
  rotation: Float[Array, "B 3 3"],
) -> Float[Array, "B 68 2"]:
  """A detector's noise, as its landmark calibration has it.

  Args:
    calibration: With covariances.
    normal: Standard normal numbers, `[B, 68, 2]`.
    rotation: Poses, `[B, 3, 3]`.

  Returns:
    Noise, `[B, 68, 2]`, mm, x right, y down.

  Raises:
    ValueError: It has none.
  """
  yaw, _, roll = euler_from_rotation(rotation)
  covariance = landmark_covariance(calibration, yaw, roll)
  # The lower triangular root, by hand: LAPACK on batches can hang on CPU.
  first = jnp.sqrt(covariance[..., 0, 0])
  mixed = covariance[..., 0, 1] / first
  second = jnp.sqrt(covariance[..., 1, 1] - mixed * mixed)
  x, y = normal[..., 0], normal[..., 1]
  return jnp.stack([first * x, mixed * x + second * y], -1)
