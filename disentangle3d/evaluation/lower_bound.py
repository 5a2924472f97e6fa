"""The best that a linear model can do: its nearest projection of the truth.

A network trained on fitted coefficients cannot leave the model's span, so the
error of the best shape in that span bounds its error from below. All
coefficients are free, without a prior, and so is the motion that the protocol
allows: the bound is the least score that `liu2018` can give to any shape of
the model. Host code in float64.
"""

import dataclasses

from jaxtyping import Array, Bool, Float, Int
import numpy as np

from disentangle3d.evaluation.icp import Motion, similarity
from disentangle3d.types import NOSE_TIP, check_array

_ITERATIONS = 60
_TOLERANCE_MM = 1e-4
_LEAST_DAMPING, _MOST_DAMPING = 1e-9, 1e3


@dataclasses.dataclass(frozen=True, eq=False)
class Projector:
  """A model prepared for `project_truth`; see `make_projector`.

  Attributes:
    mean: `[3V]` float64.
    basis: Modes as rows, `[C, 3V]` float64.
    landmark_vertices: Those that there are, `[L]`.
    nose_tip: Its vertex.
  """

  mean: Float[np.ndarray, "V3"]
  basis: Float[np.ndarray, "C V3"]
  landmark_vertices: Int[np.ndarray, "L"]
  nose_tip: int


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
  """The best shape of a model for one true shape.

  Attributes:
    shape: In the model's frame, `[V, 3]`, mm.
    coefficients: `[C]`.
    rmse_mm: Root mean square distance inside the region, aligned by the
      landmarks as the protocol does.
    iterations: Done.
    converged: Whether the last gained less than 0.0001 mm, or none can gain.
  """

  shape: Float[np.ndarray, "V 3"]
  coefficients: Float[np.ndarray, "C"]
  rmse_mm: float
  iterations: int
  converged: bool


def make_projector(
  mean_shape: Float[Array | np.ndarray, "V 3"],
  basis: Float[Array | np.ndarray, "V 3 C"],
  landmark_vertices: Int[Array | np.ndarray, "68"],
) -> Projector:
  """Prepares a mean and any modes (identity, or identity and expression).

  Args:
    mean_shape: `[V, 3]`, mm.
    basis: `[V, 3, C]`.
    landmark_vertices: `[68]`, -1 where there is none.

  Returns:
    The projector.

  Raises:
    ValueError: A shape differs, or there is no nose tip.
    TypeError: A dtype differs.
  """
  sizes = check_array("mean_shape", mean_shape, "V 3")
  sizes = check_array("basis", basis, "V 3 C", sizes=sizes)
  check_array("landmark_vertices", landmark_vertices, "68", dtype="integer")
  marks = np.asarray(landmark_vertices)
  if marks[NOSE_TIP] < 0:
    raise ValueError("landmark_vertices: expected a nose tip (30), got -1")
  rows = np.moveaxis(np.asarray(basis, np.float64), -1, 0)
  return Projector(
    mean=np.asarray(mean_shape, np.float64).ravel(),
    basis=np.ascontiguousarray(rows.reshape(sizes["C"], 3 * sizes["V"])),
    landmark_vertices=marks[marks >= 0],
    nose_tip=int(marks[NOSE_TIP]),
  )


def project_truth(
  projector: Projector,
  truth: Float[Array | np.ndarray, "V 3"],
  *,
  with_scale: bool = True,
  radius_mm: float = 95.0,
) -> Projection:
  """The shape of the model that `liu2018` scores best.

  Damped Gauss-Newton on all coefficients at once. The alignment is a function
  of the coefficients, through the landmarks; its derivative is in the
  Jacobian, so that it is the protocol's own score that falls. Directions that
  the alignment undoes (size, say) change nothing, and nearly so those beside
  them: damping keeps the steps along them short.

  Args:
    projector: From `make_projector`.
    truth: `[V, 3]`, mm, the model's topology.
    with_scale: False is `liu2018_rigid`.
    radius_mm: Radius of the region around the true nose tip.

  Returns:
    `Projection`, the best of all iterations.

  Raises:
    ValueError: `truth` has another number of vertices.
    TypeError: `truth` is not floating.
  """
  check_array("truth", truth, f"{len(projector.mean) // 3} 3")
  target = np.asarray(truth, np.float64)
  away = np.linalg.norm(target - target[projector.nose_tip], axis=1)
  inside = away <= radius_mm
  marks = projector.landmark_vertices
  jacobian = _Jacobian(projector, inside)

  def score(coefficients: np.ndarray) -> _Scored:
    shape = _shape(projector, coefficients)
    motion = similarity(shape[marks], target[marks], with_scale=with_scale)
    residual = motion.apply(shape)[inside] - target[inside]
    rmse = float(np.sqrt(np.mean(np.sum(residual**2, 1))))
    return _Scored(coefficients, shape, motion, residual, rmse)

  best = score(np.zeros(len(projector.basis)))
  system = jacobian.system(best, with_scale)
  converged, count, damping = False, 0, _LEAST_DAMPING
  while count < _ITERATIONS and not converged:
    tried = score(best.coefficients + _damped_step(*system, damping))
    count += 1
    if tried.rmse_mm < best.rmse_mm:
      # A short step gains little: only a long one says that this is it.
      gain = best.rmse_mm - tried.rmse_mm
      converged = damping <= _LEAST_DAMPING and gain < _TOLERANCE_MM
      best, damping = tried, max(damping / 10, _LEAST_DAMPING)
      system = jacobian.system(best, with_scale)
    else:
      damping *= 10
      converged = damping > _MOST_DAMPING
  return Projection(
    shape=best.shape,
    coefficients=best.coefficients,
    rmse_mm=best.rmse_mm,
    iterations=count,
    converged=converged,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Scored:
  """Coefficients, what they make, and how the protocol scores it."""

  coefficients: np.ndarray
  shape: np.ndarray
  motion: Motion
  residual: np.ndarray
  rmse_mm: float


class _Jacobian:
  """Steps of one region: its rows of the basis are multiplied once."""

  def __init__(self, projector: Projector, inside: Bool[np.ndarray, "V"]):
    cut = projector.basis.reshape(len(projector.basis), -1, 3)
    self.basis = cut[:, inside].reshape(len(cut), -1)
    self.normal = self.basis @ self.basis.T
    self.marks = projector.landmark_vertices
    self.at_marks = cut[:, self.marks].reshape(len(cut), -1)
    self.inside = inside

  def system(
    self, scored: _Scored, with_scale: bool
  ) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix and slope of the score, in the model's own frame.

    A change of the landmarks moves the alignment by the least squares of the
    motion's own directions; the residual changes by the modes minus that.
    """
    motion = scored.motion
    centre = scored.shape[self.marks].mean(0)
    directions = _motion_directions(scored.shape - centre, with_scale)
    at_marks = directions[:, self.marks].reshape(len(directions), -1)
    in_region = directions[:, self.inside].reshape(len(directions), -1)
    follows = np.linalg.lstsq(at_marks.T, self.at_marks.T, rcond=None)[0]
    cross = self.basis @ in_region.T
    mixed = cross @ follows
    normal = self.normal - mixed - mixed.T
    normal += follows.T @ (in_region @ in_region.T) @ follows
    own = (scored.residual @ motion.rotation / motion.scale).ravel()
    slope = self.basis @ own - follows.T @ (in_region @ own)
    return normal, slope


def _damped_step(
  normal: np.ndarray, slope: np.ndarray, damping: float
) -> np.ndarray:
  """The Gauss-Newton step, shorter where the normal matrix is nearly flat."""
  ridge = damping * np.trace(normal) / len(normal) * np.eye(len(normal))
  return -np.linalg.solve(normal + ridge, slope)


def _motion_directions(points: np.ndarray, with_scale: bool) -> np.ndarray:
  """How points move with rotation, translation and scale, `[6 or 7, V, 3]`."""
  axes = np.eye(3)
  turns = [np.cross(axis, points) for axis in axes]
  shifts = [np.broadcast_to(axis, points.shape) for axis in axes]
  grow = [points] if with_scale else []
  return np.stack([*turns, *shifts, *grow])


def _shape(projector: Projector, coefficients: np.ndarray) -> np.ndarray:
  return (projector.mean + coefficients @ projector.basis).reshape(-1, 3)
