"""Points near a model's landmarks, said by the triangles that they are near."""

from jaxtyping import Float
import numpy as np
import scipy

from disentangle3d.evaluation.surfaces import (
  barycentric,
  closest_points,
  make_surface,
)
from disentangle3d.faces.landmark_calibration import LandmarkCalibration
from disentangle3d.faces.mesh_edges import edge_lengths, mesh_edges
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  identity_calibration,
)
from disentangle3d.types import NUM_LANDMARKS

# A point farther from the surface stays with the landmark's vertex.
_FARTHEST_MM = 10.0
# How far from the vertex triangles are looked for, along the mesh's edges: over
# the gap of closed lips the other lip is near, and goes another way.
_REACH_MM = 20.0


def anchored(
  model: MorphableModel, points_mm: Float[np.ndarray, "68 3"]
) -> LandmarkCalibration:
  """The points of a calibration, each from the nearest place on the mean face.

  Only what is near a landmark's own vertex along the surface is looked at: a
  mouth's corner is not taken for a point of the teeth, nor the lower lip for
  the upper one that it touches.

  Args:
    model: With triangles and landmarks.
    points_mm: Where each landmark is on the mean face, `[68, 3]`.

  Returns:
    Triangles, weights and what is left as offset; no covariance.
  """
  plain = identity_calibration(model)
  mean = np.asarray(model.mean_shape, np.float64)
  triangles = np.asarray(model.triangles)
  graph = _edge_graph(triangles, mean)
  corners = np.array(plain.triangle_vertices)
  weights = np.array(plain.weights)
  for landmark in range(NUM_LANDMARKS):
    vertex = corners[landmark, 0]
    if vertex < 0:
      continue
    near = scipy.sparse.csgraph.dijkstra(
      graph, directed=False, indices=vertex, limit=_REACH_MM
    )
    patch = triangles[np.isfinite(near)[triangles].any(1)]
    if not len(patch):
      continue
    found = closest_points(make_surface(mean, patch), points_mm[landmark][None])
    if found.distance_mm[0] <= _FARTHEST_MM:
      corners[landmark] = patch[found.triangle[0]]
      place = barycentric(found.point, mean[corners[landmark]][None])[0]
      # On an edge rounding can take one below 0.
      weights[landmark] = np.maximum(place, 0) / np.maximum(place, 0).sum()
  surface = np.einsum("lk,lkc->lc", weights, mean[np.maximum(corners, 0)])
  offset = np.where(corners[:, :1] >= 0, points_mm - surface, 0.0)
  return plain.replace(
    triangle_vertices=corners,
    weights=weights.astype(np.float32),
    offset_mm=offset.astype(np.float32),
  )


def _edge_graph(
  triangles: np.ndarray, vertices: np.ndarray
) -> scipy.sparse.csr_array:
  """Lengths of the mesh's edges, mm, `[V, V]`."""
  edges = mesh_edges(triangles)
  # Of no length would be no edge.
  lengths = np.maximum(edge_lengths(vertices, edges), 1e-6)
  return scipy.sparse.csr_array(
    (lengths, tuple(edges.T)), shape=(len(vertices), len(vertices))
  )
