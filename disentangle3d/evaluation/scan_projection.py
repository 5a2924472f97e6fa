"""The best that a linear model can do for a scan: its nearest shape.

`lower_bound` for scans of any topology: non-rigid fitting of a 3DMM to the
points of a scan inside the face's outline (Amberg et al. 2007, "Optimal Step
Nonrigid ICP", with the model's modes in place of free vertices). Host code in
float64.
"""

import dataclasses

from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.icp import Motion, rotation_about, similarity
from disentangle3d.evaluation.rows import evenly
from disentangle3d.evaluation.scans import Scan
from disentangle3d.evaluation.surfaces import (
  barycentric,
  closest_points,
  make_surface,
)
from disentangle3d.types import check_array

_INNER = np.arange(68) >= 17
_LEAST_DAMPING, _MOST_DAMPING = 1e-6, 1e6


@dataclasses.dataclass(frozen=True)
class ScanProjectionOptions:
  """What is minimised, and when that ends.

  Attributes:
    point_std_mm: Standard deviation of a point about the surface, beside which
      the coefficients' N(0, 1) weighs; small, since this is to be a bound.
    landmark_std_mm: Of the landmarks about the model's, in the first half,
      which only finds the place; the second half has no landmarks.
    nearest_share: Of the points, the nearest at each iteration, that count.
    points: At most so many, evenly taken.
    iterations: At most so many in each half.
    tolerance_mm: Converged where the root mean square distance falls by less.
  """

  point_std_mm: float = 0.5
  landmark_std_mm: float = 3.0
  nearest_share: float = 0.9
  points: int = 2000
  iterations: int = 40
  tolerance_mm: float = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class ScanProjection:
  """The nearest shape of a model to a scan.

  Attributes:
    shape: In the model's frame, `[V, 3]`, mm.
    coefficients: `[C]`.
    motion: Lays the shape over the scan.
    rms_mm: Root mean square distance of the points that count, before the
      first iteration and after each, `[T]`; in the second half it never rises
      by more than the prior falls.
    converged: Whether the last iteration gained less than the tolerance.
  """

  shape: Float[np.ndarray, "V 3"]
  coefficients: Float[np.ndarray, "C"]
  motion: Motion
  rms_mm: Float[np.ndarray, "T"]
  converged: bool


def project_scan(
  mean_shape: Float[Array | np.ndarray, "V 3"],
  basis: Float[Array | np.ndarray, "V 3 C"],
  triangles: Int[Array | np.ndarray, "F 3"],
  landmark_vertices: Int[Array | np.ndarray, "68"],
  truth: Scan,
  *,
  options: ScanProjectionOptions = ScanProjectionOptions(),
) -> ScanProjection:
  """Fits a model to a scan.

  Damped Gauss-Newton on the coefficients and a similarity at once: the sum of
  the squared distances of the scan's points inside the outline (all of them,
  if it has none) to the shape, and `point_std_mm`² |c|²; in the first half,
  the squared distances of the landmarks inside the face as well.

  Args:
    mean_shape: `[V, 3]`, mm.
    basis: Modes, `[V, 3, C]`: identity, or identity and expression.
    triangles: `[F, 3]`.
    landmark_vertices: `[68]`, -1 where there is none.
    truth: The scan.
    options: See `ScanProjectionOptions`.

  Returns:
    `ScanProjection`.

  Raises:
    ValueError: A shape differs, or fewer than three landmarks are on both.
    TypeError: A dtype differs.
  """
  sizes = check_array("mean_shape", mean_shape, "V 3")
  check_array("basis", basis, "V 3 C", sizes=sizes)
  problem = _Problem(
    np.asarray(mean_shape, np.float64),
    np.asarray(basis),
    np.asarray(triangles),
    np.asarray(landmark_vertices),
    truth,
    options,
  )
  found = problem.start()
  history = [found.rms_mm]
  for weight in ((options.point_std_mm / options.landmark_std_mm) ** 2, 0.0):
    found, gained, converged = problem.descend(found, weight)
    history += gained
  return ScanProjection(
    shape=found.shape,
    coefficients=found.coefficients,
    motion=found.motion,
    rms_mm=np.array(history),
    converged=converged,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _State:
  """Coefficients and motion, and what the scan has nearest to them.

  `normal` are the directions of the points from the surface, in the scan's
  frame; `corners` and `weights` say where the closest points are.
  """

  coefficients: np.ndarray
  motion: Motion
  shape: np.ndarray
  corners: np.ndarray
  weights: np.ndarray
  moved: np.ndarray
  normal: np.ndarray
  distance_mm: np.ndarray
  landmarks: np.ndarray

  @property
  def rms_mm(self) -> float:
    return float(np.sqrt(np.mean(self.distance_mm**2)))


class _Problem:
  """A model and a scan."""

  def __init__(
    self,
    mean: np.ndarray,
    basis: np.ndarray,
    triangles: np.ndarray,
    landmark_vertices: np.ndarray,
    truth: Scan,
    options: ScanProjectionOptions,
  ):
    self._mean, self._basis, self._triangles = mean, basis, triangles
    self._options = options
    inside = truth.outline
    points = truth.surface.vertices
    points = points if inside is None else points[inside]
    self._points = points[evenly(len(points), options.points)]
    self._count = max(3, round(options.nearest_share * len(self._points)))
    known = (landmark_vertices >= 0) & np.isfinite(truth.landmarks).all(1)
    known &= _INNER
    if known.sum() < 3:
      raise ValueError(
        "landmarks: expected 3 or more inside the face on model and scan, got"
        f" {known.sum()}"
      )
    self._marks, self._targets = (
      landmark_vertices[known],
      truth.landmarks[known],
    )

  def start(self) -> _State:
    """The mean shape, laid over by the landmarks."""
    motion = similarity(self._mean[self._marks], self._targets)
    return self._state(np.zeros(self._basis.shape[-1]), motion)

  def descend(
    self, state: _State, weight: float
  ) -> tuple[_State, list[float], bool]:
    """Iterates with a weight of the landmarks, to the end."""
    history: list[float] = []
    damping, converged = _LEAST_DAMPING, False
    while len(history) < self._options.iterations and not converged:
      normal, slope = self._system(state, weight)
      size = np.diag(normal).copy()
      tried = state
      while damping <= _MOST_DAMPING:
        step = np.linalg.solve(normal + damping * np.diag(size), slope)
        tried = self._stepped(state, step)
        if self._objective(tried, weight) < self._objective(state, weight):
          break
        damping *= 10
      else:
        tried = state
      history.append(tried.rms_mm)
      before = np.sqrt(self._objective(state, weight) / self._count)
      after = np.sqrt(self._objective(tried, weight) / self._count)
      converged = before - after < self._options.tolerance_mm
      state, damping = tried, max(damping / 10, _LEAST_DAMPING)
    return state, history, converged

  def _objective(self, state: _State, weight: float) -> float:
    prior = self._options.point_std_mm**2 * np.sum(state.coefficients**2)
    marks = weight * np.sum((state.landmarks - self._targets) ** 2)
    return float(np.sum(state.distance_mm**2) + prior + marks)

  def _state(self, coefficients: np.ndarray, motion: Motion) -> _State:
    shape = self._mean + self._basis @ coefficients
    surface = make_surface(shape, self._triangles)
    asked = motion.inverse(self._points)
    found = closest_points(surface, asked)
    near = np.argpartition(found.distance_mm, self._count - 1)[: self._count]
    apart = found.distance_mm[near]
    towards = (asked[near] - found.point[near]) / np.maximum(apart, 1e-9)[
      :, None
    ]
    normal = np.where(apart[:, None] > 1e-9, towards, found.normal[near])
    corners = surface.triangles[found.triangle[near]]
    return _State(
      coefficients=coefficients,
      motion=motion,
      shape=shape,
      corners=corners,
      weights=barycentric(found.point[near], shape[corners]),
      moved=motion.apply(found.point[near]),
      normal=normal @ motion.rotation.T,
      distance_mm=motion.scale * apart,
      landmarks=motion.apply(shape[self._marks]),
    )

  def _system(
    self, state: _State, weight: float
  ) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix and right side; unknowns: modes, turn, shift, growth."""
    motion = state.motion
    own = motion.scale * state.normal @ motion.rotation
    modes = sum(
      np.einsum(
        "pi,pic->pc",
        state.weights[:, [k]] * own,
        self._basis[state.corners[:, k]],
      )
      for k in range(3)
    )
    arm = state.moved - self._centre()
    jacobian = np.concatenate(
      [
        modes,
        np.cross(arm, state.normal),
        state.normal,
        np.sum(arm * state.normal, 1, keepdims=True),
      ],
      1,
    )
    normal = jacobian.T @ jacobian
    slope = jacobian.T @ state.distance_mm
    count = self._basis.shape[-1]
    prior = self._options.point_std_mm**2
    normal[range(count), range(count)] += prior
    slope[:count] -= prior * state.coefficients
    if weight:
      marks = self._mark_jacobian(state)
      normal += weight * marks.T @ marks
      slope += weight * marks.T @ (self._targets - state.landmarks).ravel()
    return normal, slope

  def _mark_jacobian(self, state: _State) -> np.ndarray:
    motion = state.motion
    modes = np.einsum(
      "ij,ljc->lic", motion.scale * motion.rotation, self._basis[self._marks]
    )
    arm = state.landmarks - self._centre()
    turns = np.stack([np.cross(axis, arm) for axis in np.eye(3)], -1)
    shifts = np.broadcast_to(np.eye(3), turns.shape)
    whole = np.concatenate([modes, turns, shifts, arm[..., None]], -1)
    return whole.reshape(-1, whole.shape[-1])

  def _stepped(self, state: _State, step: np.ndarray) -> _State:
    count = self._basis.shape[-1]
    turn, shift = rotation_about(step[count : count + 3]), step[count + 3 : -1]
    grow = float(np.exp(np.clip(step[-1], -0.5, 0.5)))
    centre, old = self._centre(), state.motion
    return self._state(
      state.coefficients + step[:count],
      Motion(
        grow * old.scale,
        turn @ old.rotation,
        grow * turn @ (old.translation - centre) + centre + shift,
      ),
    )

  def _centre(self) -> np.ndarray:
    return self._targets.mean(0)
