"""What is shown of a face: the face alone, with eyes where the mesh has holes.

For pictures only: no measure knows the vertices that are added here.
"""

from collections.abc import Iterator
import dataclasses

import jax
from jaxtyping import Float, Int
import numpy as np
import scipy

from disentangle3d.faces.cavities import Cavities, cavity_points, find_cavities
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import NOSE_TIP

_CHIN = 8
# Chin and the jaw's corners: below their plane is the neck.
_JAW = (_CHIN, 3, 13)
# How far from the nose tip the face goes, and below that plane, in the nose
# tip's distance from the chin.
_REACH, _BELOW = 1.42, 0.3
# How far from an eye's middle its lids go, in its width.
_LIDS = 0.6
# How far from a mouth's hole the insides of its lips go.
_LIPS_MM = 8.0


# Op by op each takes a program.
_cavity_points = jax.jit(cavity_points)


@dataclasses.dataclass(frozen=True, eq=False)
class DisplayMesh:
  """Triangles to show; `vertices` gives what they are of.

  Behind a shape's V vertices come those that close its holes, then those at
  which edges are cut.

  Attributes:
    triangles: `[F2, 3]`.
    cavities: The holes that are closed.
    around: The vertices of each hole's surroundings, `[V]` each: of an eye its
      lids, of a mouth its lips' insides, which are turned inwards but seen all
      the same.
    edges: Edges that are cut, `[E, 2]`.
    cuts: Where, from 0 to 1 along each, `[E]`.
  """

  triangles: Int[np.ndarray, "F2 3"]
  cavities: Cavities
  around: tuple[Int[np.ndarray, "A"], ...]
  edges: Int[np.ndarray, "E 2"]
  cuts: Float[np.ndarray, "E"]

  def vertices(
    self, shape: Float[np.ndarray, "V 3"]
  ) -> Float[np.ndarray, "V2 3"]:
    """Of the triangles, for a shape."""
    added = np.asarray(_cavity_points(self.cavities, shape[None]))[0]
    return np.concatenate([shape, added, self._cut(shape)])

  def facing(self, facing: Float[np.ndarray, "V"]) -> Float[np.ndarray, "V2"]:
    """How vertices face the viewer; a hole and its surroundings as most do."""
    own, most = facing.copy(), np.zeros(len(self.around), facing.dtype)
    for hole, rows in enumerate(self.around):
      own[rows] = most[hole] = facing[rows].max()
    holes = most[np.asarray(self.cavities.hole)]
    return np.concatenate([own, holes, self._cut(own)])

  def _cut(self, values: np.ndarray) -> np.ndarray:
    one, other = values[self.edges[:, 0]], values[self.edges[:, 1]]
    share = self.cuts.reshape(-1, *(1,) * (values.ndim - 1))
    return ((1 - share) * one + share * other).astype(values.dtype)


def display_mesh(model: MorphableModel) -> DisplayMesh:
  """What to show of a model's shapes; all of it, if it has no chin or nose."""
  mean = np.asarray(model.mean_shape, np.float64)
  marks = np.asarray(model.landmark_vertices)
  # Positive inside the face.
  inside = np.ones(len(mean))
  if min(marks[NOSE_TIP], marks[_CHIN]) >= 0:
    nose, chin = mean[marks[NOSE_TIP]], mean[marks[_CHIN]]
    away = np.linalg.norm(mean - nose[None], axis=1)
    size = np.linalg.norm(nose - chin)
    inside = _REACH * size - away
    if min(marks[list(_JAW)]) >= 0:
      inside = np.minimum(inside, _BELOW * size + _above_jaw(mean, marks))
  cavities = find_cavities(model)
  first = len(mean) + cavities.num_vertices
  triangles, edges = clip_triangles(
    np.asarray(model.triangles), inside, first=first
  )
  one, other = inside[edges[:, 0]], inside[edges[:, 1]]
  closing = np.asarray(cavities.triangles)
  return DisplayMesh(
    np.concatenate([triangles, closing]).astype(np.int32),
    cavities,
    tuple(_surroundings(cavities, mean)),
    edges,
    (one / (one - other)).astype(np.float32),
  )


def _above_jaw(
  mean: Float[np.ndarray, "V 3"], marks: Int[np.ndarray, "68"]
) -> Float[np.ndarray, "V"]:
  """How far vertices are above the plane of chin and jaw's corners, mm."""
  chin, one, other = mean[marks[list(_JAW)]]
  normal = np.cross(one - chin, other - chin)
  normal /= np.linalg.norm(normal)
  # The nose tip is above.
  return (
    (mean - chin) @ normal * np.sign((mean[marks[NOSE_TIP]] - chin) @ normal)
  )


def _surroundings(
  cavities: Cavities, mean: np.ndarray
) -> Iterator[Int[np.ndarray, "A"]]:
  """Vertices near the middle of an eye, near the border of a mouth."""
  holes, border = np.asarray(cavities.hole), np.asarray(cavities.border)
  for hole in range(len(cavities.middle)):
    rows = np.unique(border[holes == hole])
    if np.asarray(cavities.mouth)[holes == hole].any():
      away, reach = scipy.spatial.KDTree(mean[rows]).query(mean)[0], _LIPS_MM
    else:
      away = np.linalg.norm(mean - mean[rows].mean(0)[None], axis=1)
      reach = _LIDS * np.ptp(mean[rows, 0])
    yield np.flatnonzero(away < reach)


def clip_triangles(
  triangles: Int[np.ndarray, "F 3"],
  inside: Float[np.ndarray, "V"],
  *,
  first: int,
) -> tuple[Int[np.ndarray, "F2 3"], Int[np.ndarray, "E 2"]]:
  """Cuts triangles where a number of the vertices is zero.

  Args:
    triangles: `[F, 3]`.
    inside: Positive where a vertex stays, `[V]`.
    first: The number of the first new vertex.

  Returns:
    What is left, and the edges with a new vertex each, the one that stays
    first.
  """
  stays = inside > 0
  count = stays[triangles].sum(1)
  parts = [triangles[count == 3]]
  edges: list[np.ndarray] = []

  def cut(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    start = first + sum(map(len, edges))
    edges.append(np.stack([one, other], 1))
    return start + np.arange(len(one))

  for kept in (1, 2):
    mixed = triangles[count == kept]
    # The corner that is alone on its side comes first.
    alone = stays[mixed] == (kept == 1)
    turn = (alone.argmax(1)[:, None] + np.arange(3)[None]) % 3
    a, b, c = np.take_along_axis(mixed, turn, 1).T
    if kept == 1:
      parts.append(np.stack([a, cut(a, b), cut(a, c)], 1))
    else:
      ab, ac = cut(b, a), cut(c, a)
      parts += [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
  return np.concatenate(parts), np.concatenate(edges)
