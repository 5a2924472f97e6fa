"""A mesh laid out flat, so that a picture can be its skin (host).

The picture is the side of a cylinder around the head: to the right goes the
angle, downwards the height. The layout is symmetric where the model is.
"""

import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np
import scipy

from disentangle3d.types import check_array

# The cylinder's axis is behind so much of the mesh; and what is left free at
# the picture's edges.
_AXIS_SHARE = 0.04
_EDGE = 0.02
# A pixel's centre is inside where a corner's weight is so little below 0: two
# triangles leave no gap.
_ON_EDGE = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
  """Which triangle is at each pixel of a picture.

  Attributes:
    triangle: `[H, W]` int32; -1 where there is none.
    weights: Of its corners, `[H, W, 3]`; 0 where there is none.
  """

  triangle: Int[np.ndarray, "H W"]
  weights: Float[np.ndarray, "H W 3"]

  @property
  def covered(self) -> Bool[np.ndarray, "H W"]:
    """Where there is a triangle."""
    return self.triangle >= 0

  def of(
    self, values: Float[np.ndarray, "V *C"], triangles: Int[np.ndarray, "F 3"]
  ) -> Float[np.ndarray, "N *C"]:
    """What vertices have, at the N pixels that are covered, row after row."""
    corners = values[triangles[self.triangle[self.covered]]]
    weights = self.weights[self.covered]
    return np.einsum("nk,nk...->n...", weights, corners)

  def matrix(
    self, triangles: Int[np.ndarray, "F 3"], num_vertices: int
  ) -> scipy.sparse.csr_matrix:
    """What makes `of` of `[V, C]` values, `[N, V]`; for pixels used often."""
    corners = triangles[self.triangle[self.covered]]
    rows = np.arange(0, corners.size + 1, 3)
    weights = self.weights[self.covered].ravel()
    return scipy.sparse.csr_matrix(
      (weights, corners.ravel(), rows), (len(corners), num_vertices)
    )


def unwrap(
  vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 2"]:
  """Where vertices are in the picture, from 0 to 1 to the right and down.

  Args:
    vertices: Of the mean shape, `[V, 3]`, mm.
    triangles: Those that are shown, `[F, 3]`.
  """
  check_array("vertices", vertices, "V 3")
  shown = vertices[np.unique(triangles)]
  axis = np.quantile(shown[:, 2], _AXIS_SHARE)
  angle = np.arctan2(vertices[:, 0], vertices[:, 2] - axis)
  widest = np.abs(angle[np.unique(triangles)]).max()
  low, high = shown[:, 1].min(), shown[:, 1].max()
  places = np.stack(
    [angle / widest, (low + high - 2 * vertices[:, 1]) / (high - low)], -1
  )
  return 0.5 + (0.5 - _EDGE) * places


def draw_triangles(
  points: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
  height: int,
  width: int,
) -> Pixels:
  """Finds the nearest triangle of each pixel.

  Args:
    points: Vertices as (x pixels, y pixels, depth towards the viewer),
      `[V, 3]`.
    triangles: `[F, 3]`.
    height: Of the picture.
    width: Of the picture.

  Returns:
    Of pixels whose centre is in a triangle or on its edge.
  """
  corners = np.asarray(points, np.float64)[triangles]
  flat = corners[..., :2]
  area = _cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0])
  top = np.clip(np.ceil(flat[..., 1].min(1)), 0, height).astype(np.int32)
  down = np.clip(np.floor(flat[..., 1].max(1)) + 1, 0, height) - top
  down = np.where(area == 0, 0, np.maximum(down, 0)).astype(np.int32)
  # All rows of all triangles: along one, a corner's weight is a line.
  owner, row = _spread(down)
  row += top[owner]
  area[area == 0] = 1
  at_left, to_right = [], []
  for corner in range(3):
    one, other = flat[:, (corner + 1) % 3], flat[:, (corner + 2) % 3]
    right, below = ((one - other) / area[:, None]).T
    start = _cross(one, other) / area
    at_left.append(start[owner] - right[owner] * row)
    to_right.append(below[owner])
  first, last = np.zeros(len(owner)), np.full(len(owner), width - 1.0)
  with np.errstate(divide="ignore", invalid="ignore"):
    for start, slope in zip(at_left, to_right, strict=True):
      zero = -(start + _ON_EDGE) / slope
      first = np.where(slope > 0, np.maximum(first, np.ceil(zero)), first)
      last = np.where(slope < 0, np.minimum(last, np.floor(zero)), last)
      last[(slope == 0) & (start < -_ON_EDGE)] = -1
  line, step = _spread(np.maximum(last - first + 1, 0).astype(np.int32))
  planes = [
    (start + slope * first).astype(np.float32)[line]
    + slope.astype(np.float32)[line] * step
    for start, slope in zip(at_left, to_right, strict=True)
  ]
  owner = owner[line]
  depths = np.asarray(points, np.float32)[triangles, 2]
  depth = sum(
    plane * depths[owner, corner] for corner, plane in enumerate(planes)
  )
  place = (row * width + first.astype(np.int32))[line] + step
  # Where triangles cover each other the nearest is written last.
  crowded = np.bincount(place, minlength=height * width)[place] > 1
  order = np.flatnonzero(crowded)
  order = order[np.argsort(depth[order], kind="stable")]
  order = np.concatenate([np.flatnonzero(~crowded), order])
  triangle = np.full(height * width, -1, np.int32)
  triangle[place[order]] = owner[order]
  weights = np.zeros((height * width, 3), np.float32)
  weights[place[order]] = np.stack(planes, -1)[order]
  return Pixels(
    triangle.reshape(height, width), weights.reshape(height, width, 3)
  )


def _spread(
  counts: Int[np.ndarray, "n"],
) -> tuple[Int[np.ndarray, "N"], Int[np.ndarray, "N"]]:
  """For each of `counts` things: whose it is, and the how manieth of theirs."""
  whose = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
  before = (np.cumsum(counts) - counts).astype(np.int32)
  return whose, np.arange(len(whose), dtype=np.int32) - before[whose]


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
