from absl.testing import absltest, parameterized
import numpy as np
import scipy.spatial
import scipy.spatial.transform
import trimesh

from disentangle3d.evaluation import icp as icp_lib
from disentangle3d.evaluation.surfaces import make_surface


def _egg():
  """A closed surface without symmetry, head-sized."""
  ball = trimesh.creation.icosphere(4)
  x, y, z = np.array(ball.vertices).T
  radius = 1 + 0.12 * x * y + 0.08 * y**3 + 0.1 * np.sin(3 * z + x)
  return np.stack([70 * x, 95 * y, 80 * z], 1) * radius[:, None], ball.faces


def _motion(scale=1.0, degrees=6.0):
  turn = scipy.spatial.transform.Rotation.from_rotvec(
    np.radians(degrees) * np.array([0.6, -0.64, 0.48])
  )
  return icp_lib.Motion(scale, turn.as_matrix(), np.array([4.0, -3.0, 5.0]))


class SimilarityTest(absltest.TestCase):
  def test_equal_to_scipys_procrustes(self):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 30, 3))
    target = target + source
    motion = icp_lib.similarity(source, target)
    _, _, disparity = scipy.spatial.procrustes(target, source)
    spread = np.sum((target - target.mean(0)) ** 2)
    left = np.sum((motion.apply(source) - target) ** 2)
    self.assertAlmostEqual(left, disparity * spread)
    rigid = icp_lib.similarity(source, target, with_scale=False)
    oracle, _ = scipy.spatial.transform.Rotation.align_vectors(
      target - target.mean(0), source - source.mean(0)
    )
    np.testing.assert_allclose(rigid.rotation, oracle.as_matrix())
    self.assertEqual(rigid.scale, 1)

  def test_never_a_reflection_and_inverse_undoes(self):
    rng = np.random.default_rng(1)
    points = rng.normal(size=(20, 3))
    motion = icp_lib.similarity(points, points * [-1.0, 1, 1])
    self.assertAlmostEqual(np.linalg.det(motion.rotation), 1)
    back = motion.inverse(motion.apply(points))
    np.testing.assert_allclose(back, points, atol=1e-12)


class IcpTest(parameterized.TestCase):
  @parameterized.parameters((True, 1.08), (False, 1.0))
  def test_a_known_motion_is_recovered(self, with_scale, scale):
    vertices, triangles = _egg()
    true = _motion(scale)
    rng = np.random.default_rng(2)
    corners = vertices[np.asarray(triangles)[rng.integers(0, 5120, 1500)]]
    weights = rng.dirichlet(np.ones(3), 1500)
    points = true.apply(np.einsum("pk,pki->pi", weights, corners))
    report = icp_lib.icp(
      make_surface(vertices, triangles),
      points,
      with_scale=with_scale,
      options=icp_lib.IcpOptions(tolerance_mm=1e-7),
    )
    self.assertTrue(report.converged)
    self.assertLess(report.iterations, 30)
    self.assertEqual(report.points, 1500)
    self.assertAlmostEqual(report.motion.scale, scale, places=4)
    np.testing.assert_allclose(
      report.motion.apply(vertices), true.apply(vertices), atol=0.01
    )

  def test_the_distance_never_rises_and_the_report_tells_it(self):
    vertices, triangles = _egg()
    rng = np.random.default_rng(3)
    points = _motion(1.1, 25.0).apply(vertices + 2 * rng.normal(size=(2562, 3)))
    report = icp_lib.icp(make_surface(vertices, triangles), points)
    self.assertTrue((np.diff(report.rms_mm) <= 0).all())
    self.assertLen(report.rms_mm, report.iterations + 1)
    # Noise of 2 mm along the normal is what must be left.
    self.assertBetween(report.rms_mm[-1], 1.6, 2.3)
    self.assertEqual(report.points, 2000)
    short = icp_lib.icp(
      make_surface(vertices, triangles),
      points,
      options=icp_lib.IcpOptions(iterations=1),
    )
    self.assertEqual((short.iterations, short.converged), (1, False))

  def test_of_the_nearest_share_outliers_are_left_out(self):
    vertices, triangles = _egg()
    motion = _motion(1.1)
    points = motion.apply(vertices[::3])
    rng = np.random.default_rng(0)
    hair = rng.random(len(points)) < 0.08
    points = points + np.where(hair, 15.0, 0.0)[:, None] * [0.0, 0.0, 1.0]
    near, every = (
      icp_lib.icp(
        make_surface(vertices, triangles),
        points,
        options=icp_lib.IcpOptions(
          iterations=300, tolerance_mm=1e-7, nearest_share=share
        ),
      )
      for share in (0.9, 1.0)
    )
    self.assertEqual(near.points, round(0.9 * len(points)))
    self.assertTrue((np.diff(near.rms_mm) <= 0).all())
    self.assertLess(near.rms_mm[-1], 1e-3)
    self.assertAlmostEqual(near.motion.scale, 1.1, places=4)
    self.assertGreater(every.rms_mm[-1], 1.0)
    self.assertGreater(
      np.abs(every.motion.translation - near.motion.translation).max(), 0.2
    )

  def test_a_plane_and_a_sphere(self):
    """Points 3 mm over a plane; points on a sphere 5 % larger."""
    plane = make_surface(
      np.array([[-99.0, -99, 0], [99, -99, 0], [0, 99, 0]]),
      np.array([[0, 1, 2]]),
    )
    rng = np.random.default_rng(4)
    points = rng.uniform(-20, 20, (50, 3)) * [1, 1, 0] + [0, 0, 3]
    report = icp_lib.icp(plane, points, with_scale=False)
    self.assertAlmostEqual(report.rms_mm[0], 3)
    self.assertAlmostEqual(report.rms_mm[-1], 0, places=6)
    ball = trimesh.creation.icosphere(4, radius=60.0)
    report = icp_lib.icp(
      make_surface(ball.vertices, ball.faces), 1.05 * ball.vertices + 2.0
    )
    self.assertAlmostEqual(report.motion.scale, 1.05, places=3)
    np.testing.assert_allclose(report.motion.translation, 2, atol=0.05)

  def test_errors_name_the_argument(self):
    surface = make_surface(*_egg())
    with self.assertRaisesRegex(ValueError, "points: expected 3 or more"):
      icp_lib.icp(surface, np.zeros((2, 3)))
    with self.assertRaisesRegex(ValueError, "target: .*P=4"):
      icp_lib.similarity(np.zeros((4, 3)), np.zeros((5, 3)))
    with self.assertRaisesRegex(ValueError, "source: expected 3 points"):
      icp_lib.similarity(np.zeros((2, 3)), np.zeros((2, 3)))


if __name__ == "__main__":
  absltest.main()
