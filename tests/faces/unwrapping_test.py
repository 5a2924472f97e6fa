"""Flat layouts, and the host's drawing against the renderer's."""

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
