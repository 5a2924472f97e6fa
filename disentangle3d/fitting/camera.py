"""The weak-perspective camera that best explains 2D landmarks.

With the translation eliminated (it is optimal where the residuals' mean is
zero), everything about one image's camera hangs on a few sums over its points:
the scatter of the points, 3x3, and the scatter of the residuals against the
points, 2x3. So the points are read once, whatever the number of steps. All
arithmetic is closed-form; LAPACK is not used. Tolerances are relative: nothing
depends on the units of points or landmarks.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np

from disentangle3d.geometry import Camera, nearest_rotation
from disentangle3d.types import check_array

# The affine start may not read depth out of points that have almost none: a
# fraction of the points' scatter, added along z (the face's depth) and, much
# less of it, in all directions (collinear points).
_DEPTH_RIDGE = 1e-3
_RIDGE = 1e-5
# Levenberg-Marquardt: relative to the normal matrix's diagonal.
_FIRST_DAMPING = 1e-4
_DAMPING_RANGE = (1e-7, 1e4)
_DAMPING_FACTOR = 10.0
_ESTIMATE_ROUNDS = 3
_STEPS_A_ROUND = 5

# Rows of the image axes: x to the right, y down although y is up in 3D.
FLIP = np.array([[1, 0, 0], [0, -1, 0]], np.float32)
# _CROSS[k] x = (unit vector k) x x.
_CROSS = np.array(
  [
    [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
    [[0, 0, 1], [0, 0, 0], [-1, 0, 0]],
    [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
  ],
  np.float32,
)
# d(residual axes)/d(log scale, rotation vector) is scale TANGENTS rotation.
TANGENTS = np.stack([FLIP, *(FLIP @ _CROSS)])


@flax.struct.dataclass
class PointScatter:
  """What a camera needs to know of its points and residuals.

  Attributes:
    points: sum_l w_l x_l x_l^T about the weighted mean, `[..., 3, 3]`, mm^2;
      with weights W_l `[2, 2]`, sum_l (W_l)_ab x_l x_l^T less what the best
      translation takes up, `[..., 2, 3, 2, 3]`.
    residuals: sum_l w_l r_l x_l^T, the residuals r about their mean,
      `[..., 2, 3]`, px mm.
  """

  points: Float[Array, "... 3 3"] | Float[Array, "... 2 3 2 3"]
  residuals: Float[Array, "... 2 3"]


def estimate_camera(
  points: Float[Array, "... L 3"],
  landmarks: Float[Array, "... L 2"],
  visibility: Float[Array, "... L"],
) -> Camera:
  """The camera with the least sum of squared landmark distances (Eq. 7).

  A closed form (affine least squares with a ridge on depth, nearest rotation,
  best scale and translation) starts damped Gauss-Newton steps in log scale and
  rotation vector, each kept only where the distances fall.

  Args:
    points: 3D points, `[..., L, 3]`, millimetres.
    landmarks: Their image points, `[..., L, 2]`, pixels; invisible ones may be
      anything, NaN included.
    visibility: Weights, not negative, `[..., L]`; 0 leaves a point out.

  Returns:
    Cameras, `[...]`. Always finite: fewer than 4 points, or collinear ones,
    leave a rotation undetermined and one of the best comes back; without any
    visible point scale and translation are 0 and the rotation the identity.

  Raises:
    ValueError: The shapes disagree.
    TypeError: `points` or `landmarks` is not floating point.
  """
  sizes = check_array("points", points, "... L 3")
  check_array("landmarks", landmarks, "... L 2", sizes=sizes)
  check_array("visibility", visibility, "... L", dtype="any", sizes=sizes)
  batch = points.shape[:-2]
  for name, got in (
    ("landmarks", landmarks.shape[:-2]),
    ("visibility", visibility.shape[:-1]),
  ):
    if got != batch:
      raise ValueError(
        f"{name}: expected batch dimensions {list(batch)} as points has,"
        f" got {list(got)}"
      )
  with jax.default_matmul_precision("highest"):
    return _estimate(points, landmarks, visibility.astype(points.dtype))


def start_camera(
  points_scatter: Float[Array, "... 3 3"],
  landmarks_scatter: Float[Array, "... 2 3"],
) -> tuple[Float[Array, "..."], Float[Array, "... 3 3"]]:
  """The closed-form start: scale and rotation, not the optimum.

  Args:
    points_scatter: `PointScatter.points`, `[..., 3, 3]`.
    landmarks_scatter: sum_l w_l u_l x_l^T about the means, `[..., 2, 3]`.

  Returns:
    scale `[...]`, positive, and rotation `[..., 3, 3]`.
  """
  spread = jnp.trace(points_scatter, axis1=-2, axis2=-1)
  safe_spread = jnp.where(spread > 0, spread, 1.0)
  ridge = jnp.broadcast_to(
    jnp.diag(jnp.asarray([_RIDGE, _RIDGE, _DEPTH_RIDGE], jnp.float32)),
    points_scatter.shape,
  )
  damped = points_scatter + ridge * safe_spread[..., None, None]
  affine = jnp.stack(
    [
      solve_positive_definite(damped, landmarks_scatter[..., 0, :]),
      -solve_positive_definite(damped, landmarks_scatter[..., 1, :]),
      # A third row of zeros leaves the handedness to the nearest rotation.
      jnp.zeros_like(landmarks_scatter[..., 0, :]),
    ],
    -2,
  )
  size = jnp.sqrt(jnp.sum(affine * affine, (-2, -1)))
  rotation = nearest_rotation(
    affine / jnp.where(size > 0, size, 1.0)[..., None, None]
  )
  axes = image_axes(jnp.ones_like(spread), rotation)
  along = jnp.sum(axes * landmarks_scatter, (-2, -1))
  length = jnp.einsum("...ai,...ij,...aj->...", axes, points_scatter, axes)
  # Points that all project onto one place say nothing about the scale.
  usable = length > _RIDGE * spread
  scale = along / jnp.where(usable, length, 1.0)
  fallback = jnp.where(size > 0, size / math.sqrt(2.0), 1.0)
  return jnp.where(usable & (scale > 0), scale, fallback), rotation


def refine_camera(
  scale: Float[Array, "..."],
  rotation: Float[Array, "... 3 3"],
  scatter: PointScatter,
  *,
  num_steps: int = 2,
) -> tuple[Float[Array, "..."], Float[Array, "... 3 3"]]:
  """Damped Gauss-Newton in (log scale, rotation vector), never uphill.

  An image takes a step only where its own sum of squares falls; the difference
  is computed from the change of the axes, so that it is exact also where the
  sums themselves would cancel.

  Args:
    scale: `[...]`, positive.
    rotation: `[..., 3, 3]`.
    scatter: Of the points and of the residuals of this very camera.
    num_steps: Steps tried.

  Returns:
    scale and rotation after the steps.
  """

  def step(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    scale, rotation, residuals, damping = state
    change = _gauss_newton(scale, rotation, scatter.points, residuals, damping)
    growth = jnp.expm1(jnp.clip(change[..., 0], -1.0, 1.0))
    turn = _turn(change[..., 1:]) @ rotation
    # Not the difference of two image_axes: its rounding would decide over
    # the last steps.
    grown = turn + growth[..., None, None] * (rotation + turn)
    moved = image_axes(scale, grown)
    moved_scatter = _scattered(scatter.points, moved)
    gain = jnp.sum((2 * residuals - moved_scatter) * moved, (-2, -1))
    better = gain > 0
    factor = jnp.where(better, 1 / _DAMPING_FACTOR, _DAMPING_FACTOR)
    keep = better[..., None, None]
    return (
      jnp.where(better, scale + scale * growth, scale),
      jnp.where(keep, rotation + turn, rotation),
      jnp.where(keep, residuals - moved_scatter, residuals),
      jnp.clip(damping * factor, *_DAMPING_RANGE),
    )

  damping = jnp.full_like(scale, _FIRST_DAMPING)
  scale, rotation, _, _ = jax.lax.fori_loop(
    0, num_steps, step, (scale, rotation, scatter.residuals, damping)
  )
  return scale, _orthonormal(rotation)


def image_axes(
  scale: Float[Array, "..."], rotation: Float[Array, "... 3 3"]
) -> Float[Array, "... 2 3"]:
  """The linear part of `project`: u = axes x + translation."""
  flip = jnp.asarray([1.0, -1.0], rotation.dtype)
  signs = flip.reshape((1,) * (rotation.ndim - 2) + (2, 1))
  return scale[..., None, None] * signs * rotation[..., :2, :]


def solve_positive_definite(
  matrix: Float[Array, "... K K"], rhs: Float[Array, "... K"]
) -> Float[Array, "... K"]:
  """matrix^-1 rhs for tiny positive definite matrices, by Gauss-Jordan.

  A pivot that has cancelled to nothing counts as its diagonal entry (as 1
  where that is zero too), so that the answer is finite for any input.
  """
  diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
  table = jnp.concatenate([matrix, rhs[..., None]], -1)
  for k in range(matrix.shape[-1]):
    entry = diagonal[..., k]
    pivot = table[..., k, k]
    pivot = jnp.where(pivot > 1e-7 * jnp.abs(entry), pivot, entry)
    row = table[..., k, :] / jnp.where(pivot > 0, pivot, 1.0)[..., None]
    table = table - table[..., :, k, None] * row[..., None, :]
    table = table.at[..., k, :].set(row)
  return table[..., -1]


def _estimate(points: Array, landmarks: Array, weights: Array) -> Camera:
  """`estimate_camera` after its checks; coordinates run before points here."""
  weights = jnp.maximum(weights, 0.0)
  total = jnp.sum(weights, -1)
  share = weights / jnp.where(total > 0, total, 1.0)[..., None]
  seen = weights[..., None] > 0
  landmarks = jnp.where(seen, landmarks, 0.0)
  points = jnp.where(seen, points, 0.0)
  points_mean = jnp.einsum("...l,...li->...i", share, points)
  landmarks_mean = jnp.einsum("...l,...la->...a", share, landmarks)
  x = points - points_mean[..., None, :]
  u = landmarks - landmarks_mean[..., None, :]
  points_scatter = jnp.einsum("...l,...li,...lj->...ij", share, x, x)

  def refine(_: Array, camera: tuple[Array, Array]) -> tuple[Array, Array]:
    residual = u - jnp.einsum("...ai,...li->...la", image_axes(*camera), x)
    scatter = PointScatter(
      points=points_scatter,
      residuals=jnp.einsum("...l,...la,...li->...ai", share, residual, x),
    )
    return refine_camera(*camera, scatter, num_steps=_STEPS_A_ROUND)

  start = start_camera(
    points_scatter, jnp.einsum("...l,...la,...li->...ai", share, u, x)
  )
  # Each round starts from fresh residuals: updated ones drift by rounding.
  scale, rotation = jax.lax.fori_loop(0, _ESTIMATE_ROUNDS, refine, start)
  translation = landmarks_mean - jnp.einsum(
    "...ai,...i->...a", image_axes(scale, rotation), points_mean
  )
  return camera_or_none(scale, rotation, translation, total > 0)


def camera_or_none(
  scale: Float[Array, "..."],
  rotation: Float[Array, "... 3 3"],
  translation: Float[Array, "... 2"],
  seen: Bool[Array, "..."],
) -> Camera:
  """The camera; where nothing is `seen` [...], scale 0 and no rotation."""
  eye = jnp.broadcast_to(jnp.eye(3, dtype=rotation.dtype), rotation.shape)
  return Camera(
    scale=jnp.where(seen, scale, 0.0),
    rotation=jnp.where(seen[..., None, None], rotation, eye),
    translation=jnp.where(seen[..., None], translation, 0.0),
  )


def _gauss_newton(
  scale: Array,
  rotation: Array,
  points_scatter: Array,
  residuals: Array,
  damping: Array,
) -> Array:
  """The damped step `[..., 4]`: log scale, then the rotation vector."""
  # In camera axes, where the tangents are constant 2x3 matrices.
  turned_residuals = residuals @ jnp.swapaxes(rotation, -1, -2)
  tangents = jnp.asarray(TANGENTS, rotation.dtype)
  gradient = jnp.einsum("kai,...ai->...k", tangents, turned_residuals)
  if _has_matrix_weights(points_scatter, residuals):
    turned = jnp.einsum("kai,...ij->...kaj", tangents, rotation)
    normal = jnp.einsum(
      "...kai,...aibj,...mbj->...km", turned, points_scatter, turned
    )
    spread = jnp.einsum("...aiai->...", points_scatter) / 2
  else:
    turned = rotation @ points_scatter @ jnp.swapaxes(rotation, -1, -2)
    normal = jnp.einsum("kai,...ij,maj->...km", tangents, turned, tangents)
    spread = jnp.trace(points_scatter, axis1=-2, axis2=-1)
  # The floor makes directions that no point determines stand still.
  diagonal = jnp.diagonal(normal, axis1=-2, axis2=-1)
  added = damping[..., None] * jnp.maximum(diagonal, 1e-3 * spread[..., None])
  eye = jnp.eye(4, dtype=rotation.dtype)
  eye = eye.reshape((1,) * (normal.ndim - 2) + (4, 4))
  step = solve_positive_definite(normal + added[..., None] * eye, gradient)
  return step / scale[..., None]


def _scattered(points_scatter: Array, axes: Array) -> Array:
  """The scatter of `axes` x against the points, `[..., 2, 3]`."""
  if _has_matrix_weights(points_scatter, axes):
    return jnp.einsum("...aibj,...bj->...ai", points_scatter, axes)
  return axes @ points_scatter


def _has_matrix_weights(points_scatter: Array, axes: Array) -> bool:
  """Whether a `PointScatter.points` is of weights `[2, 2]`; static."""
  return points_scatter.ndim == axes.ndim + 2


def _turn(vector: Array) -> Array:
  """Rotation by a vector less the identity, exact also for tiny vectors."""
  square = jnp.sum(vector * vector, -1)
  small = square < 1e-6
  angle = jnp.sqrt(jnp.where(small, 1.0, square))
  sinc = jnp.where(small, 1 - square / 6, jnp.sin(angle) / angle)
  cosc = jnp.where(small, 0.5 - square / 24, (1 - jnp.cos(angle)) / angle**2)
  cross = jnp.einsum("...k,kij->...ij", vector, jnp.asarray(_CROSS))
  return sinc[..., None, None] * cross + cosc[..., None, None] * cross @ cross


def _orthonormal(rotation: Array) -> Array:
  """Takes off what rounding added: one Newton step to the nearest rotation."""
  eye = jnp.eye(3, dtype=rotation.dtype)
  eye = eye.reshape((1,) * (rotation.ndim - 2) + (3, 3))
  gram = rotation @ jnp.swapaxes(rotation, -1, -2)
  return 0.5 * (3 * eye - gram) @ rotation
