"""Exact closest points on triangle meshes, for scans of any topology (host).

The search is libigl's tree of bounding boxes; only this module imports it. In
a triangle that is next to nothing wide it loses its way in rounding, so such
ones are there as their sides too.
"""

import dataclasses
import functools
from typing import Any

from jaxtyping import Array, Float, Int
import numpy as np
import scipy

from disentangle3d.types import check_array

# The sine of the smallest angle. libigl's rounding along a triangle grows with
# its inverse square, to a millionth of its length here.
_NARROW = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class _Simplices:
  """What one of libigl's trees holds: corners, and whose triangle each is."""

  tree: Any
  corners: Int[np.ndarray, "K C"]
  triangle: Int[np.ndarray, "K"]


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """A triangle mesh that can be asked for closest points; see `make_surface`.

  What is searched is made when it is first asked for. Pickled without it, so
  that other processes may have surfaces.

  Attributes:
    vertices: `[V, 3]` float64, mm.
    triangles: Vertex indices, `[F, 3]` int64.
  """

  vertices: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]

  @functools.cached_property
  def normal(self) -> Float[np.ndarray, "F 3"]:
    """The triangles' unit normals; zero where one has no area."""
    normal = self._area_normal
    twice_area = np.linalg.norm(normal, axis=1)[:, None]
    return np.divide(
      normal, twice_area, out=np.zeros_like(normal), where=twice_area > 0
    )

  @functools.cached_property
  def parts(self) -> list[_Simplices]:
    """The triangles, and the three sides of the narrow ones."""
    points, faces = self.vertices, self.triangles
    sides = points[faces] - points[np.roll(faces, 1, axis=1)]
    lengths = np.sort(np.linalg.norm(sides, axis=-1), axis=1)
    twice_area = np.linalg.norm(self._area_normal, axis=1)
    narrow = np.flatnonzero(
      twice_area <= _NARROW * lengths[:, 1] * lengths[:, 2]
    )
    pairs = ([0, 1], [1, 2], [2, 0]) if len(narrow) else ()
    parts = [
      (faces, np.arange(len(faces))),
      *((faces[narrow][:, pair], narrow) for pair in pairs),
    ]
    return [_simplices(points, *part) for part in parts]

  @functools.cached_property
  def vertex_tree(self) -> Any:
    """The tree of the vertices that triangles use."""
    return scipy.spatial.cKDTree(self.vertices[np.unique(self.triangles)])

  @property
  def _area_normal(self) -> np.ndarray:
    corners = self.vertices[self.triangles]
    sides = corners - np.roll(corners, 1, axis=1)
    return np.cross(sides[:, 0], sides[:, 1])

  def __reduce__(self) -> tuple[Any, ...]:
    """What pickle keeps."""
    return Surface, (self.vertices, self.triangles)


@dataclasses.dataclass(frozen=True, eq=False)
class ClosestPoints:
  """What a surface has nearest to each of P points.

  Attributes:
    distance_mm: `[P]`.
    point: The closest points, `[P, 3]`.
    triangle: The triangles they lie on, `[P]`.
    normal: Unit normals of those triangles, `[P, 3]`; zero where a triangle
      has no area.
  """

  distance_mm: Float[np.ndarray, "P"]
  point: Float[np.ndarray, "P 3"]
  triangle: Int[np.ndarray, "P"]
  normal: Float[np.ndarray, "P 3"]


def make_surface(
  vertices: Float[Array | np.ndarray, "V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
) -> Surface:
  """Prepares a mesh for `closest_points`.

  Args:
    vertices: `[V, 3]`, mm, finite.
    triangles: Vertex indices, `[F, 3]`, at least one; some may have no area.

  Returns:
    The surface.

  Raises:
    ValueError: A shape differs, there is no triangle, an index is out of
      range, or a position is not finite.
    TypeError: A dtype differs.
  """
  sizes = check_array("vertices", vertices, "V 3")
  check_array("triangles", triangles, "F 3", dtype="integer")
  points = np.asarray(vertices, np.float64)
  faces = np.asarray(triangles, np.int64)
  if not np.isfinite(points).all():
    raise ValueError("vertices: expected finite numbers, got NaN or inf")
  if not faces.size:
    raise ValueError("triangles: expected at least one, got none")
  if faces.min() < 0 or faces.max() >= sizes["V"]:
    raise ValueError(
      f"triangles: expected indices from 0 to {sizes['V'] - 1}, got"
      f" {faces.min()} to {faces.max()}"
    )
  return Surface(points, faces)


def _simplices(
  points: np.ndarray, corners: np.ndarray, triangle: np.ndarray
) -> _Simplices:
  import igl  # Here, since only scans need it.

  tree = igl.AABB()
  tree.init(points, corners)
  return _Simplices(tree, corners, triangle)


def closest_points(
  surface: Surface, points: Float[Array | np.ndarray, "P 3"]
) -> ClosestPoints:
  """The closest point of a surface to each of the points, exactly.

  Args:
    surface: From `make_surface`.
    points: `[P, 3]`, mm, finite.

  Returns:
    `ClosestPoints`.

  Raises:
    ValueError: `points` is not `[P, 3]` or not finite.
    TypeError: `points` is not floating.
  """
  check_array("points", points, "P 3")
  asked = np.asarray(points, np.float64)
  if not np.isfinite(asked).all():
    raise ValueError("points: expected finite numbers, got NaN or inf")
  square = np.full(len(asked), np.inf)
  triangle = np.zeros(len(asked), np.int64)
  point = np.empty((len(asked), 3))
  for part in surface.parts:
    away, which, where = part.tree.squared_distance(
      surface.vertices, part.corners, asked
    )
    nearer = away < square
    square[nearer], point[nearer] = away[nearer], where[nearer]
    triangle[nearer] = part.triangle[which[nearer]]
  return ClosestPoints(
    distance_mm=np.sqrt(square),
    point=point,
    triangle=triangle,
    normal=surface.normal[triangle],
  )


def nearest_vertices(
  surface: Surface, points: Float[Array | np.ndarray, "P 3"]
) -> Float[np.ndarray, "P"]:
  """Distance to the nearest vertex, `[P]`, mm: never less than the surface's.

  Raises:
    ValueError: `points` is not `[P, 3]`.
    TypeError: `points` is not floating.
  """
  check_array("points", points, "P 3")
  return surface.vertex_tree.query(np.asarray(points, np.float64))[0]


def barycentric(
  points: Float[np.ndarray, "P 3"], corners: Float[np.ndarray, "P 3 3"]
) -> Float[np.ndarray, "P 3"]:
  """Weights of triangles' corners that give points on them; they sum to 1.

  Args:
    points: `[P, 3]`, one on each triangle.
    corners: `[P, 3, 3]`; a triangle without area takes its first corner.
  """
  a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
  p = points - corners[:, 0]
  aa, ab, bb = (np.sum(x * y, 1) for x, y in ((a, a), (a, b), (b, b)))
  pa, pb = np.sum(p * a, 1), np.sum(p * b, 1)
  area = aa * bb - ab * ab
  solid = area > 1e-12 * aa * bb
  area = np.where(solid, area, 1.0)
  second = np.where(solid, (bb * pa - ab * pb) / area, 0.0)
  third = np.where(solid, (aa * pb - ab * pa) / area, 0.0)
  return np.stack([1 - second - third, second, third], 1)
