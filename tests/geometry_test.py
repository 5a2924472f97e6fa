from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from disentangle3d import geometry
from disentangle3d.geometry import Camera


def _rotations(count: int, seed: int = 0) -> np.ndarray:
  return (
    Rotation.random(count, rng=np.random.default_rng(seed))
    .as_matrix()
    .astype(np.float32)
  )


def _kabsch(matrix: np.ndarray) -> np.ndarray:
  """The nearest proper rotation by SVD in float64."""
  u, _, vt = np.linalg.svd(matrix.astype(np.float64))
  sign = np.sign(np.linalg.det(u @ vt))
  return u @ np.diag([1, 1, sign]) @ vt


class RotationTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("yaw_turns_the_nose_right", (0.5, 0.0, 0.0), (0, 0, 1), 0, 1),
    ("pitch_turns_the_nose_down", (0.0, 0.5, 0.0), (0, 0, 1), 1, -1),
    ("roll_is_counter_clockwise", (0.0, 0.0, 0.5), (1, 0, 0), 1, 1),
  )
  def test_signs(self, angles, point, axis, sign):
    rotation = geometry.rotation_from_euler(*map(jnp.float32, angles))
    turned = np.asarray(rotation) @ np.array(point, np.float32)
    self.assertAlmostEqual(turned[axis], sign * np.sin(0.5), places=6)

  def test_euler_angles_equal_scipy_and_come_back(self):
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1.4, 1.4, (3, 50)).astype(np.float32)
    yaw, pitch, roll = angles
    rotation = geometry.rotation_from_euler(*map(jnp.asarray, angles))
    # Extrinsic y, then x, then z is R_z R_x R_y.
    oracle = Rotation.from_euler("yxz", np.stack([yaw, pitch, roll], 1))
    np.testing.assert_allclose(rotation, oracle.as_matrix(), atol=1e-6)
    back = geometry.euler_from_rotation(rotation)
    np.testing.assert_allclose(np.stack(back), angles, atol=2e-6)

  def test_nearest_rotation_equals_kabsch(self):
    rng = np.random.default_rng(2)
    matrices = rng.normal(size=(300, 3, 3)).astype(np.float32)
    matrices[:50] *= 1e4
    matrices[50:100] *= 1e-4
    nearest = jax.jit(geometry.nearest_rotation)(jnp.asarray(matrices))
    oracle = np.stack([_kabsch(m) for m in matrices])
    np.testing.assert_allclose(nearest, oracle, atol=5e-5)

  def test_degenerate_matrices_give_proper_rotations(self):
    with jax.debug_nans(True):
      matrices = jnp.stack(
        [
          jnp.zeros((3, 3)),
          -jnp.eye(3),
          jnp.diag(jnp.array([1.0, 0.0, 0.0])),
          jnp.diag(jnp.array([1.0, 1.0, -1.0])),
        ]
      )
      nearest = geometry.nearest_rotation(matrices)
    gram = np.einsum("nij,nkj->nik", nearest, nearest)
    np.testing.assert_allclose(
      gram, np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.det(nearest), 1.0, atol=1e-6)


class CameraTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(3)
    self.points = jnp.asarray(rng.normal(size=(6, 9, 3)), jnp.float32) * 50
    self.camera = Camera(
      scale=jnp.asarray(rng.uniform(0.2, 2, 6), jnp.float32),
      rotation=jnp.asarray(_rotations(6)),
      translation=jnp.asarray(rng.normal(size=(6, 2)), jnp.float32) * 40,
    )

  def test_projection_is_the_formula_written_out(self):
    got = geometry.project(self.camera, self.points)
    for n in range(6):
      for p in range(9):
        x = np.asarray(self.camera.rotation[n]) @ np.asarray(self.points[n, p])
        s, t = self.camera.scale[n], self.camera.translation[n]
        np.testing.assert_allclose(
          got[n, p], [s * x[0] + t[0], -s * x[1] + t[1]], rtol=1e-4, atol=1e-4
        )

  def test_upright_camera_shows_y_up_as_row_down(self):
    camera = Camera(jnp.float32(2.0), jnp.eye(3), jnp.array([10.0, 20.0]))
    got = geometry.project(camera, jnp.array([[1.0, 3.0, 9.0]]))
    np.testing.assert_allclose(got, [[12.0, 14.0]])

  def test_transformed_camera_projects_to_transformed_points(self):
    matrix = jnp.array([[0.6, -0.3, 5.0], [0.3, 0.6, -2.0]])
    batch = jnp.broadcast_to(matrix, (6, 2, 3))
    moved = geometry.transform_camera(self.camera, batch)
    np.testing.assert_allclose(
      geometry.project(moved, self.points),
      geometry.apply_affine(batch, geometry.project(self.camera, self.points)),
      atol=1e-4,
    )
    np.testing.assert_allclose(np.linalg.det(moved.rotation), 1.0, atol=1e-5)

  def test_a_camera_of_another_batch_is_refused(self):
    with self.assertRaisesRegex(
      ValueError, r"camera.rotation: expected shape \[5, 3, 3\]"
    ):
      geometry.project(self.camera, self.points[:5])

  def test_points_must_end_in_three(self):
    with self.assertRaisesRegex(ValueError, "points: expected shape"):
      geometry.project(self.camera, self.points[..., :2])


class AlignmentTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_a_known_motion_comes_back(self, with_scale):
    rng = np.random.default_rng(4)
    source = rng.normal(size=(5, 30, 3)).astype(np.float32) * 60
    scale = rng.uniform(0.5, 2, 5) if with_scale else np.ones(5)
    rotation, shift = _rotations(5), rng.normal(size=(5, 3)) * 100
    target = (
      scale[:, None, None] * np.einsum("bij,bvj->bvi", rotation, source)
      + shift[:, None]
    ).astype(np.float32)
    got = geometry.align_similarity(
      jnp.asarray(source), jnp.asarray(target), with_scale=with_scale
    )
    np.testing.assert_allclose(got[0], scale, rtol=1e-5)
    np.testing.assert_allclose(got[1], rotation, atol=1e-5)
    np.testing.assert_allclose(got[2], shift, atol=1e-3)
    aligned = geometry.apply_similarity(jnp.asarray(source), *got)
    np.testing.assert_allclose(aligned, target, atol=2e-3)

  def test_weighted_noisy_alignment_equals_scipy(self):
    rng = np.random.default_rng(5)
    source = rng.normal(size=(40, 3)).astype(np.float32)
    target = (
      source @ _rotations(1)[0].T + rng.normal(size=(40, 3)) * 0.3
    ).astype(np.float32)
    weights = rng.uniform(0.1, 1, 40).astype(np.float32)
    _, rotation, _ = geometry.align_similarity(
      jnp.asarray(source), jnp.asarray(target), weights=jnp.asarray(weights)
    )

    def centred(x):
      return x - np.average(x, axis=0, weights=weights)

    oracle, _ = Rotation.align_vectors(
      centred(target), centred(source), weights
    )
    np.testing.assert_allclose(rotation, oracle.as_matrix(), atol=1e-5)

  def test_a_mirror_image_is_never_matched_by_a_reflection(self):
    source = np.random.default_rng(6).normal(size=(30, 3)).astype(np.float32)
    mirrored = jnp.asarray(source * np.array([-1, 1, 1], np.float32))
    _, rotation, _ = geometry.align_similarity(jnp.asarray(source), mirrored)
    self.assertAlmostEqual(float(np.linalg.det(rotation)), 1.0, places=5)

  def test_source_and_target_must_agree(self):
    with self.assertRaisesRegex(ValueError, r"target: expected shape .*V=4"):
      geometry.align_similarity(jnp.zeros((4, 3)), jnp.zeros((5, 3)))


class PlaneTest(absltest.TestCase):
  def test_similarity_2d_is_the_least_squares_solution(self):
    rng = np.random.default_rng(7)
    source = rng.normal(size=(5, 2)).astype(np.float32) * 30
    target = rng.normal(size=(5, 2)).astype(np.float32) * 30
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
      rows += [[x, -y, 1, 0], [y, x, 0, 1]]
      values += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(values))[0]
    got = geometry.similarity_2d(jnp.asarray(source), jnp.asarray(target))
    np.testing.assert_allclose(got, [[a, -b, tx], [b, a, ty]], atol=1e-4)

  def test_inverse_undoes_the_map(self):
    matrix = jnp.array([[0.6, -0.3, 5.0], [0.3, 0.6, -2.0]])
    points = jnp.asarray(
      np.random.default_rng(8).normal(size=(7, 2)) * 50, jnp.float32
    )
    back = geometry.apply_affine(
      geometry.invert_affine(matrix), geometry.apply_affine(matrix, points)
    )
    np.testing.assert_allclose(back, points, atol=1e-4)

  def test_five_points_are_eye_means_nose_and_mouth_corners(self):
    landmarks = np.arange(136, dtype=np.float32).reshape(68, 2)
    np.testing.assert_allclose(
      geometry.five_points(jnp.asarray(landmarks)),
      [
        landmarks[36:42].mean(0),
        landmarks[42:48].mean(0),
        landmarks[30],
        landmarks[48],
        landmarks[54],
      ],
    )


class LayoutTest(absltest.TestCase):
  def test_vertices_flatten_as_x1_y1_z1_x2(self):
    vertices = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    flat = geometry.flatten_vertices(vertices)
    np.testing.assert_array_equal(flat, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(geometry.unflatten_vertices(flat), vertices)

  def test_a_length_that_is_no_multiple_of_three_is_refused(self):
    with self.assertRaisesRegex(ValueError, "flat: expected a last dimension"):
      geometry.unflatten_vertices(jnp.zeros(7))


if __name__ == "__main__":
  absltest.main()
