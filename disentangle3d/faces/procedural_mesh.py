"""The mesh of the procedural face: a curved grid with a mouth that opens.

Columns and rows pass exactly through the corners of eyes and mouth. Between
the corners of the mouth the seam's row is doubled and joined by a pocket, so
that the lips can part. What a grid misses of the asked number of vertices is
added by splitting triangles in mirror pairs.
"""

import dataclasses

import numpy as np
import scipy

from disentangle3d.faces import procedural_surface as face

# Knots of rows (mm) and columns (x mm at a row), and the share of cells
# between each and the next.
_ROW_KNOTS = [-101, -84, -56, -40, -26, -14, 4, 22, 30, 39, 52, 106]
_ROW_SHARE = [7, 17, 18.5, 18, 13, 14.5, 15, 12, 13, 11, 17]
_COLUMN_SHARE = [15, 7, 15, 17.5, 15, 11]
_ASPECT = 0.82
_POCKET_DEPTH = (4.5, 9.0, 4.5)
_POCKET_RISE = (0.7, 0.0, -0.7)


@dataclasses.dataclass(frozen=True)
class FaceMesh:
  """A mirror-symmetric mesh of the mean face.

  Attributes:
    position: Vertices, `[V, 3]` float64, mm.
    triangles: `[F, 3]` int32, counter-clockwise from outside.
    mirror: Each vertex's mirror image, `[V]` int32.
    below_seam: -1 above the line where the lips part, 1 below, between inside
      the pocket, `[V]`.
    seam: The seam's vertices between the corners: upper, lower, `[2, K]`,
      from x < 0 to x > 0.
    pocket: Whether a vertex lies inside the mouth, `[V]` bool.
  """

  position: np.ndarray
  triangles: np.ndarray
  mirror: np.ndarray
  below_seam: np.ndarray
  seam: np.ndarray
  pocket: np.ndarray


def face_mesh(num_vertices: int) -> FaceMesh:
  """The mean face with exactly `num_vertices` vertices (at least 500)."""
  rows, half = _grid_size(num_vertices)
  row, seam_row = _rows(rows)
  angle, corner = _columns(half)
  columns = 2 * half + 1
  signed = np.arange(-half, half + 1)
  grid_angle, grid_row = np.meshgrid(angle, row)
  points = face.surface(grid_angle.ravel(), grid_row.ravel())
  points = points.reshape(rows, half + 1, 3)
  points[:, 0, 0] = 0.0
  points = points[:, np.abs(signed)]
  points[:, :half, 0] *= -1
  index = np.arange(rows * columns).reshape(rows, columns)
  mouth = slice(half - corner + 1, half + corner)
  seam_upper = index[seam_row, mouth]
  width = seam_upper.size
  extra = rows * columns + np.arange(4 * width).reshape(4, width)
  pocket = _pocket(points[seam_row, mouth])
  position = np.concatenate([points.reshape(-1, 3), pocket.reshape(-1, 3)])
  below = np.repeat(np.sign(seam_row - np.arange(rows)), columns) * 1.0
  below[seam_upper] = -1
  below = np.concatenate([below, np.repeat([1.0, -1.0, 0.0, 1.0], width)])
  below_index = index.copy()
  below_index[seam_row, mouth] = extra[0]
  triangles = np.concatenate(
    [
      _quads(index[seam_row:], half),
      _quads(below_index[: seam_row + 1], half),
      _pocket_triangles(index, extra, seam_row, half, corner),
    ]
  )
  mirror = np.concatenate([index[:, ::-1].ravel(), extra[:, ::-1].ravel()])
  inside = np.arange(len(position)) >= rows * columns + width
  mesh = FaceMesh(
    position=position,
    triangles=triangles.astype(np.int32),
    mirror=mirror.astype(np.int32),
    below_seam=below,
    seam=np.stack([seam_upper, extra[0]]),
    pocket=inside,
  )
  return _add_vertices(mesh, num_vertices - len(position))


def _grid_size(num_vertices: int) -> tuple[int, int]:
  """Rows and columns a side: nearly `_ASPECT`, fewest vertices missing."""
  ideal = np.sqrt(num_vertices / _ASPECT)
  best, found = None, (0, 0)
  for half in range(int(0.45 * ideal), int(0.55 * ideal) + 2):
    _, corner = _columns(half)
    columns = 2 * half + 1
    rows = (num_vertices - 4 * (2 * corner - 1)) // columns
    missing = num_vertices - 4 * (2 * corner - 1) - rows * columns
    cost = missing + 0.05 * num_vertices * abs(np.log(rows / columns / _ASPECT))
    if best is None or cost < best:
      best, found = cost, (rows, half)
  return found


def _rows(count: int) -> tuple[np.ndarray, int]:
  """Row parameters from the bottom, and the index of the mouth's."""
  at = _knot_indices(_ROW_SHARE, count - 1)
  return scipy.interpolate.PchipInterpolator(at, _ROW_KNOTS)(
    np.arange(count)
  ), int(at[3])


def _columns(half: int) -> tuple[np.ndarray, int]:
  """Angles from the midline, and the index of the mouth's corner."""
  knots = [
    0.0,
    face.angle_at(10.5, -10.0),
    face.angle_at(face.INNER_CANTHUS[0], face.INNER_CANTHUS[1]),
    face.angle_at(face.MOUTH_CORNER_X, face.MOUTH_ROW),
    face.angle_at(face.OUTER_CANTHUS[0], face.OUTER_CANTHUS[1]),
    1.1,
    face.SIDE_ANGLE,
  ]
  at = _knot_indices(_COLUMN_SHARE, half)
  return scipy.interpolate.PchipInterpolator(at, knots)(
    np.arange(half + 1)
  ), int(at[3])


def _knot_indices(share: list[float], cells: int) -> np.ndarray:
  """Whole indices of knots, cells shared out, at least one a gap."""
  at = np.rint(np.cumsum([0, *share]) / sum(share) * cells).astype(int)
  for i in range(1, len(at)):
    at[i] = max(at[i], at[i - 1] + 1)
  at[-1] = cells
  for i in range(len(at) - 2, 0, -1):
    at[i] = min(at[i], at[i + 1] - 1)
  return at


def _pocket(seam: np.ndarray) -> np.ndarray:
  """The lower seam and the pocket's three rows, `[4, K, 3]`."""
  u = seam[:, 0] / face.MOUTH_CORNER_X
  taper = np.sqrt(np.clip(1 - u * u, 0.02, 1))
  layers = [seam]
  for depth, rise in zip(_POCKET_DEPTH, _POCKET_RISE, strict=True):
    layer = seam.copy()
    layer[:, 1] += rise * taper
    layer[:, 2] -= depth * taper
    layers.append(layer)
  return np.stack(layers)


def _quads(index: np.ndarray, half: int) -> np.ndarray:
  """Triangles of a grid whose rows go up, diagonals mirrored about `half`."""
  a, b = index[:-1, :-1], index[:-1, 1:]
  c, d = index[1:, :-1], index[1:, 1:]
  left = np.arange(index.shape[1] - 1) < half
  first = np.where(left[:, None], _stack(a, b, d), _stack(a, b, c))
  second = np.where(left[:, None], _stack(a, d, c), _stack(b, d, c))
  return np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])


def _stack(*corners: np.ndarray) -> np.ndarray:
  return np.stack(corners, -1)


def _pocket_triangles(
  index: np.ndarray, extra: np.ndarray, seam_row: int, half: int, corner: int
) -> np.ndarray:
  """Joins lower seam, pocket and upper seam; all end in the corners."""
  left, right = index[seam_row, half - corner], index[seam_row, half + corner]
  mouth = slice(half - corner + 1, half + corner)
  layers = [extra[0], extra[3], extra[2], extra[1], index[seam_row, mouth]]
  triangles = [_quads(np.stack(layers), corner - 1)]
  for low, high in zip(layers[:-1], layers[1:], strict=True):
    triangles.append(
      np.array([[left, low[0], high[0]], [low[-1], right, high[-1]]])
    )
  return np.concatenate(triangles)


def _add_vertices(mesh: FaceMesh, missing: int) -> FaceMesh:
  """Splits one midline edge if `missing` is odd, then triangles in pairs."""
  if missing % 2:
    mesh = _split_midline_edge(mesh)
    missing -= 1
  if not missing:
    return mesh
  p, t = mesh.position, mesh.triangles
  right = (p[t][:, :, 0] >= 0).all(1) & ~mesh.pocket[t].any(1)
  area = np.linalg.norm(
    np.cross(p[t[:, 1]] - p[t[:, 0]], p[t[:, 2]] - p[t[:, 0]]), axis=1
  )
  order = np.argsort(np.where(right, -area, 1.0), kind="stable")
  chosen = order[: missing // 2]
  key = {tuple(sorted(x)): i for i, x in enumerate(t.tolist())}
  twins = [key[tuple(sorted(mesh.mirror[t[i]].tolist()))] for i in chosen]
  split = np.stack([chosen, twins], 1).ravel()
  new = len(p) + np.arange(missing)
  corners = t[split]
  centre = p[corners[::2]].mean(1)
  centres = np.stack([centre, centre * [-1, 1, 1]], 1).reshape(-1, 3)
  a, b, c = corners.T
  fresh = np.concatenate(
    [_stack(a, b, new), _stack(b, c, new), _stack(c, a, new)]
  )
  return FaceMesh(
    position=np.concatenate([p, centres]),
    triangles=np.concatenate(
      [np.delete(t, split, axis=0), fresh.astype(np.int32)]
    ),
    mirror=np.concatenate(
      [mesh.mirror, new.reshape(-1, 2)[:, ::-1].ravel()]
    ).astype(np.int32),
    below_seam=np.concatenate(
      [mesh.below_seam, mesh.below_seam[corners].mean(1)]
    ),
    seam=mesh.seam,
    pocket=np.concatenate([mesh.pocket, np.zeros(missing, bool)]),
  )


def _split_midline_edge(mesh: FaceMesh) -> FaceMesh:
  """Halves the longest edge on the midline."""
  p, t = mesh.position, mesh.triangles
  middle = (mesh.mirror == np.arange(len(p))) & ~mesh.pocket
  edges = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
  edges = edges[middle[edges].all(1)]
  length = np.linalg.norm(p[edges[:, 0]] - p[edges[:, 1]], axis=1)
  edge = set(edges[int(np.argmax(length))].tolist())
  new, kept, fresh = len(p), [], []
  for triangle in t[np.isin(t, list(edge)).sum(1) == 2].tolist():
    for v in edge:
      fresh.append([new if x == v else x for x in triangle])
  kept = t[np.isin(t, list(edge)).sum(1) != 2]
  ends = sorted(edge)
  return dataclasses.replace(
    mesh,
    position=np.concatenate([p, p[ends].mean(0, keepdims=True)]),
    triangles=np.concatenate([kept, np.array(fresh, np.int32)]),
    mirror=np.append(mesh.mirror, np.int32(new)),
    below_seam=np.append(mesh.below_seam, mesh.below_seam[ends].mean()),
    pocket=np.append(mesh.pocket, False),
  )
