"""Flat layouts, and the host's drawing against the renderer's."""

import warnings

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.rasterizer import rasterize
from disentangle3d.faces.unwrapping import draw_triangles, unwrap


class UnwrappingTest(absltest.TestCase):
  def test_triangles_are_drawn_as_the_renderer_draws_them(self):
    rng = np.random.default_rng(0)
    points = rng.uniform(-10, 50, (40, 3)).astype(np.float32)
    triangles = rng.integers(0, 40, (30, 3), np.int32)
    drawn = draw_triangles(points, triangles, 32, 44)
    expected = rasterize(
      jnp.asarray(points), jnp.asarray(triangles), height=32, width=44
    )
    same = drawn.triangle == np.asarray(expected.triangle_index)
    # But for pixels on an edge, whose rounding is another.
    self.assertGreater(same.mean(), 0.995)
    both = same & drawn.covered
    self.assertGreater(both.sum(), 300)
    np.testing.assert_allclose(
      drawn.weights[both], np.asarray(expected.barycentrics)[both], atol=1e-3
    )
    values = rng.normal(size=(40, 3)).astype(np.float32)
    np.testing.assert_allclose(
      drawn.matrix(triangles, 40) @ values,
      drawn.of(values, triangles),
      atol=1e-5,
    )
    x, y = np.moveaxis(drawn.of(points[:, :2], triangles), -1, 0)
    row, column = np.nonzero(drawn.covered)
    np.testing.assert_allclose(x, column, atol=1e-3)
    np.testing.assert_allclose(y, row, atol=1e-3)

  def test_edges_through_pixels_leave_no_gap(self):
    # Corners at thirds of a pixel, so that no edge is exact in float64.
    x, y = np.meshgrid(np.arange(0, 31, 5) / 3, np.arange(0, 31, 5) / 3)
    points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], -1)
    a = (7 * np.arange(6)[:, None] + np.arange(6)).ravel()
    corners = np.stack([a, a + 1, a + 7, a + 1, a + 8, a + 7], -1)
    drawn = draw_triangles(points, corners.reshape(-1, 3), 12, 12)
    covered = np.zeros((12, 12), bool)
    covered[:11, :11] = True
    np.testing.assert_array_equal(drawn.covered, covered)
    np.testing.assert_allclose(drawn.weights.sum(-1), covered, atol=1e-5)

  def test_nearly_level_edges_and_triangles_elsewhere(self):
    # Of the uppermost row all pixels are on an edge, or 1e-12 px above it.
    level = np.array([[0, 2, 0], [10, 2 + 1e-12, 0], [5, 6, 0], [10, 2, 0]])
    upside_down = level * [1, -1, 1] + [0, 8, 0]
    with warnings.catch_warnings():
      warnings.simplefilter("error")
      for points in (level, level * [-1, 1, 1] + [10, 0, 0]):
        for corners in ([0, 1, 2], [1, 0, 2]):
          drawn = draw_triangles(points, np.array([corners]), 8, 12)
          rows = drawn.covered.sum(1)
          np.testing.assert_array_equal(rows, [0, 0, 11, 7, 5, 3, 1, 0])
      turned = draw_triangles(upside_down, np.array([[0, 1, 2]]), 8, 12)
      outside = draw_triangles(level - 1e3, np.array([[0, 1, 2]]), 8, 12)
      edge_on = draw_triangles(level, np.array([[0, 3, 3]]), 8, 12)
    self.assertEqual(turned.covered.sum(), drawn.covered.sum())
    self.assertFalse(outside.covered.any() or edge_on.covered.any())

  def test_the_layout_is_symmetric_and_upright(self):
    model = procedural_face_model(
      num_vertices=600, identity_dim=1, expression_dim=1
    )
    mean = np.asarray(model.mean_shape)
    places = unwrap(mean, np.asarray(model.triangles))
    self.assertBetween(places.min(), 0.01, 0.03)
    self.assertBetween(places.max(), 0.97, 0.99)
    mirror = np.asarray(model.mirror_vertices)
    np.testing.assert_allclose(
      places[mirror], [1, 0] + places * [-1, 1], atol=1e-3
    )
    nose, chin = np.asarray(model.landmark_vertices)[[30, 8]]
    self.assertLess(places[nose, 1], places[chin, 1])


if __name__ == "__main__":
  absltest.main()
