"""Residuals whitened by the landmarks' calibrated noise.

A calibration gives each landmark a covariance Sigma in mm^2, by the face's
yaw; under a camera of scale s a distance r in pixels then counts as

    r^T M r,   M = unit^2 (s^2 Sigma)^-1,

which is |r|^2 where the noise is `unit` pixels in all directions. Symmetric
2x2 matrices a landmark are three rows (xx, xy, yy), landmarks last.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  landmark_covariance,
)
from disentangle3d.fitting.camera import PointScatter
from disentangle3d.fitting.options import FitOptions
from disentangle3d.geometry import euler_from_rotation

# A face of a tenth of a pixel: keeps weights finite where all landmarks are
# at one place.
_LEAST_SCALE = 1e-3
# Of (xx, xy, yy), the entry of each place of the matrix.
_ENTRIES = np.array([[0, 1], [1, 2]])


@flax.struct.dataclass
class Noise:
  """What the landmarks' noise makes of residuals, P points an image.

  Attributes:
    root: Upper triangular C with M = C^T C, as (xx, xy, yy), `[S, N, 3, P]`.
    weight: W = w M with the scalar weights w, `[S, N, 3, P]`.
    inverse_total: Inverse of the sum of W over the points, `[S, N, 3]`; zero
      where that is singular.
  """

  root: Float[Array, "S N 3 P"]
  weight: Float[Array, "S N 3 P"]
  inverse_total: Float[Array, "S N 3"]


def noise_roots(
  calibration: LandmarkCalibration,
  scale: Float[Array, "S N"],
  rotation: Float[Array, "S N 3 3"],
  options: FitOptions,
) -> Float[Array, "S N 3 68"]:
  """`Noise.root` of the 68 landmarks under cameras.

  Args:
    calibration: With covariances.
    scale: Of the cameras, `[S, N]`, px/mm.
    rotation: Of the cameras, `[S, N, 3, 3]`; yaw and roll are read from it.
    options: The unit, `landmark_std_px` (1 where that is 0), and
      `noise_factor`.

  Returns:
    C as (xx, xy, yy), `[S, N, 3, 68]`.
  """
  yaw, _, roll = euler_from_rotation(rotation)
  covariance = landmark_covariance(calibration, yaw, roll)
  unit = options.landmark_std_px or 1.0
  size = options.noise_factor * (jnp.maximum(scale, _LEAST_SCALE) / unit) ** 2
  covariance = size[..., None, None, None] * covariance
  xx, xy = covariance[..., 0, 0], covariance[..., 0, 1]
  yy = covariance[..., 1, 1]
  determinant = xx * yy - xy * xy
  return jnp.stack(
    [
      jnp.sqrt(yy / determinant),
      -xy / jnp.sqrt(yy * determinant),
      1 / jnp.sqrt(yy),
    ],
    -2,
  )


def weighed(
  root: Float[Array, "S N 3 P"], weights: Float[Array, "S N P"]
) -> Noise:
  """Noise of points that have scalar weights besides."""
  one, two, three = (root[..., row, :] for row in range(3))
  precision = jnp.stack([one * one, one * two, two * two + three * three], -2)
  weight = weights[..., None, :] * precision
  xx, xy, yy = jnp.moveaxis(jnp.sum(weight, -1), -1, 0)
  determinant = xx * yy - xy * xy
  usable = determinant > 0
  inverse = (
    jnp.stack([yy, -xy, xx], -1)
    / jnp.where(usable, determinant, 1.0)[..., None]
  )
  return Noise(
    root=root,
    weight=weight,
    inverse_total=jnp.where(usable[..., None], inverse, 0.0),
  )


def whiten(
  root: Float[Array, "S N 3 P"], residuals: Float[Array, "S N 2 P"]
) -> Float[Array, "S N 2 P"]:
  """C r, whose square is the whitened squared distance, px^2."""
  x, y = residuals[..., 0, :], residuals[..., 1, :]
  return jnp.stack(
    [root[..., 0, :] * x + root[..., 1, :] * y, root[..., 2, :] * y], -2
  )


def pull(
  noise: Noise, residuals: Float[Array, "S N 2 P"]
) -> Float[Array, "S N 2 P"]:
  """W r, half the gradient of the whitened squared distances by r."""
  weight = noise.weight
  x, y = residuals[..., 0, :], residuals[..., 1, :]
  return jnp.stack(
    [
      weight[..., 0, :] * x + weight[..., 1, :] * y,
      weight[..., 1, :] * x + weight[..., 2, :] * y,
    ],
    -2,
  )


def best_shift(
  noise: Noise, residuals: Float[Array, "S N 2 P"]
) -> Float[Array, "S N 2"]:
  """The shift that leaves the least sum of r^T W r, px."""
  total = jnp.sum(pull(noise, residuals), -1)
  xx, xy, yy = jnp.moveaxis(noise.inverse_total, -1, 0)
  x, y = total[..., 0], total[..., 1]
  return jnp.stack([xx * x + xy * y, xy * x + yy * y], -1)


def pulled_back(
  noise: Noise, axes: Float[Array, "S N 2 3"]
) -> Float[Array, "S N 3 3 P"]:
  """axes^T W axes: what a landmark's motion in 3D costs, px^2/mm^2."""
  x, y = axes[..., 0, :], axes[..., 1, :]
  mixed = x[..., :, None] * y[..., None, :]
  outer = jnp.stack(
    [
      x[..., :, None] * x[..., None, :],
      mixed + jnp.swapaxes(mixed, -1, -2),
      y[..., :, None] * y[..., None, :],
    ],
    -3,
  )
  # Three products written out: XLA's tiny dots are slower.
  return (
    outer[..., 0, :, :, None] * noise.weight[..., None, None, 0, :]
    + outer[..., 1, :, :, None] * noise.weight[..., None, None, 1, :]
    + outer[..., 2, :, :, None] * noise.weight[..., None, None, 2, :]
  )


def whitened_scatter(
  noise: Noise,
  points: Float[Array, "S N 3 P"],
  residuals: Float[Array, "S N 2 P"],
) -> PointScatter:
  """The scatter of points and residuals under the weights W.

  Args:
    noise: W and its sums.
    points: About a mean of theirs, `[S, N, 3, P]`, mm.
    residuals: After the best shift, `[S, N, 2, P]`, px.
  """
  weighted = noise.weight[..., None, :] * points[..., None, :, :]
  square = jnp.einsum("sncip,snjp->sncij", weighted, points)
  square = jnp.einsum("snabij->snaibj", square[..., _ENTRIES, :, :])
  # A shift takes up what all points have in common.
  common = jnp.sum(weighted, -1)[..., _ENTRIES, :]  # [S, N, 2, 2, 3]
  inverse = noise.inverse_total[..., _ENTRIES]
  shifted = jnp.einsum("snmai,snmk,snkbj->snaibj", common, inverse, common)
  return PointScatter(
    points=square - shifted,
    residuals=jnp.einsum("snap,snip->snai", pull(noise, residuals), points),
  )
