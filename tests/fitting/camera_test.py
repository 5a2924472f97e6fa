from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from disentangle3d.fitting.camera import (
  PointScatter,
  estimate_camera,
  refine_camera,
  solve_positive_definite,
)
from disentangle3d.geometry import Camera, project, rotation_from_euler

_estimate = jax.jit(estimate_camera)
# The same everywhere: one compiled program.
_COUNT = 12


def _scene(count: int, *, noise_px: float = 0.0, seed: int = 0):
  """Points, landmarks, visibility and the cameras, yaw up to 85 degrees."""
  rng = np.random.default_rng(seed)
  points = (rng.normal(size=(count, 68, 3)) * [40, 50, 30]).astype(np.float32)
  angles = rng.uniform(-1, 1, (3, count, 1)) * np.reshape(
    [1.48, 0.5, 0.5], (3, 1, 1)
  )
  camera = Camera(
    scale=rng.uniform(0.3, 1, count).astype(np.float32),
    rotation=np.asarray(
      rotation_from_euler(*jnp.asarray(angles[..., 0], jnp.float32))
    ),
    translation=rng.uniform(30, 60, (count, 2)).astype(np.float32),
  )
  landmarks = np.asarray(project(camera, points))
  landmarks = landmarks + noise_px * rng.normal(size=landmarks.shape)
  visibility = (rng.random((count, 68)) > 0.3).astype(np.float32)
  return points, landmarks.astype(np.float32), visibility, camera


def _squared_distance(camera, points, landmarks, visibility):
  distance = np.asarray(project(camera, points), np.float64) - landmarks
  return np.sum(visibility[..., None] * distance**2, (-2, -1))


def _scipy_squared_distance(points, landmarks, visibility, camera, index):
  """The optimum that SciPy reaches from the true camera."""
  start = np.concatenate(
    [
      [np.log(camera.scale[index])],
      Rotation.from_matrix(camera.rotation[index]).as_rotvec(),
      camera.translation[index],
    ]
  )
  root = np.sqrt(visibility[index])[:, None]

  def residuals(unknown):
    turned = points[index] @ Rotation.from_rotvec(unknown[1:4]).as_matrix().T
    seen = np.exp(unknown[0]) * turned[:, :2] * [1, -1] + unknown[4:]
    return (root * (seen - landmarks[index])).ravel()

  return 2 * least_squares(residuals, start).cost


class EstimateCameraTest(parameterized.TestCase):
  def test_known_cameras_come_back(self):
    points, landmarks, visibility, camera = _scene(_COUNT)
    # What is invisible must not matter, whatever it is.
    landmarks[visibility == 0] = np.nan
    got = _estimate(points, landmarks, visibility)
    np.testing.assert_allclose(got.scale, camera.scale, rtol=1e-5)
    np.testing.assert_allclose(got.rotation, camera.rotation, atol=1e-5)
    np.testing.assert_allclose(got.translation, camera.translation, atol=1e-3)

  def test_reaches_the_optimum_that_scipy_finds(self):
    points, landmarks, visibility, camera = _scene(_COUNT, noise_px=4, seed=1)
    got = _estimate(points, landmarks, visibility)
    ours = _squared_distance(got, points, landmarks, visibility)
    theirs = [
      _scipy_squared_distance(points, landmarks, visibility, camera, index)
      for index in range(_COUNT)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)

  def test_weights_weigh(self):
    points, landmarks, visibility, _ = _scene(_COUNT, noise_px=4, seed=2)
    # A point of weight 2 is two points: the last 34 repeat the first.
    for array in (points, landmarks):
      array[:, 34:] = array[:, :34]
    doubled = np.ones_like(visibility)
    weights = np.repeat(np.float32([[0.5, 0]]), 34, 1).repeat(_COUNT, 0)
    self._assert_same(
      _estimate(points, landmarks, weights),
      _estimate(points, landmarks, doubled),
    )
    # Half the weight of one point pulls the optimum towards the others.
    weights = doubled * np.float32(1)
    weights[:, :10] = 0.25
    got = _estimate(points, landmarks, weights)
    other = _estimate(points, landmarks, doubled)
    np.testing.assert_array_less(
      _squared_distance(got, points, landmarks, weights),
      _squared_distance(other, points, landmarks, weights),
    )

  def test_does_not_depend_on_the_units(self):
    points, landmarks, visibility, _ = _scene(_COUNT, noise_px=3, seed=3)
    got = _estimate(points, landmarks, visibility)
    scaled = _estimate(1e-3 * points, 1e2 * landmarks, visibility)
    np.testing.assert_allclose(scaled.scale, 1e5 * got.scale, rtol=1e-4)
    np.testing.assert_allclose(scaled.rotation, got.rotation, atol=1e-4)

  def test_degenerate_points_give_finite_cameras(self):
    points, landmarks, visibility, _ = _scene(_COUNT, noise_px=1, seed=4)
    for row, kept in enumerate(
      (
        [0, 1, 0],  # collinear
        [1, 1, 0],  # in a plane
        [0, 0, 1],  # in depth only
        [0, 0, 0],  # identical
      )
    ):
      points[row] = points[row] * np.float32(kept)
    points[3:5] += 7
    landmarks[4] = 3  # identical landmarks
    landmarks[5] = 0
    with jax.debug_nans(True):
      got = _estimate(points, landmarks, visibility)
    self._assert_proper(got)

  def test_few_visible_points_give_finite_cameras(self):
    points, landmarks, _, _ = _scene(_COUNT, seed=5)
    count = np.tile([1, 2, 3], _COUNT)[:_COUNT]
    visibility = (np.arange(68)[None] < count[:, None]).astype(np.float32)
    with jax.debug_nans(True):
      got = _estimate(points, landmarks, visibility)
    self._assert_proper(got)
    distance = _squared_distance(got, points, landmarks, visibility)
    # Three points have two solutions, and a way to get stuck between them.
    limit_px = np.where(count < 3, 1e-3, 5.0)
    np.testing.assert_array_less(np.sqrt(distance / count), limit_px)

  def test_no_visible_point_gives_no_camera(self):
    points, landmarks, visibility, _ = _scene(_COUNT, seed=6)
    visibility[1] = 0
    landmarks[1] = np.nan
    got = _estimate(points, landmarks, visibility)
    self.assertEqual(float(got.scale[1]), 0)
    np.testing.assert_array_equal(got.translation[1], [0, 0])
    np.testing.assert_array_equal(got.rotation[1], np.eye(3))

  def test_eager_jit_and_vmap_agree(self):
    points, landmarks, visibility, _ = _scene(_COUNT, noise_px=2, seed=7)
    eager = estimate_camera(points, landmarks, visibility)
    self._assert_same(eager, _estimate(points, landmarks, visibility))
    mapped = jax.vmap(estimate_camera)(points, landmarks, visibility)
    self._assert_same(eager, mapped)

  @parameterized.named_parameters(
    (
      "points",
      ((68, 2), (68, 2), (68,)),
      r"points: expected shape \[..., L, 3\], got \[68, 2\]",
    ),
    (
      "landmarks",
      ((68, 3), (67, 2), (68,)),
      r"landmarks: expected shape \[..., L=68, 2\], got \[67, 2\]",
    ),
    (
      "visibility",
      ((68, 3), (68, 2), (5,)),
      r"visibility: expected shape \[..., L=68\], got \[5\]",
    ),
    (
      "batch",
      ((4, 68, 3), (4, 68, 2), (68,)),
      r"visibility: expected batch dimensions \[4\] as points has, got \[\]",
    ),
  )
  def test_wrong_shapes_are_named(self, shapes, message):
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    with self.assertRaisesRegex(ValueError, message):
      estimate_camera(*arrays)

  def test_integer_points_are_refused(self):
    with self.assertRaisesRegex(TypeError, "points: expected a floating dtype"):
      estimate_camera(
        np.zeros((68, 3), np.int32), np.zeros((68, 2)), np.ones(68)
      )

  def _assert_proper(self, camera):
    for leaf in jax.tree.leaves(camera):
      self.assertTrue(np.isfinite(leaf).all())
    np.testing.assert_array_less(0, camera.scale)
    gram = np.einsum("bij,bkj->bik", camera.rotation, camera.rotation)
    np.testing.assert_allclose(gram, np.stack([np.eye(3)] * _COUNT), atol=1e-5)
    np.testing.assert_allclose(
      np.linalg.det(camera.rotation), np.ones(_COUNT), atol=1e-5
    )

  def _assert_same(self, one, other):
    chex.assert_trees_all_close(one, other, rtol=1e-4, atol=1e-4)


class RefineCameraTest(absltest.TestCase):
  def test_never_goes_uphill_however_bad_the_start(self):
    points, landmarks, _, _ = _scene(200, noise_px=2, seed=8)
    points = points - points.mean(1, keepdims=True)
    landmarks = landmarks - landmarks.mean(1, keepdims=True)
    rng = np.random.default_rng(9)
    camera = Camera(
      scale=np.exp(rng.normal(size=200)).astype(np.float32),
      rotation=Rotation.random(200, rng=rng).as_matrix().astype(np.float32),
      translation=np.zeros((200, 2), np.float32),
    )
    ones = np.ones((200, 68), np.float32)
    before = _squared_distance(camera, points, landmarks, ones)
    residuals = landmarks - np.asarray(project(camera, points))
    scatter = PointScatter(
      points=np.einsum("bli,blj->bij", points, points),
      residuals=np.einsum("bla,bli->bai", residuals, points),
    )
    for steps in (1, 2, 10):
      scale, rotation = refine_camera(
        camera.scale, camera.rotation, scatter, num_steps=steps
      )
      refined = camera.replace(scale=scale, rotation=rotation)
      after = _squared_distance(refined, points, landmarks, ones)
      np.testing.assert_array_less(after, before * (1 + 1e-6))
      before = after
    self.assertLess(np.median(after), 5 * 68 * 2 * 2**2)


class SolvePositiveDefiniteTest(absltest.TestCase):
  def test_equals_numpy(self):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(50, 4, 6)).astype(np.float32)
    matrix = factor @ factor.swapaxes(1, 2)
    rhs = rng.normal(size=(50, 4)).astype(np.float32)
    expected = np.linalg.solve(matrix.astype(float), rhs[..., None])[..., 0]
    np.testing.assert_allclose(
      solve_positive_definite(matrix, rhs), expected, rtol=2e-3, atol=1e-4
    )

  def test_singular_matrices_give_finite_answers(self):
    matrix = np.stack([np.zeros((3, 3)), np.ones((3, 3))]).astype(np.float32)
    with jax.debug_nans(True):
      got = solve_positive_definite(matrix, np.ones((2, 3), np.float32))
    self.assertTrue(np.isfinite(got).all())


if __name__ == "__main__":
  absltest.main()
