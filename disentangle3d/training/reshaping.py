"""A photograph of one face made into one of another, with its coefficients.

A network sees as many shapes as there are people, which is few. Where a
photograph's camera and coefficients are known, other coefficients say where
each point of the face would be in the picture, and the picture is pulled
there: a new face with the same skin, light and background, and a label that
goes with it. Shading stays as it was, which is why the change is moderate.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
import numpy as np

from disentangle3d.crop_templates import SPHEREFACE, aligned_points
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.shading import normals_of
from disentangle3d.geometry import (
  Camera,
  apply_affine,
  invert_affine,
  project,
  similarity_2d,
)
from disentangle3d.training.resampling import bilinear
from disentangle3d.types import (
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  NUM_LANDMARKS,
  UserError,
)

# Points of the face that pull the picture, those farther from the nose tip
# than this aside: no crop reaches them.
_POINTS, _REACH_MM = 200, 150.0
_NOSE_TIP = 30
# The pull is computed every so many pixels, and interpolated.
_KNOT_PX = 4
# How far a point pulls, pixels (points are about 9 apart), and, that little,
# how far where no other is near.
_NEAR_PX, _FAR_PX, _FAR_SHARE = 6.0, 24.0, 2e-3
# Where no point is at all nothing moves.
_STILL = 1e-5
# A point seen from behind pulls so little; how sharply that sets in.
_HIDDEN, _SHARPNESS = 1e-3, 8.0


class ControlPoints(flax.struct.PyTreeNode):
  """Points of a 3DMM that say how a picture of a face moves.

  Attributes:
    mean: Where they are on the mean face, `[K, 3]`, mm; the 68 landmarks
      first.
    normal: Of the mean face there, `[K, 3]`.
    identity: How identity moves them, `[K, 3, I]`, mm a standard deviation.
    expression: Same of expression, `[K, 3, E]`.
    template: What crops are aligned by, one of `crop_templates.TEMPLATES`.
  """

  mean: Float[Array, "K 3"]
  normal: Float[Array, "K 3"]
  identity: Float[Array, "K 3 I"]
  expression: Float[Array, "K 3 E"]
  template: str = flax.struct.field(pytree_node=False, default=SPHEREFACE)

  def __call__(
    self, identity: Float[Array, "I"], expression: Float[Array, "E"]
  ) -> Float[Array, "K 3"]:
    """Where they are on a face, mm."""
    return self.mean + self.identity @ identity + self.expression @ expression


def control_points(
  model: MorphableModel, *, template: str = SPHEREFACE
) -> ControlPoints:
  """The landmarks of a model, and vertices evenly between them.

  Args:
    model: The 3DMM.
    template: What crops are aligned by.

  Raises:
    UserError: The model lacks a landmark.
  """
  marks = np.asarray(model.landmark_vertices)
  if marks.min() < 0:
    raise UserError(
      "model.landmark_vertices: expected all 68 to change faces by, got"
      f" {int((marks >= 0).sum())}"
    )
  mean = np.asarray(model.mean_shape)
  chosen = _spread_out(mean, marks)
  normals = normals_of(jnp.asarray(mean), jnp.asarray(model.triangles))
  return ControlPoints(
    mean=jnp.asarray(mean[chosen]),
    normal=normals[chosen],
    identity=jnp.asarray(model.identity_basis)[chosen],
    expression=jnp.asarray(model.expression_basis)[chosen],
    template=template,
  )


def changed_coefficients(
  key: Array, coefficients: Float[Array, "C"], largest_share: float
) -> Float[Array, "C"]:
  """Coefficients of which a share of the variance is drawn anew.

  Args:
    key: Consumed.
    coefficients: Standard deviations.
    largest_share: The share is uniform from 0 to this.

  Returns:
    sqrt(1 - share) old + sqrt(share) new, new from the prior: what follows
    N(0, 1) still does.
  """
  which, what = jax.random.split(key)
  share = largest_share * jax.random.uniform(which, (), coefficients.dtype)
  new = jax.random.normal(what, coefficients.shape, coefficients.dtype)
  return jnp.sqrt(1 - share) * coefficients + jnp.sqrt(share) * new


def reshaped_crop(
  points: ControlPoints,
  image: UInt8[Array, "112 96 3"],
  camera: Camera,
  old: tuple[Float[Array, "I"], Float[Array, "E"]],
  new: tuple[Float[Array, "I"], Float[Array, "E"]],
) -> UInt8[Array, "112 96 3"]:
  """The crop of the face with other coefficients.

  Args:
    points: Of the 3DMM.
    image: The crop.
    camera: Of the crop, without batch dimensions.
    old: Identity and expression coefficients of the face in it.
    new: Those of the face to be.

  Returns:
    The crop, aligned by the new face's points as this one is by its own.
  """
  before, after = project(camera, points(*old)), project(camera, points(*new))
  alignment = similarity_2d(
    *(
      aligned_points(marks[:NUM_LANDMARKS], points.template)
      for marks in (after, before)
    )
  )
  knots = apply_affine(invert_affine(alignment), jnp.asarray(_knots()))
  facing = points.normal @ camera.rotation[2]
  pull = _pull(knots, after, jax.nn.sigmoid(_SHARPNESS * facing) + _HIDDEN)
  rows, columns = _interpolation(IMAGE_HEIGHT), _interpolation(IMAGE_WIDTH)
  source = (knots - pull @ (after - before)).reshape(
    rows.shape[1], columns.shape[1], 2
  )
  places = jnp.einsum("yi,xj,ijc->yxc", rows, columns, source)
  values = bilinear(image, places.reshape(-1, 2)).reshape(image.shape)
  return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)


def _pull(
  places: Float[Array, "N 2"],
  points: Float[Array, "K 2"],
  weights: Float[Array, "K"],
) -> Float[Array, "N K"]:
  """How much each point has to say at each place; rows sum up to 1 or less."""
  square = jnp.sum(jnp.square(places[:, None] - points[None]), -1)
  near = jnp.exp(-square / (2 * _NEAR_PX**2))
  far = jnp.exp(-square / (2 * _FAR_PX**2))
  pull = weights[None] * (near + _FAR_SHARE * far)
  return pull / (jnp.sum(pull, -1, keepdims=True) + _STILL)


def _knots() -> Float[np.ndarray, "N 2"]:
  """The places where the pull is computed, x and y, row by row."""
  x, y = np.meshgrid(
    np.linspace(0, IMAGE_WIDTH - 1, IMAGE_WIDTH // _KNOT_PX + 1),
    np.linspace(0, IMAGE_HEIGHT - 1, IMAGE_HEIGHT // _KNOT_PX + 1),
  )
  return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def _interpolation(size: int) -> Float[np.ndarray, "size knots"]:
  """Weights of the knots along one side for each pixel; linear."""
  count = size // _KNOT_PX + 1
  at = np.linspace(0, count - 1, size)[:, None]
  return np.clip(1 - abs(at - np.arange(count)), 0, 1).astype(np.float32)


def _spread_out(
  mean: Float[np.ndarray, "V 3"], first: np.ndarray
) -> np.ndarray:
  """Vertices, each as far as can be from those before it."""
  tip = mean[first[_NOSE_TIP]]
  reached = np.flatnonzero(np.linalg.norm(mean - tip, axis=1) < _REACH_MM)
  chosen = list(first)
  distance = np.full(len(reached), np.inf)
  for vertex in first:
    _lower(distance, mean[reached], mean[vertex])
  while len(chosen) < _POINTS and distance.max(initial=0) > 0:
    chosen.append(reached[np.argmax(distance)])
    _lower(distance, mean[reached], mean[chosen[-1]])
  return np.asarray(chosen)


def _lower(distance: np.ndarray, points: np.ndarray, other: np.ndarray) -> None:
  """Takes one more point into the distances to the nearest."""
  np.minimum(distance, np.linalg.norm(points - other, axis=1), out=distance)
