"""Edges and the Laplacian against a mesh written out."""

from absl.testing import absltest
import numpy as np

from disentangle3d.faces.mesh_edges import (
  edge_lengths,
  mesh_edges,
  mesh_laplacian,
)

# Two triangles with a side in common; vertex 4 is of none.
TRIANGLES = np.array([[0, 1, 2], [2, 1, 3]], np.int32)
VERTICES = np.array(
  [[0, 0, 0], [3, 0, 0], [0, 4, 0], [3, 4, 12], [9, 9, 9]], np.float64
)


class MeshEdgesTest(absltest.TestCase):
  def test_each_edge_comes_once(self):
    np.testing.assert_array_equal(
      mesh_edges(TRIANGLES), [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    )

  def test_lengths(self):
    np.testing.assert_allclose(
      edge_lengths(VERTICES, mesh_edges(TRIANGLES)),
      [3, 4, 5, np.sqrt(160), np.sqrt(153)],
    )

  def test_the_laplacian_counts_a_shared_edge_twice(self):
    np.testing.assert_array_equal(
      mesh_laplacian(TRIANGLES, 5).toarray(),
      [
        [2, -1, -1, 0, 0],
        [-1, 4, -2, -1, 0],
        [-1, -2, 4, -1, 0],
        [0, -1, -1, 2, 0],
        [0, 0, 0, 0, 0],
      ],
    )

  def test_the_laplacian_of_a_field_is_its_sum_of_differences(self):
    rng = np.random.default_rng(0)
    triangles = np.stack([rng.permutation(30)[:3] for _ in range(40)])
    field = rng.normal(size=30)
    total = np.zeros(30)
    for triangle in triangles:
      for one in triangle:
        for other in triangle:
          total[one] += field[one] - field[other]
    np.testing.assert_allclose(
      mesh_laplacian(triangles, 30) @ field, total, atol=1e-12
    )


if __name__ == "__main__":
  absltest.main()
