"""Exact closest points on triangle meshes, for scans of any topology (host).

A k-d tree over the triangles' centres gives candidates in order of distance.
A triangle lies within its radius of its centre, so no triangle whose centre
is further than the best distance plus the largest radius can be nearer: the
search goes on until that bound is passed, and the answer is exact. Triangles
are kept in classes of like radius, so that a few large ones do not widen the
search among the small. Of the candidates only those are looked at whose disc,
of the triangle's radius and in its plane, comes near enough.
"""

import concurrent.futures
import dataclasses
import os
from typing import Any

from jaxtyping import Array, Float, Int
import numpy as np
import scipy

from disentangle3d.types import check_array

# Of a thread: NumPy and the trees let others run meanwhile.
_POINTS_AT_A_TIME = 1_000
_FIRST_CANDIDATES = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """A triangle mesh that can be asked for closest points; see `make_surface`.

  Attributes:
    vertices: `[V, 3]` float64, mm.
    triangles: Vertex indices, `[F, 3]`.
    corners: The triangles' corners, `[F, 3, 3]`.
    centre: Of each triangle, `[F, 3]`.
    normal: Its unit normal, `[F, 3]`; zero where it has no area.
    thickness: How far a corner is from the plane through the centre at most,
      `[F]`: what rounding left of the normal, much only for needles.
    radius: Largest distance of a corner to its triangle's centre, `[F]`.
    classes: Triangles of like radius, and the tree of their centres.
    vertex_tree: The tree of the vertices that triangles use.
    used: Which vertices those are.
  """

  vertices: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  corners: Float[np.ndarray, "F 3 3"]
  centre: Float[np.ndarray, "F 3"]
  normal: Float[np.ndarray, "F 3"]
  thickness: Float[np.ndarray, "F"]
  radius: Float[np.ndarray, "F"]
  classes: list[tuple[np.ndarray, Any]]
  vertex_tree: Any
  used: Int[np.ndarray, "U"]


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
  faces = np.asarray(triangles)
  if not np.isfinite(points).all():
    raise ValueError("vertices: expected finite numbers, got NaN or inf")
  if not faces.size:
    raise ValueError("triangles: expected at least one, got none")
  if faces.min() < 0 or faces.max() >= sizes["V"]:
    raise ValueError(
      f"triangles: expected indices from 0 to {sizes['V'] - 1}, got"
      f" {faces.min()} to {faces.max()}"
    )
  corners = points[faces]
  centre = corners.mean(1)
  arms = corners - centre[:, None]
  radius = np.linalg.norm(arms, axis=-1).max(1)
  normal = _unit_normals(corners)
  least = max(float(np.median(radius)), 1e-12)
  level = np.ceil(np.log2(np.maximum(radius / least, 1.0))).astype(int)
  members = [np.flatnonzero(level == one) for one in np.unique(level)]
  used = np.unique(faces)
  return Surface(
    vertices=points,
    triangles=faces,
    corners=corners,
    centre=centre,
    normal=normal,
    thickness=np.abs(np.einsum("fci,fi->fc", arms, normal)).max(1),
    radius=radius,
    classes=[(m, scipy.spatial.cKDTree(centre[m])) for m in members],
    vertex_tree=scipy.spatial.cKDTree(points[used]),
    used=used,
  )


def _unit_normals(corners: Float[np.ndarray, "F 3 3"]) -> np.ndarray:
  a, b, c = np.moveaxis(corners, 1, 0)
  normal = np.cross(b - a, c - a)
  length = np.linalg.norm(normal, axis=1, keepdims=True)
  return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)


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
  distance = np.empty(len(asked))
  point = np.empty((len(asked), 3))
  triangle = np.empty(len(asked), np.int64)

  def answer(part: slice) -> None:
    distance[part], point[part], triangle[part] = _closest(surface, asked[part])

  parts = [
    slice(start, start + _POINTS_AT_A_TIME)
    for start in range(0, len(asked), _POINTS_AT_A_TIME)
  ]
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(answer, parts))
  return ClosestPoints(
    distance_mm=distance,
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


def _closest(
  surface: Surface, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  distance = np.full(len(points), np.inf)
  nearest = np.zeros_like(points)
  triangle = np.zeros(len(points), np.int64)
  # The nearest vertex bounds the distance; a little more for rounding, so
  # that the triangle it belongs to is among the candidates.
  bound = surface.vertex_tree.query(points)[0]
  bound += 1e-9 * (1 + np.abs(points).max(initial=0.0))
  for members, tree in surface.classes:
    reach = float(surface.radius[members].max())
    waiting, skip, count = np.arange(len(points)), 0, _FIRST_CANDIDATES
    while len(waiting):
      count = min(count, len(members))
      away, found = tree.query(
        points[waiting], list(range(skip + 1, count + 1))
      )
      radius = surface.radius[members[found]]
      least = np.minimum(bound, distance)[waiting]
      rows, columns = np.nonzero(away - radius <= least[:, None])
      asking, candidates = waiting[rows], members[found[rows, columns]]
      near = _discs_reach(
        surface, points[asking], candidates, away[rows, columns], least[rows]
      )
      _improve(
        surface,
        points,
        asking[near],
        candidates[near],
        (distance, nearest, triangle),
      )
      least = np.minimum(bound, distance)[waiting]
      more = (away[:, -1] - reach <= least) & (count < len(members))
      waiting, skip, count = waiting[more], count, 4 * count
  return distance, nearest, triangle


def _discs_reach(
  surface: Surface,
  points: np.ndarray,
  candidates: np.ndarray,
  away: np.ndarray,
  least: np.ndarray,
) -> np.ndarray:
  """Which triangles may be as near as `least`, going by the disc around each.

  Args:
    surface: Theirs.
    points: One a candidate.
    candidates: Triangles.
    away: Distance of the points to their centres.
    least: As near as they have to be.
  """
  offset = points - surface.centre[candidates]
  height = np.abs(np.einsum("pi,pi->p", offset, surface.normal[candidates]))
  along = np.sqrt(np.maximum(away**2 - height**2, 0))
  beside = np.maximum(along - surface.radius[candidates], 0)
  above = np.maximum(height - surface.thickness[candidates], 0)
  # A little for rounding.
  return above**2 + beside**2 <= (least * (1 + 1e-9) + 1e-9) ** 2


def _improve(
  surface: Surface,
  points: np.ndarray,
  rows: np.ndarray,
  candidates: np.ndarray,
  best: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
  """Takes over what is nearer among candidates, several a row."""
  if not len(rows):
    return
  distance, nearest, triangle = best
  found = _closest_on_triangles(surface.corners[candidates], points[rows])
  away = np.linalg.norm(found - points[rows], axis=1)
  order = np.lexsort((away, rows))
  first = order[np.unique(rows[order], return_index=True)[1]]
  first = first[away[first] < distance[rows[first]]]
  into = rows[first]
  distance[into], nearest[into] = away[first], found[first]
  triangle[into] = candidates[first]


def _closest_on_triangles(
  corners: np.ndarray, points: np.ndarray
) -> np.ndarray:
  """The closest point of triangle i to point i, `[P, 3]`.

  Inside the triangle's prism it is the projection to the plane, elsewhere the
  nearest of the closest points on the three sides; a triangle without area
  has sides only.
  """
  a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
  best = np.empty_like(points)
  square = np.full(len(points), np.inf)
  for start, end in ((a, b), (b, c), (c, a)):
    along = end - start
    length = np.einsum("pi,pi->p", along, along)
    share = np.einsum("pi,pi->p", points - start, along)
    share = np.clip(share / np.where(length > 0, length, 1.0), 0, 1)
    on_side = start + share[:, None] * along
    away = np.sum((points - on_side) ** 2, 1)
    better = away < square
    best[better], square[better] = on_side[better], away[better]
  first, second, offset = b - a, c - a, points - a
  d11 = np.einsum("pi,pi->p", first, first)
  d12 = np.einsum("pi,pi->p", first, second)
  d22 = np.einsum("pi,pi->p", second, second)
  d31 = np.einsum("pi,pi->p", offset, first)
  d32 = np.einsum("pi,pi->p", offset, second)
  area = d11 * d22 - d12 * d12
  solid = area > 1e-12 * d11 * d22
  safe = np.where(solid, area, 1.0)
  v = (d22 * d31 - d12 * d32) / safe
  w = (d11 * d32 - d12 * d31) / safe
  inside = solid & (v >= 0) & (w >= 0) & (v + w <= 1)
  on_plane = a + v[:, None] * first + w[:, None] * second
  best[inside] = on_plane[inside]
  return best
