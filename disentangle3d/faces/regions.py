"""Soft masks of lips, brows and eyes of any model with 68 landmarks.

Computed on the mean shape, seen from the front: for skin colouring.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel

_BROWS = (range(17, 22), range(22, 27))
_EYES = (range(36, 42), range(42, 48))
_OUTER_LIPS = (*range(48, 55), *range(55, 60))
_INNER_LIPS = range(60, 65)
# The iris of an adult; everything else scales with the face.
_IRIS_RADIUS_MM = 5.9
_PUPIL_RADIUS_MM = 2.0


def face_regions(model: MorphableModel) -> dict[str, Float[Array, "V"]]:
  """Soft masks of a model's facial regions.

  Args:
    model: Any model with the landmarks 17 to 67; V vertices.

  Returns:
    Masks `[V]` in [0, 1]: `lips`, `mouth` (the inside, behind the lips),
    `brows`, `eyes` (all between the lids), `iris`, `pupil`, `cheeks`, `nose`,
    `beard` (upper lip, chin and jaw).

  Raises:
    ValueError: The model lacks one of those landmarks.
  """
  landmarks = np.asarray(model.landmark_vertices)
  if landmarks.shape != (68,) or (landmarks[17:] < 0).any():
    missing = np.flatnonzero(landmarks < 0).tolist()
    raise ValueError(
      "model.landmark_vertices: expected the landmarks 17 to 67, got none for"
      f" {missing}"
    )
  shape = np.asarray(model.mean_shape, np.float64)
  points = shape[landmarks]
  unit = float(np.linalg.norm(points[45] - points[36])) / 90
  front = _front_facing(shape, np.asarray(model.triangles))
  x, y = shape[:, 0], shape[:, 1]
  lips = _inside(shape, points[list(_OUTER_LIPS)], edge_mm=0.8 * unit)
  behind = _behind(shape, points[list(_INNER_LIPS)], 2.5 * unit)
  eyes, iris, pupil, brows = (np.zeros(len(shape)) for _ in range(4))
  for corners in _EYES:
    ring = points[list(corners)]
    between = _inside(shape, ring, edge_mm=0.5 * unit) * front
    between = between * (1 - _behind(shape, ring[:4], 10 * unit))
    centre = ring[[1, 2, 4, 5]].mean(0)
    away = np.hypot(x - centre[0], y - centre[1])
    eyes = np.maximum(eyes, between)
    iris = np.maximum(iris, between * _ramp(_IRIS_RADIUS_MM * unit - away))
    pupil = np.maximum(pupil, between * _ramp(_PUPIL_RADIUS_MM * unit - away))
  for line in _BROWS:
    away, along = _distance_to_line(shape[:, :2], points[list(line), :2])
    inner = along if line[0] == 22 else 1 - along
    width = unit * (3.6 - 1.6 * inner)
    brows = np.maximum(brows, np.exp(-((away / width) ** 4)) * front)
  masks = {
    "lips": lips * (1 - behind) * front,
    "mouth": lips * behind,
    "brows": brows,
    "eyes": eyes,
    "iris": iris,
    "pupil": pupil,
  }
  masks |= _soft_areas(shape, points, unit, front)
  return {k: jnp.asarray(v, jnp.float32) for k, v in masks.items()}


def _soft_areas(
  shape: np.ndarray, points: np.ndarray, unit: float, front: np.ndarray
) -> dict[str, np.ndarray]:
  """Cheeks, nose and beard: Gaussians placed between landmarks."""
  eyes = 0.5 * (points[36] + points[45])
  mouth = points[[48, 54]].mean(0)
  down = eyes[1] - mouth[1]

  def blob(x: float, y: float, sx: float, sy: float) -> np.ndarray:
    u = (shape[:, 0] - x) / (sx * unit)
    v = (shape[:, 1] - y) / (sy * unit)
    return np.exp(-0.5 * (u * u + v * v)) * front

  cheek_y = eyes[1] - 0.52 * down
  cheeks = np.maximum(
    blob(points[36, 0], cheek_y, 14, 12), blob(points[45, 0], cheek_y, 14, 12)
  )
  nose = blob(points[30, 0], points[30, 1], 12, 10)
  top = points[33, 1] - 3 * unit
  beard = _ramp((top - shape[:, 1]) / (10 * unit))
  wide = np.abs(shape[:, 0] - mouth[0]) / unit
  low = _ramp((mouth[1] - shape[:, 1]) / (12 * unit))
  beard = beard * np.maximum(_ramp((32 - wide) / 10), low)
  return {"cheeks": cheeks, "nose": nose, "beard": beard}


def _ramp(x: np.ndarray) -> np.ndarray:
  """From 0 at -0.5 to 1 at 0.5, smoothly."""
  x = np.clip(x + 0.5, 0, 1)
  return x * x * (3 - 2 * x)


def _front_facing(shape: np.ndarray, triangles: np.ndarray) -> np.ndarray:
  """1 where the surface looks at the viewer, 0 where it looks away."""
  a, b, c = (shape[triangles[:, i]] for i in range(3))
  normal = np.cross(b - a, c - a)
  total = np.zeros_like(shape)
  for i in range(3):
    np.add.at(total, triangles[:, i], normal)
  length = np.maximum(np.linalg.norm(total, axis=1), 1e-12)
  return _ramp(4 * (total[:, 2] / length - 0.05))


def _inside(
  shape: np.ndarray, ring: np.ndarray, *, edge_mm: float
) -> np.ndarray:
  """1 inside a polygon seen from the front, 0 outside, soft at its edge."""
  ring = _rounded(ring[:, :2])
  p = shape[:, :2]
  margin = 2 * edge_mm
  low, high = ring.min(0) - margin, ring.max(0) + margin
  near = np.flatnonzero(((p > low) & (p < high)).all(1))
  mask = np.zeros(len(shape))
  q = p[near]
  crossings = np.zeros(len(q), int)
  for a, b in zip(ring, np.roll(ring, -1, 0), strict=True):
    between = (a[1] > q[:, 1]) != (b[1] > q[:, 1])
    rise = b[1] - a[1] if b[1] != a[1] else 1.0
    at = a[0] + (q[:, 1] - a[1]) / rise * (b[0] - a[0])
    crossings += between & (q[:, 0] < at)
  away, _ = _distance_to_line(q, np.concatenate([ring, ring[:1]]))
  signed = np.where(crossings % 2 == 1, away, -away)
  mask[near] = _ramp(signed / (2 * edge_mm))
  return mask


def _behind(
  shape: np.ndarray, line: np.ndarray, margin_mm: float
) -> np.ndarray:
  """1 for points further behind a line across the face than the margin."""
  order = np.argsort(line[:, 0])
  depth = np.interp(shape[:, 0], line[order, 0], line[order, 2])
  return _ramp((depth - margin_mm - shape[:, 2]) / margin_mm)


def _distance_to_line(
  points: np.ndarray, line: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Distance to a line of segments, and where on it, 0 to 1."""
  best = np.full(len(points), np.inf)
  along = np.zeros(len(points))
  for i, (a, b) in enumerate(zip(line[:-1], line[1:], strict=True)):
    step = b - a
    t = np.clip((points - a) @ step / max(step @ step, 1e-12), 0, 1)
    away = np.linalg.norm(points - a - t[:, None] * step, axis=1)
    along = np.where(away < best, (i + t) / (len(line) - 1), along)
    best = np.minimum(best, away)
  return best, along


def _rounded(ring: np.ndarray) -> np.ndarray:
  """The closed Catmull-Rom curve through a ring of points."""
  before, after = np.roll(ring, 1, 0), np.roll(ring, -1, 0)
  later = np.roll(ring, -2, 0)
  t = np.linspace(0, 1, 6, endpoint=False)[None, :, None]
  curve = 0.5 * (
    2 * ring[:, None]
    + (after - before)[:, None] * t
    + (2 * before - 5 * ring + 4 * after - later)[:, None] * t**2
    + (3 * ring - before - 3 * after + later)[:, None] * t**3
  )
  return curve.reshape(-1, 2)
