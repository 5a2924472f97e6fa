import pickle

from absl.testing import absltest, parameterized
import numpy as np
import scipy.spatial
import trimesh

from disentangle3d.evaluation import surfaces


def _bumpy(seed=0):
  """A bumpy sphere of 80 mm with triangles of very different sizes."""
  rng = np.random.default_rng(seed)
  mesh = trimesh.creation.icosphere(3, radius=80.0)
  large = trimesh.creation.box((40.0, 300.0, 20.0))
  vertices = np.concatenate(
    [mesh.vertices * (1 + 0.05 * rng.normal(size=(642, 1))), large.vertices]
  )
  return vertices, np.concatenate([mesh.faces, large.faces + 642])


class ClosestPointsTest(parameterized.TestCase):
  def test_equal_to_every_triangle_tried_by_another_code(self):
    vertices, triangles = _bumpy()
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, 3)) * 60
    found = surfaces.closest_points(
      surfaces.make_surface(vertices, triangles), points
    )
    corners = vertices[triangles]
    for i, point in enumerate(points):
      tried = trimesh.triangles.closest_point(
        corners, np.repeat(point[None], len(corners), 0)
      )
      away = np.linalg.norm(tried - point, axis=1)
      self.assertAlmostEqual(found.distance_mm[i], away.min(), places=9)
      np.testing.assert_allclose(found.point[i], tried[away.argmin()])

  def test_needles_whose_normals_are_rounding_are_found(self):
    """A bundle of thin triangles far from the origin, at points within it."""
    rng = np.random.default_rng(5)
    start = [200.0, 300.0, 100.0] + rng.normal(size=(400, 3))
    along = [12.0, 9.0, 5.0] + 0.1 * rng.normal(size=(400, 3))
    thin = 10.0 ** rng.uniform(-16, -5, (400, 1))
    tip = start + 0.5 * along + thin * rng.normal(size=(400, 3))
    corners = np.stack([start, start + along, tip], 1)
    triangles = np.arange(1200).reshape(400, 3)
    surface = surfaces.make_surface(corners.reshape(-1, 3), triangles)
    points = start + 0.25 * along + 0.3 * rng.normal(size=(400, 3))
    found = surfaces.closest_points(surface, points)
    # Next to nothing wide, they are the segments between their ends.
    offset = points[:, None] - start
    share = np.einsum("pfi,fi->pf", offset, along) / np.square(along).sum(1)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    away = np.linalg.norm(points[:, None] - nearest, axis=-1).min(1)
    np.testing.assert_allclose(found.distance_mm, away, atol=1e-4)
    within = surfaces.closest_points(surface, corners.mean(1))
    np.testing.assert_allclose(within.distance_mm, 0, atol=1e-5)

  def test_plane_sphere_and_segment(self):
    """The plane z = 0, a finely cut sphere, a triangle without area."""
    plane = surfaces.make_surface(
      np.array([[-50.0, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]]),
      np.array([[0, 1, 2], [0, 2, 3]]),
    )
    found = surfaces.closest_points(plane, np.array([[3.0, 4, 7], [53, 4, -4]]))
    np.testing.assert_allclose(found.distance_mm, [7, 5])
    np.testing.assert_allclose(found.point, [[3, 4, 0], [50, 4, 0]])
    np.testing.assert_allclose(found.normal, [[0, 0, 1]] * 2)
    ball = trimesh.creation.icosphere(4, radius=60.0)
    rng = np.random.default_rng(2)
    points = rng.normal(size=(50, 3)) * 50
    found = surfaces.closest_points(
      surfaces.make_surface(ball.vertices, ball.faces), points
    )
    radial = np.abs(np.linalg.norm(points, axis=1) - 60)
    # The sphere's triangles cut 0.1 mm below the ball at most.
    np.testing.assert_allclose(found.distance_mm, radial, atol=0.15)
    flat = surfaces.make_surface(
      np.array([[0.0, 0, 0], [5, 0, 0], [10, 0, 0]]), np.array([[0, 1, 2]])
    )
    found = surfaces.closest_points(flat, np.array([[7.0, 3, 4], [13, 0, 4]]))
    np.testing.assert_allclose(found.distance_mm, [5, 5])
    np.testing.assert_array_equal(found.normal, 0)

  def test_points_of_the_surface_have_no_distance(self):
    vertices, triangles = _bumpy()
    vertices = vertices.astype(np.float32)
    surface = surfaces.make_surface(vertices, triangles)
    rng = np.random.default_rng(3)
    weights = rng.dirichlet(np.ones(3), len(triangles))
    points = np.einsum("fk,fki->fi", weights, vertices[triangles].astype(float))
    found = surfaces.closest_points(surface, points)
    np.testing.assert_allclose(found.distance_mm, 0, atol=1e-9)

  def test_nearest_vertices_equal_scipy_and_are_never_nearer(self):
    vertices, triangles = _bumpy()
    surface = surfaces.make_surface(vertices, triangles)
    points = np.random.default_rng(4).normal(size=(300, 3)) * 80
    by_vertex = surfaces.nearest_vertices(surface, points)
    oracle = scipy.spatial.distance.cdist(points, vertices).min(1)
    np.testing.assert_allclose(by_vertex, oracle)
    by_surface = surfaces.closest_points(surface, points).distance_mm
    self.assertTrue((by_surface <= by_vertex + 1e-9).all())

  def test_weights_of_the_corners_give_the_points(self):
    vertices, triangles = _bumpy()
    surface = surfaces.make_surface(vertices, triangles)
    points = np.random.default_rng(2).normal(size=(200, 3)) * 60
    found = surfaces.closest_points(surface, points)
    corners = vertices[triangles[found.triangle]]
    weights = surfaces.barycentric(found.point, corners)
    np.testing.assert_allclose(weights.sum(1), 1)
    self.assertGreater(weights.min(), -1e-6)
    np.testing.assert_allclose(
      np.einsum("pk,pki->pi", weights, corners), found.point, atol=1e-6
    )

  def test_a_surface_goes_to_another_process_without_its_trees(self):
    surface = surfaces.make_surface(*_bumpy())
    points = np.random.default_rng(3).normal(size=(50, 3)) * 60
    before = surfaces.closest_points(surface, points)
    again = pickle.loads(pickle.dumps(surface))
    self.assertNotIn("parts", vars(again))
    after = surfaces.closest_points(again, points)
    np.testing.assert_array_equal(after.point, before.point)

  def test_errors_name_the_argument(self):
    vertices, triangles = _bumpy()
    with self.assertRaisesRegex(ValueError, "triangles: .*0 to 649, got 1 to"):
      surfaces.make_surface(vertices, triangles + 1)
    with self.assertRaisesRegex(ValueError, "triangles: .*got none"):
      surfaces.make_surface(vertices, triangles[:0])
    with self.assertRaisesRegex(ValueError, "vertices: .*NaN"):
      surfaces.make_surface(vertices * np.nan, triangles)
    surface = surfaces.make_surface(vertices, triangles)
    with self.assertRaisesRegex(ValueError, "points: .*finite"):
      surfaces.closest_points(surface, np.full((1, 3), np.inf))
    with self.assertRaisesRegex(ValueError, "points: expected shape"):
      surfaces.nearest_vertices(surface, np.zeros(3))


if __name__ == "__main__":
  absltest.main()
