"""Exact closest points on triangle meshes, for scans of any topology (host).

The search is libigl's tree of bounding boxes; only this module imports it. In
a triangle that is next to nothing wide it loses its way in rounding, so such
ones are there as their sides too.
"""

import dataclasses
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

  Attributes:
    vertices: `[V, 3]` float64, mm.
    triangles: Vertex indices, `[F, 3]` int64.
    normal: The triangles' unit normals, `[F, 3]`; zero where one has no area.
    parts: The triangles, and the three sides of the narrow ones.
    vertex_tree: The tree of the vertices that triangles use.
  """

  vertices: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  normal: Float[np.ndarray, "F 3"]
  parts: list[_Simplices]
  vertex_tree: Any


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
  sides = points[faces] - points[np.roll(faces, 1, axis=1)]
  lengths = np.sort(np.linalg.norm(sides, axis=-1), axis=1)
  normal = np.cross(sides[:, 0], sides[:, 1])
  twice_area = np.linalg.norm(normal, axis=1)
  narrow = np.flatnonzero(twice_area <= _NARROW * lengths[:, 1] * lengths[:, 2])
  pairs = ([0, 1], [1, 2], [2, 0]) if len(narrow) else ()
  parts = [
    (faces, np.arange(len(faces))),
    *((faces[narrow][:, pair], narrow) for pair in pairs),
  ]
  return Surface(
    vertices=points,
    triangles=faces,
    normal=np.divide(
      normal,
      twice_area[:, None],
      out=np.zeros_like(normal),
      where=twice_area[:, None] > 0,
    ),
    parts=[_simplices(points, *part) for part in parts],
    vertex_tree=scipy.spatial.cKDTree(points[np.unique(faces)]),
  )


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
