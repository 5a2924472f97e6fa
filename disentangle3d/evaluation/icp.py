"""Iterative closest point: lays a surface over points, and says how it went.

Host code in float64. The points (a scan's) stand still and each asks for its
closest point of the surface (scan to mesh), so that what the surface has
beyond the scan does not count.
"""

import dataclasses

from jaxtyping import Array, Float
import numpy as np

from disentangle3d.evaluation.rows import evenly
from disentangle3d.evaluation.surfaces import Surface, closest_points
from disentangle3d.types import check_array


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
  """A similarity: scale R x + translation.

  Attributes:
    scale: Positive.
    rotation: Proper, `[3, 3]`.
    translation: `[3]`, mm.
  """

  scale: float
  rotation: Float[np.ndarray, "3 3"]
  translation: Float[np.ndarray, "3"]

  def apply(
    self, points: Float[np.ndarray, "... 3"]
  ) -> Float[np.ndarray, "... 3"]:
    """Moves points."""
    return self.scale * points @ self.rotation.T + self.translation

  def inverse(
    self, points: Float[np.ndarray, "... 3"]
  ) -> Float[np.ndarray, "... 3"]:
    """Moves points back."""
    return (points - self.translation) @ self.rotation / self.scale


IDENTITY = Motion(1.0, np.eye(3), np.zeros(3))


@dataclasses.dataclass(frozen=True)
class IcpOptions:
  """When ICP stops, and what it works on.

  Attributes:
    iterations: At most so many.
    tolerance_mm: Converged where the root mean square distance falls by less.
    points: At most so many of the points, evenly taken; bounds the time.
    nearest_share: The share of the points, the nearest at each iteration, that
      the motion is fitted to; the others may be hair, holes' rims, noise.
  """

  iterations: int = 100
  tolerance_mm: float = 1e-4
  points: int = 2000
  nearest_share: float = 1.0


DEFAULT_OPTIONS = IcpOptions()


@dataclasses.dataclass(frozen=True, eq=False)
class IcpReport:
  """Where ICP came to, and how.

  Attributes:
    motion: Lays the surface over the points.
    rms_mm: Root mean square distance, of the nearest share of the points,
      before each iteration and after the last, `[iterations + 1]`; never
      rises.
    iterations: Done.
    converged: Whether the last one gained less than the tolerance.
    points: How many points took part.
  """

  motion: Motion
  rms_mm: Float[np.ndarray, "T"]
  iterations: int
  converged: bool
  points: int


def similarity(
  source: Float[np.ndarray, "P 3"],
  target: Float[np.ndarray, "P 3"],
  *,
  with_scale: bool = True,
) -> Motion:
  """Procrustes in float64: as `geometry.align_similarity`, on the host.

  For point sets whose number differs from scan to scan, which under XLA would
  be a program each.

  Raises:
    ValueError: The shapes differ, or there are fewer than three points.
    TypeError: A dtype differs.
  """
  sizes = check_array("source", source, "P 3")
  check_array("target", target, "P 3", sizes=sizes)
  if sizes["P"] < 3:
    raise ValueError(f"source: expected 3 points or more, got {sizes['P']}")
  source_mean, target_mean = source.mean(0), target.mean(0)
  x, y = source - source_mean, target - target_mean
  u, singular, vt = np.linalg.svd(y.T @ x)
  sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
  rotation = (u * sign) @ vt
  scale = 1.0
  if with_scale:
    scale = float(singular @ sign / max(np.sum(x * x), 1e-300))
  return Motion(scale, rotation, target_mean - scale * rotation @ source_mean)


def icp(
  surface: Surface,
  points: Float[Array | np.ndarray, "P 3"],
  *,
  start: Motion = IDENTITY,
  with_scale: bool = True,
  options: IcpOptions = DEFAULT_OPTIONS,
) -> IcpReport:
  """Finds the motion of `surface` that brings it nearest to `points`.

  Minimises the mean squared distance of the points to the moved surface. Each
  iteration tries the point-to-plane step, which slides along the surface and
  so needs few; where that would raise the distance, it takes the closed-form
  point-to-point step, which cannot.

  Args:
    surface: What is moved.
    points: What it is laid over, `[P, 3]`, mm, three or more.
    start: Where to begin; ICP finds the nearest minimum only.
    with_scale: False keeps the start's scale.
    options: See `IcpOptions`.

  Returns:
    `IcpReport`.

  Raises:
    ValueError: There are fewer than three points, or one is not finite.
    TypeError: `points` is not floating.
  """
  sizes = check_array("points", points, "P 3")
  if sizes["P"] < 3:
    raise ValueError(f"points: expected 3 or more, got {sizes['P']}")
  chosen = evenly(sizes["P"], options.points)
  fixed = np.asarray(points, np.float64)[chosen]
  motion = start
  count = max(3, round(options.nearest_share * len(fixed)))
  found = _correspond(surface, fixed, motion, count)
  history = [found.rms_mm]
  converged = False
  while not converged and len(history) <= options.iterations:
    tried = _plane_step(found, motion, with_scale)
    after = _correspond(surface, fixed, tried, count)
    if not after.rms_mm < history[-1]:
      tried = _point_step(found, motion, with_scale)
      after = _correspond(surface, fixed, tried, count)
    if after.rms_mm <= history[-1]:
      motion, found = tried, after
    history.append(found.rms_mm)
    converged = history[-2] - history[-1] < options.tolerance_mm
  return IcpReport(
    motion=motion,
    rms_mm=np.array(history),
    iterations=len(history) - 1,
    converged=converged,
    points=count,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Correspondence:
  """The nearest of the points, and what the surface has nearest to them.

  That is in the surface's own frame and moved. Its normals are the directions
  of the points from it: where several triangles meet, any one's own would be a
  matter of rounding.
  """

  fixed: np.ndarray
  own: np.ndarray
  moved: np.ndarray
  normal: np.ndarray
  rms_mm: float


def _correspond(
  surface: Surface, fixed: np.ndarray, motion: Motion, count: int
) -> _Correspondence:
  # Moving the points back leaves the surface's index as it is.
  asked = motion.inverse(fixed)
  found = closest_points(surface, asked)
  towards = (asked - found.point) / np.maximum(found.distance_mm, 1e-9)[:, None]
  normal = np.where(found.distance_mm[:, None] > 1e-9, towards, found.normal)
  away = motion.scale * found.distance_mm
  near = np.arange(len(fixed))
  if count < len(fixed):
    near = np.argpartition(away, count - 1)[:count]
  return _Correspondence(
    fixed=fixed[near],
    own=found.point[near],
    moved=motion.apply(found.point[near]),
    normal=normal[near] @ motion.rotation.T,
    rms_mm=float(np.sqrt(np.mean(away[near] ** 2))),
  )


def _point_step(
  found: _Correspondence, motion: Motion, with_scale: bool
) -> Motion:
  if with_scale:
    return similarity(found.own, found.fixed)
  scaled = similarity(motion.scale * found.own, found.fixed, with_scale=False)
  return Motion(motion.scale, scaled.rotation, scaled.translation)


def _plane_step(
  found: _Correspondence, motion: Motion, with_scale: bool
) -> Motion:
  """One Gauss-Newton step on the distances to the tangent planes."""
  centre = found.fixed.mean(0)
  arm = found.moved - centre
  columns = [np.cross(arm, found.normal), found.normal]
  if with_scale:
    columns.append(np.sum(arm * found.normal, 1, keepdims=True))
  jacobian = np.concatenate(columns, 1)
  away = np.sum((found.fixed - found.moved) * found.normal, 1)
  step = np.linalg.lstsq(jacobian, away, rcond=1e-10)[0]
  turn = rotation_about(step[:3])
  grow = float(np.exp(np.clip(step[6], -0.5, 0.5))) if with_scale else 1.0
  return Motion(
    scale=grow * motion.scale,
    rotation=turn @ motion.rotation,
    translation=grow * turn @ (motion.translation - centre)
    + centre
    + step[3:6],
  )


def rotation_about(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
  """The rotation about an axis by its length in radians (Rodrigues)."""
  angle = float(np.linalg.norm(vector))
  if angle < 1e-15:
    return np.eye(3)
  x, y, z = vector / angle
  cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
  return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
