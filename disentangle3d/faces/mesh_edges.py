"""The edges of a mesh, and what they hang together (host)."""

from jaxtyping import Float, Int
import numpy as np
import scipy

_SIDES = [[0, 1], [1, 2], [2, 0]]


def mesh_edges(triangles: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "E 2"]:
  """Each edge once, the lower vertex first, in rising order."""
  sides = np.sort(triangles[:, _SIDES].reshape(-1, 2), axis=1)
  return np.unique(sides, axis=0)


def edge_lengths(
  vertices: Float[np.ndarray, "V 3"], edges: Int[np.ndarray, "E 2"]
) -> Float[np.ndarray, "E"]:
  """How long they are, in the vertices' unit."""
  return np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)


def mesh_laplacian(
  triangles: Int[np.ndarray, "F 3"], num_vertices: int
) -> scipy.sparse.csr_array:
  """The graph Laplacian, an edge counted once for each of its triangles.

  Args:
    triangles: Of the mesh.
    num_vertices: V, those of no triangle too.

  Returns:
    `[V, V]`; its rows add up to 0.
  """
  one, other = triangles[:, _SIDES].reshape(-1, 2).T
  beside = scipy.sparse.csr_array(
    (np.ones(len(one)), (one, other)), shape=(num_vertices, num_vertices)
  )
  return scipy.sparse.csgraph.laplacian(beside + beside.T).tocsr()
