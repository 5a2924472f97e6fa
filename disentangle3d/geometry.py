"""Rotations, the camera, similarity alignment, and the vertex layout.

Conventions: 3D in millimetres, right-handed, x to the image's right, y up,
z towards the viewer. 2D in pixels, x right, y down, a pixel's centre at
integer coordinates. Every function takes any leading batch dimensions, and is
made of plain XLA operations (no LAPACK), so that it may be mapped and jitted
anywhere.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.types import check_array


@flax.struct.dataclass
class Camera:
  """A weak-perspective camera: u = (s (R x)_1 + t_1, -s (R x)_2 + t_2).

  Attributes:
    scale: Pixels per millimetre, `[...]`, positive.
    rotation: Proper rotation from model to camera axes, `[..., 3, 3]`.
    translation: Image position of the model's origin, `[..., 2]`, pixels.
  """

  scale: Float[Array | np.ndarray, "..."]
  rotation: Float[Array | np.ndarray, "... 3 3"]
  translation: Float[Array | np.ndarray, "... 2"]


def project(
  camera: Camera, points: Float[Array, "... P 3"]
) -> Float[Array, "... P 2"]:
  """Projects points into the image (the u_hat of Eq. 7).

  Args:
    camera: Cameras with batch dimensions `[...]`.
    points: Points, `[..., P, 3]`, millimetres, same batch dimensions.

  Returns:
    Image points, `[..., P, 2]`, pixels.

  Raises:
    ValueError: `points` does not end in 3, or a batch dimension differs.
  """
  check_array("points", points, "... P 3")
  batch = points.shape[:-2]
  if camera.rotation.shape != (*batch, 3, 3):
    raise ValueError(
      f"camera.rotation: expected shape {[*batch, 3, 3]} to go with points"
      f" {list(points.shape)}, got {list(camera.rotation.shape)}"
    )
  axes = camera.rotation[..., :2, :] * jnp.asarray(
    [[1.0], [-1.0]], points.dtype
  ).reshape((1,) * len(batch) + (2, 1))
  turned = jnp.einsum("...ij,...pj->...pi", axes, points)
  scale, translation = map(jnp.asarray, (camera.scale, camera.translation))
  return scale[..., None, None] * turned + translation[..., None, :]


def transform_camera(camera: Camera, matrix: Float[Array, "... 2 3"]) -> Camera:
  """Takes a camera to the image that `matrix` makes of its image.

  Args:
    camera: Cameras with batch dimensions `[...]`.
    matrix: Similarity without reflection from old to new pixels,
      `[..., 2, 3]`, e.g. the inverse of `crop_from_photo`.

  Returns:
    The camera with project(new, x) = matrix [project(camera, x), 1].

  Raises:
    ValueError: `matrix` does not end in `[2, 3]`.
  """
  check_array("matrix", matrix, "... 2 3")
  factor = jnp.hypot(matrix[..., 0, 0], matrix[..., 1, 0])
  cos = matrix[..., 0, 0] / factor
  sin = matrix[..., 1, 0] / factor
  zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
  # y points down in the image and up in the camera: the angle changes sign.
  turn = _matrix3([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]])
  return Camera(
    scale=camera.scale * factor,
    rotation=turn @ camera.rotation,
    translation=apply_affine(matrix, camera.translation[..., None, :])[
      ..., 0, :
    ],
  )


def rotation_from_euler(
  yaw: Float[Array | np.ndarray, "..."],
  pitch: Float[Array | np.ndarray, "..."],
  roll: Float[Array | np.ndarray, "..."],
) -> Float[Array, "... 3 3"]:
  """R_z(roll) R_x(pitch) R_y(yaw), radians.

  Positive yaw turns the nose to the image's right, positive pitch turns it
  down, positive roll turns the head counter-clockwise as seen.

  Args:
    yaw: Angles, `[...]`.
    pitch: Angles, same shape.
    roll: Angles, same shape.

  Returns:
    Rotations, `[..., 3, 3]`.
  """
  cy, sy = jnp.cos(yaw), jnp.sin(yaw)
  cp, sp = jnp.cos(pitch), jnp.sin(pitch)
  cr, sr = jnp.cos(roll), jnp.sin(roll)
  zero, one = jnp.zeros_like(cy), jnp.ones_like(cy)
  about_y = _matrix3([[cy, zero, sy], [zero, one, zero], [-sy, zero, cy]])
  about_x = _matrix3([[one, zero, zero], [zero, cp, -sp], [zero, sp, cp]])
  about_z = _matrix3([[cr, -sr, zero], [sr, cr, zero], [zero, zero, one]])
  return about_z @ about_x @ about_y


def euler_from_rotation(
  rotation: Float[Array | np.ndarray, "... 3 3"],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
  """Inverts `rotation_from_euler`; the only source of yaw in tables.

  Args:
    rotation: Proper rotations, `[..., 3, 3]`.

  Returns:
    yaw in (-pi, pi], pitch in [-pi/2, pi/2], roll in (-pi, pi], radians. At
    a pitch of +-pi/2 only yaw + roll or their difference is determined.

  Raises:
    ValueError: `rotation` does not end in `[3, 3]`.
  """
  check_array("rotation", rotation, "... 3 3")
  yaw = jnp.arctan2(-rotation[..., 2, 0], rotation[..., 2, 2])
  pitch = jnp.arctan2(
    rotation[..., 2, 1], jnp.hypot(rotation[..., 2, 0], rotation[..., 2, 2])
  )
  roll = jnp.arctan2(-rotation[..., 0, 1], rotation[..., 1, 1])
  return yaw, pitch, roll


def nearest_rotation(
  matrix: Float[Array, "... 3 3"],
) -> Float[Array, "... 3 3"]:
  """The proper rotation R that maximises trace(R^T matrix).

  Davenport's q-method: the unit quaternion is the top eigenvector of a 4x4
  symmetric matrix, found here by repeated squaring. Where several rotations
  are equally near (rank one, zero) one of them comes back; never a
  reflection, never NaN.

  Args:
    matrix: Any matrices, `[..., 3, 3]`.

  Returns:
    Rotations, `[..., 3, 3]`.
  """
  check_array("matrix", matrix, "... 3 3")
  m = matrix
  xx, xy, xz = m[..., 0, 0], m[..., 0, 1], m[..., 0, 2]
  yx, yy, yz = m[..., 1, 0], m[..., 1, 1], m[..., 1, 2]
  zx, zy, zz = m[..., 2, 0], m[..., 2, 1], m[..., 2, 2]
  rows = [
    [xx + yy + zz, zy - yz, xz - zx, yx - xy],
    [zy - yz, xx - yy - zz, xy + yx, xz + zx],
    [xz - zx, xy + yx, yy - xx - zz, yz + zy],
    [yx - xy, xz + zx, yz + zy, zz - xx - yy],
  ]
  quadratic = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
  norm = jnp.sqrt(jnp.sum(quadratic**2, (-2, -1), keepdims=True) + 1e-30)
  eye = jnp.broadcast_to(jnp.eye(4, dtype=m.dtype), quadratic.shape)
  power = quadratic / norm + eye

  def square(_: Array, power: Array) -> Array:
    squared = power @ power
    return squared / jnp.trace(squared, axis1=-2, axis2=-1)[..., None, None]

  # 2^24 powers leave of the other eigenvectors less than a float32 can hold
  # wherever the eigenvalues differ by more than one part in a million.
  power = jax.lax.fori_loop(0, 24, square, power)
  best = jnp.argmax(jnp.diagonal(power, axis1=-2, axis2=-1), -1)
  quaternion = jnp.take_along_axis(power, best[..., None, None], -1)[..., 0]
  return _rotation_from_quaternion(quaternion)


def align_similarity(
  source: Float[Array, "... V 3"],
  target: Float[Array, "... V 3"],
  *,
  with_scale: bool = True,
  weights: Float[Array, "... V"] | None = None,
) -> tuple[Float[Array, "..."], Float[Array, "... 3 3"], Float[Array, "... 3"]]:
  """Procrustes: scale R source + translation nearest to target.

  Minimises the weighted sum of squared distances in closed form (Umeyama
  1991); the rotation is never a reflection.

  Args:
    source: Points, `[..., V, 3]`.
    target: Points, same shape.
    with_scale: False fixes the scale at 1 (a rigid motion).
    weights: Weights of the points, `[..., V]`, not negative; None weighs all
      the same.

  Returns:
    scale `[...]`, rotation `[..., 3, 3]`, translation `[..., 3]`.

  Raises:
    ValueError: The shapes disagree.
  """
  sizes = check_array("source", source, "... V 3")
  check_array("target", target, "... V 3", sizes=sizes)
  if weights is None:
    weights = jnp.ones(source.shape[:-1], source.dtype)
  check_array("weights", weights, "... V", sizes=sizes)
  weights = weights / jnp.sum(weights, -1, keepdims=True)
  source_mean = jnp.einsum("...v,...vi->...i", weights, source)
  target_mean = jnp.einsum("...v,...vi->...i", weights, target)
  x = source - source_mean[..., None, :]
  y = target - target_mean[..., None, :]
  covariance = jnp.einsum("...v,...vi,...vj->...ij", weights, y, x)
  rotation = nearest_rotation(covariance)
  scale = jnp.ones(source.shape[:-2], source.dtype)
  if with_scale:
    spread = jnp.einsum("...v,...vi,...vi->...", weights, x, x)
    scale = jnp.sum(rotation * covariance, (-2, -1)) / spread
  turned = jnp.einsum("...ij,...j->...i", rotation, source_mean)
  return scale, rotation, target_mean - scale[..., None] * turned


def apply_similarity(
  points: Float[Array, "... P 3"],
  scale: Float[Array, "..."],
  rotation: Float[Array, "... 3 3"],
  translation: Float[Array, "... 3"],
) -> Float[Array, "... P 3"]:
  """Scale R points + translation, as `align_similarity` returns them."""
  turned = jnp.einsum("...ij,...pj->...pi", rotation, points)
  return scale[..., None, None] * turned + translation[..., None, :]


def similarity_2d(
  source: Float[Array, "... P 2"], target: Float[Array, "... P 2"]
) -> Float[Array, "... 2 3"]:
  """The least-squares similarity without reflection from source to target.

  Args:
    source: Image points, `[..., P, 2]`, e.g. five points in a photo.
    target: Image points, same shape, e.g. `types.CROP_TEMPLATE`.

  Returns:
    `[..., 2, 3]` matrices: target = matrix [source, 1].

  Raises:
    ValueError: The shapes disagree.
  """
  sizes = check_array("source", source, "... P 2")
  check_array("target", target, "... P 2", sizes=sizes)
  x = source - jnp.mean(source, -2, keepdims=True)
  y = target - jnp.mean(target, -2, keepdims=True)
  spread = jnp.sum(x * x, (-2, -1))
  a = jnp.sum(x * y, (-2, -1)) / spread
  b = jnp.sum(x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0], -1) / spread
  linear = jnp.stack([jnp.stack([a, -b], -1), jnp.stack([b, a], -1)], -2)
  shift = jnp.mean(target, -2) - jnp.einsum(
    "...ij,...j->...i", linear, jnp.mean(source, -2)
  )
  return jnp.concatenate([linear, shift[..., None]], -1)


def apply_affine(
  matrix: Float[Array | np.ndarray, "... 2 3"],
  points: Float[Array | np.ndarray, "... P 2"],
) -> Float[Array, "... P 2"]:
  """Matrix [points, 1], the same matrix for all P points."""
  linear = jnp.einsum("...ij,...pj->...pi", matrix[..., :2], points)
  return linear + matrix[..., None, :, 2]


def invert_affine(matrix: Float[Array, "... 2 3"]) -> Float[Array, "... 2 3"]:
  """The inverse map of an invertible `[..., 2, 3]` matrix."""
  a, b = matrix[..., 0, 0], matrix[..., 0, 1]
  c, d = matrix[..., 1, 0], matrix[..., 1, 1]
  inverse = (
    jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
    / (a * d - b * c)[..., None, None]
  )
  shift = -jnp.einsum("...ij,...j->...i", inverse, matrix[..., 2])
  return jnp.concatenate([inverse, shift[..., None]], -1)


def five_points(
  landmarks: Float[Array | np.ndarray, "... 68 D"],
) -> Float[Array, "... 5 D"]:
  """The alignment's five points from iBUG-68: eye means, nose tip, mouth."""
  check_array("landmarks", landmarks, "... 68 D")
  return jnp.stack(
    [
      jnp.mean(landmarks[..., 36:42, :], -2),
      jnp.mean(landmarks[..., 42:48, :], -2),
      landmarks[..., 30, :],
      landmarks[..., 48, :],
      landmarks[..., 54, :],
    ],
    -2,
  )


def flatten_vertices(
  vertices: Float[Array, "... V 3"],
) -> Float[Array, "... V3"]:
  """`[..., V, 3]` to x1 y1 z1 x2 ... (Eq. 1)."""
  check_array("vertices", vertices, "... V 3")
  *batch, count, _ = vertices.shape
  return vertices.reshape(*batch, 3 * count)


def unflatten_vertices(flat: Float[Array, "... V3"]) -> Float[Array, "... V 3"]:
  """x1 y1 z1 x2 ... (Eq. 1) to `[..., V, 3]`."""
  check_array("flat", flat, "... X")
  if flat.shape[-1] % 3:
    raise ValueError(
      f"flat: expected a last dimension divisible by 3, got {list(flat.shape)}"
    )
  return flat.reshape(*flat.shape[:-1], flat.shape[-1] // 3, 3)


def _matrix3(rows: list[list[Array]]) -> Array:
  return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def _rotation_from_quaternion(q: Array) -> Array:
  q = q / jnp.sqrt(jnp.sum(q * q, -1, keepdims=True))
  w, x, y, z = q[..., 0], q[..., 1], q[..., 2], q[..., 3]
  return _matrix3(
    [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
  )
