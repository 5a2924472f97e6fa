"""The jaw contour that follows the silhouette (landmark marching of [42]).

A 2D detector reports the jaw where the face ends in the photo. On the side
turned away that is no fixed place of the face: it wanders over the cheek as
the head turns. So each contour landmark gets a curve of candidate vertices,
from its own vertex towards the middle of the face at its height, found on the
mesh of any model; and between the fitter's iterations each image takes, on its
far side, the candidate that lies farthest out under its present pose.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import scipy

from disentangle3d.faces.mesh_edges import edge_lengths, mesh_edges
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  main_landmark_vertices,
)
from disentangle3d.types import NUM_CONTOUR, check_array

# Nose and lips lie beyond, which no detector takes for the jaw.
_INNERMOST_SHARE = 0.4
# A path may leave its landmark's height by this much at twice the cost.
_HEIGHT_TOLERANCE_MM = 3.0


def jaw_contour(
  model: MorphableModel, *, num_candidates: int = 8
) -> Int[np.ndarray, "17 C"]:
  """Candidate vertices of the contour landmarks 0 to 16; on the host.

  Args:
    model: Any model with triangles that has landmarks 0 to 16, or some.
    num_candidates: C, the landmark's own vertex among them.

  Returns:
    Vertices `[17, C]` int32: first the landmark's own (of a calibrated one
    the vertex that it hangs on most), then evenly along the
    shortest path on the mesh that keeps to its height, up to where 40 % of
    its distance from the middle remain; all -1 where the model has no such
    landmark. A landmark in the middle (the chin's) repeats its own vertex.

  Raises:
    ValueError: The model has no triangles, or `num_candidates` is below 2.
  """
  if num_candidates < 2:
    raise ValueError(
      f"num_candidates: expected at least 2, got {num_candidates}"
    )
  triangles = np.asarray(model.triangles)
  if not len(triangles):
    raise ValueError("model.triangles: expected a mesh, got no triangle")
  starts = np.asarray(main_landmark_vertices(model))
  mean = np.asarray(model.mean_shape, np.float64)
  edges = mesh_edges(triangles)
  found = np.full((NUM_CONTOUR, num_candidates), -1, np.int32)
  for number in range(NUM_CONTOUR):
    vertex = int(starts[number])
    if vertex >= 0:
      path = _path_inwards(mean, edges, vertex)
      found[number] = path[_even_places(mean[path], num_candidates)]
  return found


def _path_inwards(
  mean: np.ndarray, edges: np.ndarray, start: int
) -> np.ndarray:
  """Vertices from a landmark towards the middle at its height."""
  away = np.abs(mean[:, 0])
  goal = _INNERMOST_SHARE * away[start]
  height = np.abs(mean[edges, 1] - mean[start, 1]).max(1)
  length = edge_lengths(mean, edges)
  # Only outside of the goal, on the landmark's own side, and never outwards.
  inside = (away[edges] >= goal) & (mean[edges, 0] * mean[start, 0] > 0)
  inside &= away[edges] <= away[start]
  kept = inside.all(1) & (length > 0)
  cost = length * (1 + (height / _HEIGHT_TOLERANCE_MM) ** 2)
  count = len(mean)
  graph = scipy.sparse.coo_array(
    (cost[kept], (edges[kept, 0], edges[kept, 1])), shape=(count, count)
  ).tocsr()
  distance, before = scipy.sparse.csgraph.dijkstra(
    graph, directed=False, indices=start, return_predecessors=True
  )
  reached = np.flatnonzero(np.isfinite(distance))
  # As far in as any, then as cheap as any: within 2 mm of the innermost.
  innermost = away[reached].min()
  ends = reached[away[reached] < innermost + 2.0]
  end = ends[np.argmin(distance[ends])]
  path = [int(end)]
  while path[-1] != start:
    path.append(int(before[path[-1]]))
  return np.array(path[::-1])


def _even_places(points: np.ndarray, count: int) -> np.ndarray:
  """Which points of a polyline lie nearest to `count` even steps along it."""
  steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
  along = np.concatenate([[0.0], np.cumsum(steps)])
  wanted = np.linspace(0, along[-1], count)
  return np.abs(along[None] - wanted[:, None]).argmin(1)


def visible_candidates(
  points: Float[Array, "*B 3 17 C"], axes: Float[Array, "*B 2 3"]
) -> Float[Array, "*B 17 C"]:
  """Which candidate carries each contour landmark under each camera.

  Args:
    points: The candidates, coordinates first, `[..., 3, 17, C]`, mm.
    axes: Linear parts of the cameras, `[..., 2, 3]`, px/mm.

  Returns:
    1 for the chosen candidate, else 0, `[..., 17, C]`: on the side turned
    away the one farthest out, across the head's own upward direction in the
    image; on the near side, and in a frontal view, the landmark's own vertex.

  Raises:
    ValueError: The shapes disagree.
  """
  check_array("points", points, f"... 3 {NUM_CONTOUR} C")
  check_array("axes", axes, "... 2 3")
  upwards = axes[..., :, 1]
  across = jnp.stack([-upwards[..., 1], upwards[..., 0]], -1)
  direction = jnp.einsum("...a,...ai->...i", across, axes)
  outwards = jnp.einsum("...i,...ilc->...lc", direction, points)
  # The nose points to the side turned away.
  far = jnp.sign(direction[..., 2])[..., None]
  side = jnp.sign(points[..., 0, :, 0])
  slides = (side * far > 0)[..., None]
  best = jnp.argmax(side[..., None] * outwards, -1)
  places = jnp.arange(points.shape[-1])
  places = places.reshape((1,) * best.ndim + (-1,))
  return jnp.where(slides, places == best[..., None], places == 0).astype(
    points.dtype
  )
