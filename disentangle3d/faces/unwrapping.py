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
  """
  corners = np.asarray(points, np.float64)[triangles]
  flat, size = corners[..., :2], np.array([width, height])
  low = np.clip(np.ceil(flat.min(1)), 0, size)
  high = np.clip(np.floor(flat.max(1)), -1, size - 1)
  area = _cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0])
  across, down = np.maximum(high - low + 1, 0).astype(int).T
  across[area == 0] = 0
  # All pixels of all triangles' boxes.
  owner = np.repeat(np.arange(len(triangles)), across * down)
  first = np.cumsum(across * down) - across * down
  row, column = np.divmod(np.arange(len(owner)) - first[owner], across[owner])
  # A corner's weight is a plane over its triangle's box.
  area[area == 0] = 1
  planes = []
  for one, other in ((1, 2), (2, 0)):
    ends = flat[:, one] - low, flat[:, other] - low
    slope = (flat[:, one] - flat[:, other]) / area[:, None]
    plane = _cross(*ends) / area, slope[:, 1], -slope[:, 0]
    at_low, to_right, downwards = (part[owner] for part in plane)
    planes.append(at_low + to_right * column + downwards * row)
  weights = np.stack([*planes, 1 - planes[0] - planes[1]], -1)
  inside = np.minimum(np.minimum(*planes), weights[:, 2]) >= 0
  owner, weights = owner[inside], weights[inside]
  pixel = np.stack([column[inside], row[inside]], -1) + low[owner].astype(int)
  depth = np.einsum("nk,nk->n", weights, corners[owner, :, 2])
  # The nearest is written last.
  order = np.argsort(depth, kind="stable")
  place = tuple(pixel[order].T[::-1])
  triangle = np.full((height, width), -1, np.int32)
  triangle[place] = owner[order]
  chosen = np.zeros((height, width, 3), np.float32)
  chosen[place] = weights[order]
  return Pixels(triangle, chosen)


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
