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

_ITERATIONS = 20
_TOLERANCE_MM = 1e-4


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
    converged: Whether the last one gained less than 0.0001 mm.
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

  Gauss-Newton on all coefficients at once. The alignment is a function of the
  coefficients, through the landmarks; its derivative is in the Jacobian, so
  that it is the protocol's own score that falls. Directions that the
  alignment undoes (size, say) are left as they are.

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
  coefficients = np.zeros(len(projector.basis))
  best: tuple[float, np.ndarray] = (np.inf, coefficients)
  converged, count = False, 0
  while count < _ITERATIONS and not converged:
    shape = _shape(projector, coefficients)
    motion = similarity(shape[marks], target[marks], with_scale=with_scale)
    residual = motion.apply(shape)[inside] - target[inside]
    rmse = float(np.sqrt(np.mean(np.sum(residual**2, 1))))
    converged = not rmse < best[0] - _TOLERANCE_MM
    if rmse < best[0]:
      best = rmse, coefficients
    coefficients = coefficients + jacobian.step(
      shape, motion, residual, with_scale
    )
    count += 1
  return Projection(
    shape=_shape(projector, best[1]),
    coefficients=best[1],
    rmse_mm=best[0],
    iterations=count,
    converged=converged,
  )


class _Jacobian:
  """Steps of one region: its rows of the basis are multiplied once."""

  def __init__(self, projector: Projector, inside: Bool[np.ndarray, "V"]):
    cut = projector.basis.reshape(len(projector.basis), -1, 3)
    self.basis = cut[:, inside].reshape(len(cut), -1)
    self.normal = self.basis @ self.basis.T
    self.marks = projector.landmark_vertices
    self.at_marks = cut[:, self.marks].reshape(len(cut), -1)
    self.inside = inside

  def step(
    self,
    shape: np.ndarray,
    motion: Motion,
    residual: np.ndarray,
    with_scale: bool,
  ) -> np.ndarray:
    """The Gauss-Newton step, in the model's own frame.

    A change of the landmarks moves the alignment by the least squares of the
    motion's own directions; the residual changes by the modes minus that.
    """
    centre = shape[self.marks].mean(0)
    directions = _motion_directions(shape - centre, with_scale)
    at_marks = directions[:, self.marks].reshape(len(directions), -1)
    in_region = directions[:, self.inside].reshape(len(directions), -1)
    follows = np.linalg.lstsq(at_marks.T, self.at_marks.T, rcond=None)[0]
    cross = self.basis @ in_region.T
    mixed = cross @ follows
    normal = self.normal - mixed - mixed.T
    normal += follows.T @ (in_region @ in_region.T) @ follows
    own = (residual @ motion.rotation / motion.scale).ravel()
    slope = self.basis @ own - follows.T @ (in_region @ own)
    return -np.linalg.lstsq(normal, slope, rcond=1e-11)[0]


def _motion_directions(points: np.ndarray, with_scale: bool) -> np.ndarray:
  """How points move with rotation, translation and scale, `[6 or 7, V, 3]`."""
  axes = np.eye(3)
  turns = [np.cross(axis, points) for axis in axes]
  shifts = [np.broadcast_to(axis, points.shape) for axis in axes]
  grow = [points] if with_scale else []
  return np.stack([*turns, *shifts, *grow])


def _shape(projector: Projector, coefficients: np.ndarray) -> np.ndarray:
  return (projector.mean + coefficients @ projector.basis).reshape(-1, 3)
