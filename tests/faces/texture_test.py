"""Colours of vertices where the photo's colours are a formula."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.rendering import render, vertex_visibility
from disentangle3d.faces.texture import vertex_colors
from disentangle3d.geometry import Camera, project

SIZE = (60, 80)


def ramp(points):
  """Red 3x, green 4y, blue x + 2y: what `ramp_photo` is at any point."""
  x, y = points.T
  return np.stack([3 * x, 4 * y, x + 2 * y], -1)


def ramp_photo():
  y, x = np.mgrid[: SIZE[0], : SIZE[1]]
  points = np.stack([x.ravel(), y.ravel()], -1)
  return ramp(points).reshape(*SIZE, 3).astype(np.uint8)


def plane(count, side_mm, z=0.0):
  """A square of `count` x `count` vertices around 0, counter-clockwise."""
  at = np.linspace(-side_mm / 2, side_mm / 2, count)
  x, y = np.meshgrid(at, at)
  vertices = np.stack([x.ravel(), y.ravel(), np.full(count**2, z)], -1)
  first = np.arange(count**2).reshape(count, count)[:-1, :-1].ravel()
  triangles = np.concatenate(
    [
      np.stack([first, first + 1, first + count], -1),
      np.stack([first + 1, first + count + 1, first + count], -1),
    ]
  )
  return vertices.astype(np.float32), triangles.astype(np.int32)


CAMERA = Camera(
  scale=jnp.float32(0.51),
  rotation=jnp.eye(3),
  translation=jnp.array([40.3, 29.7]),
)


class VertexColorsTest(absltest.TestCase):
  def test_a_plane_under_a_ramp_has_the_ramps_colours(self):
    vertices, _ = plane(7, 100.0)
    points = np.asarray(project(CAMERA, jnp.asarray(vertices)))
    # Between the pixels: interpolation gives a linear ramp exactly.
    self.assertGreater(np.abs(points - np.round(points)).mean(), 0.1)
    colors = vertex_colors(ramp_photo(), points, np.ones(49, bool), vertices)
    self.assertEqual(colors.dtype, np.uint8)
    np.testing.assert_allclose(colors, ramp(points), atol=0.51)

  def test_a_vertex_hidden_from_view_gets_no_colour_of_the_photo(self):
    front, faces = plane(5, 80.0)
    # Smaller, behind, and nowhere over a vertex in front.
    behind, others = plane(3, 17.0, z=-30.0)
    vertices = np.concatenate([front, behind + np.float32([8, 6, 0])])
    triangles = np.concatenate([faces, others + len(front)])
    cameras = jax.tree.map(lambda leaf: leaf[None], CAMERA)
    seen = render(
      vertices[None], triangles, cameras, height=SIZE[0], width=SIZE[1]
    )
    visible = np.asarray(
      vertex_visibility(seen.depth, vertices[None], triangles, cameras)[0]
    )
    self.assertTrue(visible[: len(front)].all())
    self.assertFalse(visible[len(front) :].any())
    points = np.asarray(project(CAMERA, jnp.asarray(vertices)))
    colors = vertex_colors(ramp_photo(), points, visible, vertices)
    # That of the nearest vertex in front, not of its own place.
    apart = np.linalg.norm(vertices[len(front) :, None] - front[None], axis=-1)
    nearest = apart.argmin(1)
    np.testing.assert_array_equal(colors[len(front) :], colors[nearest])
    own = ramp(points[len(front) :])
    self.assertGreater(np.abs(colors[len(front) :] - own).max(1).min(), 1)

  def test_a_mirror_vertex_that_is_seen_gives_its_colour(self):
    vertices = np.array([[-9, 0, 0], [9, 0, 0], [8, 0, 0]], np.float32)
    points = np.array([[10.0, 20], [50, 20], [49, 20]])
    seen = np.array([True, False, True])
    mirror = np.array([1, 0, 2])
    colors = vertex_colors(
      ramp_photo(), points, seen, vertices, mirror_vertices=mirror
    )
    np.testing.assert_array_equal(colors[1], ramp(points[:1])[0])
    without = vertex_colors(ramp_photo(), points, seen, vertices)
    np.testing.assert_array_equal(without[1], ramp(points[2:])[0])

  def test_outside_the_photo_counts_as_hidden(self):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32)
    points = np.array([[79.0, 59], [79.2, 30], [30, -0.2]])
    seen = np.ones(3, bool)
    colors = vertex_colors(ramp_photo(), points, seen, vertices)
    np.testing.assert_array_equal(colors, np.tile(ramp(points[:1]), (3, 1)))
    with self.assertRaisesRegex(ValueError, "seen: .*inside the photo"):
      vertex_colors(ramp_photo(), points + 100, seen, vertices)

  def test_other_shapes_are_refused(self):
    vertices, _ = plane(2, 10.0)
    with self.assertRaisesRegex(ValueError, "vertices: .*V=3"):
      vertex_colors(ramp_photo(), np.zeros((3, 2)), np.ones(3, bool), vertices)


if __name__ == "__main__":
  absltest.main()
