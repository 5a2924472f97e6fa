"""The synthetic world: whose photos they are, and where their truth lies."""

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from disentangle3d.crop_templates import (
  SPHEREFACE,
  WHOLE_FACE,
  crop_from_landmarks,
)
from disentangle3d.faces import (
  appearance,
  head_closure,
  photography,
  synthetic,
  synthetic_landmarks,
  synthetic_pictures,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import (
  euler_from_rotation,
  five_points,
  project,
  rotation_from_euler,
)
from disentangle3d.types import CROP_TEMPLATE

SEED = 3
PHOTOS = 12


def setUpModule():
  global MODEL, WORLD, PLAIN, photos_of, PHOTOS_OF_WORLD, PLAIN_PHOTOS
  MODEL = procedural_face_model(
    num_vertices=1_500, identity_dim=12, expression_dim=6
  )
  WORLD = synthetic.synthetic_world(MODEL, photos_per_person=4)
  # As WORLD in all that is compiled in.
  PLAIN = WORLD.replace(landmark_noise_px=0.0)
  photos_of = jax.jit(synthetic.render_photos)
  PHOTOS_OF_WORLD = photos_of(WORLD, SEED, jnp.arange(PHOTOS))
  PLAIN_PHOTOS = photos_of(PLAIN, SEED, jnp.arange(PHOTOS))


class RenderPhotosTest(parameterized.TestCase):
  def test_shapes_and_dtypes(self):
    photos = PHOTOS_OF_WORLD
    self.assertEqual(photos.image.shape, (PHOTOS, 112, 96, 3))
    self.assertEqual(photos.image.dtype, jnp.uint8)
    self.assertEqual(photos.landmarks.shape, (PHOTOS, 68, 2))
    self.assertEqual(photos.visibility.dtype, jnp.float32)
    self.assertEqual(photos.shape.shape, (PHOTOS, 1_500, 3))
    for leaf in jax.tree.leaves(photos):
      self.assertTrue(np.isfinite(np.asarray(leaf)).all())

  def test_a_row_does_not_depend_on_its_batch(self):
    # Shuffled, repeated, padded from elsewhere; same number of rows so that
    # nothing compiles again.
    order = np.array([7, 1, 1, 40, 3, 0, 11, 2, 900, 8, 5, 4])
    other = photos_of(WORLD, SEED, jnp.asarray(order))
    for row, index in enumerate(order):
      if index < PHOTOS:
        chex.assert_trees_all_equal(
          jax.tree.map(lambda leaf, row=row: leaf[row], other),
          jax.tree.map(lambda leaf, index=index: leaf[index], PHOTOS_OF_WORLD),
        )

  def test_a_batch_of_another_size_gives_the_same_rows(self):
    some = photos_of(WORLD, SEED, jnp.asarray([5, 2]))
    expected = jax.tree.map(
      lambda leaf: leaf[np.array([5, 2])], PHOTOS_OF_WORLD
    )
    chex.assert_trees_all_equal(some, expected)

  def test_another_seed_or_index_gives_another_photo(self):
    other = photos_of(WORLD, SEED + 1, jnp.arange(PHOTOS))
    images = np.concatenate([PHOTOS_OF_WORLD.image, other.image])
    self.assertLen({image.tobytes() for image in images}, 2 * PHOTOS)

  def test_one_person_has_one_identity_shape_and_many_shapes(self):
    np.testing.assert_array_equal(
      PHOTOS_OF_WORLD.person, np.arange(PHOTOS) // 4
    )
    identity = np.asarray(PHOTOS_OF_WORLD.identity_shape).reshape(3, 4, -1)
    np.testing.assert_array_equal(identity, identity[:, :1].repeat(4, 1))
    self.assertGreater(np.abs(identity[0, 0] - identity[1, 0]).max(), 1.0)
    shapes = np.asarray(PHOTOS_OF_WORLD.shape).reshape(3, 4, -1)
    self.assertGreater(np.abs(shapes[:, 0] - shapes[:, 1]).max(), 1.0)

  def test_fine_detail_leaves_the_span_of_the_model(self):
    basis = np.asarray(MODEL.identity_basis).reshape(-1, 12)
    offset = np.asarray(
      PHOTOS_OF_WORLD.identity_shape - MODEL.mean_shape[None]
    ).reshape(PHOTOS, -1)
    weights, *_ = np.linalg.lstsq(basis, offset.T, rcond=None)
    rest = (offset.T - basis @ weights).T.reshape(PHOTOS, -1, 3)
    rms_mm = np.sqrt((rest**2).sum(-1).mean())
    self.assertBetween(rms_mm, 0.25, 0.55)

  def test_photo_keys_never_contain_the_person(self):
    # The same photos of other people: pose, background and expression stay.
    fewer = WORLD.replace(photos_per_person=2)
    other = photos_of(fewer, SEED, jnp.arange(PHOTOS))
    changed = np.asarray(other.person != PHOTOS_OF_WORLD.person)
    self.assertGreater(changed.sum(), 6)
    np.testing.assert_array_equal(
      other.expression_class, PHOTOS_OF_WORLD.expression_class
    )
    np.testing.assert_allclose(
      other.yaw_rad, PHOTOS_OF_WORLD.yaw_rad, atol=1e-5
    )
    same = np.asarray(other.image == PHOTOS_OF_WORLD.image).all(-1)
    corner = same[:, :6, :6].mean((1, 2)) + same[:, :6, -6:].mean((1, 2))
    self.assertGreater((corner[changed] == 2).mean(), 0.1)
    self.assertGreater(corner[changed].mean(), 0.5)
    face = same[changed][:, 50:90, 40:60]
    self.assertLess(face.mean(), 0.2)

  def test_yaw_is_the_cameras_and_turns_the_nose(self):
    photos = PLAIN_PHOTOS
    yaw = np.asarray(euler_from_rotation(photos.camera.rotation)[0])
    np.testing.assert_allclose(photos.yaw_rad, yaw, atol=1e-6)
    eyes = np.asarray(photos.landmarks[:, 36:48, 0].mean(1))
    nose = np.asarray(photos.landmarks[:, 30, 0])
    turned = np.abs(yaw) > 0.35
    self.assertGreater(turned.sum(), 2)
    np.testing.assert_array_equal(
      np.sign(nose - eyes)[turned], np.sign(yaw)[turned]
    )

  def test_noiseless_landmarks_are_projected_vertices(self):
    # Up to 15 degrees the contour too is on its fixed vertices.
    vertices = np.asarray(MODEL.landmark_vertices)
    projected = project(PLAIN_PHOTOS.camera, PLAIN_PHOTOS.shape[:, vertices])
    away = np.abs(PLAIN_PHOTOS.landmarks - projected).max(-1)
    self.assertLess(away[:, 17:].max(), 1e-3)
    level = np.abs(PLAIN_PHOTOS.yaw_rad) < np.deg2rad(14)
    self.assertGreater(level.sum(), 2)
    self.assertLess(away[level].max(), 1e-3)
    self.assertGreater(away[~level].max(), 1)

  def test_noise_has_its_deviation(self):
    vertices = np.asarray(MODEL.landmark_vertices)[17:]
    projected = project(
      PHOTOS_OF_WORLD.camera, PHOTOS_OF_WORLD.shape[:, vertices]
    )
    noise = np.asarray(PHOTOS_OF_WORLD.landmarks[:, 17:] - projected)
    self.assertBetween(noise.std(), 0.85, 1.2)

  def test_crops_are_aligned_and_of_a_sane_size(self):
    for photos in (PHOTOS_OF_WORLD, PLAIN_PHOTOS):
      points = np.asarray(five_points(photos.landmarks))
      np.testing.assert_allclose(
        points.mean(1), np.tile(CROP_TEMPLATE.mean(0), (PHOTOS, 1)), atol=0.1
      )
      scale = np.asarray(photos.camera.scale) / float(WORLD.nominal_scale)
      self.assertBetween(scale.min(), 0.79, 1.26)
      self.assertBetween(scale.max(), 0.79, 1.26)
      frontal = np.abs(np.asarray(photos.yaw_rad)) < 0.2
      away = np.linalg.norm(points - CROP_TEMPLATE, axis=-1)[frontal]
      self.assertLess(away.mean(), 3.5)

  def test_the_far_side_of_a_profile_is_hidden(self):
    many = [photos_of(PLAIN, seed, jnp.arange(PHOTOS)) for seed in (11, 12)]
    photos = jax.tree.map(lambda *rows: np.concatenate(rows), *many)
    yaw = np.asarray(photos.yaw_rad)
    far = np.abs(yaw) > np.deg2rad(60)
    self.assertGreaterEqual(far.sum(), 2)
    right_side = np.asarray(photos.visibility[:, 42:48].mean(1))
    left_side = np.asarray(photos.visibility[:, 36:42].mean(1))
    hidden = np.where(yaw > 0, right_side, left_side)[far]
    seen = np.where(yaw > 0, left_side, right_side)[far]
    self.assertGreater(seen.mean(), hidden.mean() + 0.3)
    frontal = np.abs(yaw) < np.deg2rad(25)
    inner = np.asarray(photos.visibility)[frontal][:, 17:]
    self.assertGreater(inner.mean(), 0.95)


class SweepTest(absltest.TestCase):
  def test_yaw_goes_from_left_to_right_and_nobody_smiles(self):
    @jax.jit
    def truth(world, indices):
      # Nothing is rendered: what is not returned is not computed.
      photos = synthetic.render_photos(world, SEED, indices)
      return photos.yaw_rad, photos.expression_class, photos.identity_shape

    world = WORLD.replace(sweep="yaw", photos_per_person=19)
    yaw, expression, identity = truth(world, jnp.arange(57))
    steps = np.tile(np.arange(-90, 91, 10), 3)
    np.testing.assert_allclose(np.degrees(yaw), steps, atol=1e-3)
    np.testing.assert_array_equal(expression, 0)
    # The same people as in other photos of theirs.
    np.testing.assert_allclose(
      identity[::19], PHOTOS_OF_WORLD.identity_shape[::4], atol=1e-4
    )

  def test_every_expression_comes_in_turn(self):
    world = WORLD.replace(sweep="expression")
    place = jnp.arange(14)
    normal = jnp.zeros((14, 2 + MODEL.expression_dim))
    _, number = synthetic._expressions(world, normal, place)
    np.testing.assert_array_equal(number, np.arange(14) % 6)


class PartsTest(parameterized.TestCase):
  def test_contour_slides_to_the_silhouette_beyond_15_degrees(self):
    contour = WORLD.contour
    yaw = jnp.deg2rad(jnp.asarray([0.0, 10, 50, -50]))
    rotation = rotation_from_euler(yaw, 0 * yaw + 0.1, 0 * yaw - 0.2)
    shape = jnp.tile(jnp.asarray(MODEL.mean_shape)[None], (4, 1, 1))
    found = np.asarray(
      synthetic_landmarks.photo_landmark_vertices(
        MODEL, contour, shape, rotation
      )
    )
    fixed = np.asarray(MODEL.landmark_vertices)
    np.testing.assert_array_equal(found[:2], np.tile(fixed, (2, 1)))
    np.testing.assert_array_equal(found[2, :9], fixed[:9])
    np.testing.assert_array_equal(found[3, 8:17], fixed[8:17])
    self.assertGreater((found[2, 9:17] != fixed[9:17]).sum(), 5)
    self.assertGreater((found[3, :8] != fixed[:8]).sum(), 5)
    # Farther out than the vertices they left, at about their height.
    level = rotation_from_euler(yaw, 0 * yaw, 0 * yaw)
    x = np.einsum("bj,vj->bv", level[:, 0], MODEL.mean_shape)
    self.assertTrue((x[2][found[2, 9:17]] >= x[2][fixed[9:17]]).all())
    self.assertTrue((x[3][found[3, :8]] <= x[3][fixed[:8]]).all())
    y = np.asarray(MODEL.mean_shape)[:, 1]
    self.assertLess(np.abs(y[found] - y[fixed][None]).max(), 10)

  def test_a_frontal_mean_face_needs_no_change_of_scale(self):
    points = np.asarray(MODEL.mean_shape)[np.asarray(MODEL.landmark_vertices)]
    scale = float(synthetic_landmarks.nominal_scale(MODEL))
    photo = jnp.asarray(scale * points[None, :, :2] * [1, -1], jnp.float32)
    matrix = synthetic_landmarks.align_to_template(photo, SPHEREFACE)
    self.assertAlmostEqual(
      float(jnp.hypot(matrix[0, 0, 0], matrix[0, 1, 0])), 1.0, places=5
    )
    tiny = synthetic_landmarks.align_to_template(0.1 * photo, SPHEREFACE)
    self.assertAlmostEqual(
      float(jnp.hypot(tiny[0, 0, 0], tiny[0, 1, 0])), 1.25, places=5
    )

  def test_profiles_of_the_whole_face_lie_in_the_crop(self):
    narrow = WORLD.replace(sweep="yaw", photos_per_person=5)
    photos = {
      template: jax.device_get(
        jax.jit(synthetic.render_photos)(
          narrow.replace(template=template), 0, jnp.arange(5)
        )
      )
      for template in (SPHEREFACE, WHOLE_FACE)
    }
    landmarks = photos[WHOLE_FACE].landmarks
    aligned = np.asarray(crop_from_landmarks(landmarks, WHOLE_FACE))
    np.testing.assert_allclose(
      aligned, np.broadcast_to(np.eye(2, 3), (5, 2, 3)), atol=1e-3
    )
    middle = {
      template: np.abs(seen.landmarks[..., 0].mean(1) - 47.5)
      for template, seen in photos.items()
    }
    self.assertLess(middle[WHOLE_FACE].max(), 1)
    # By five points a profile's landmarks lie to one side.
    self.assertGreater(middle[SPHEREFACE][[0, 4]].min(), 2)
    inside = (landmarks >= 0) & (landmarks <= (95, 111))
    self.assertGreater(inside.mean(), 0.97)

  def test_whom_the_colours_depend_on(self):
    rng = np.random.default_rng(0)
    one, other = (
      {"palette": jnp.asarray(rng.normal(size=(2, 109)), jnp.float32)}
      for _ in range(2)
    )

    def skin(albedo, by_person, by_photo):
      return np.asarray(
        synthetic_pictures._palettes(albedo, by_person, by_photo).skin
      )

    for albedo, person_matters, photo_matters in (
      ("per_person", True, False),
      ("per_photo", False, True),
      ("constant", False, False),
    ):
      base = skin(albedo, one, one)
      self.assertEqual((skin(albedo, other, one) != base).any(), person_matters)
      self.assertEqual((skin(albedo, one, other) != base).any(), photo_matters)

  def test_fixed_vertices_stay_at_any_yaw(self):
    rotation = rotation_from_euler(*jnp.asarray([[1.2], [0.0], [0.0]]))
    found = synthetic_landmarks.photo_landmark_vertices(
      MODEL, None, jnp.asarray(MODEL.mean_shape)[None], rotation
    )
    np.testing.assert_array_equal(found[0], MODEL.landmark_vertices)

  def test_colours_lie_on_their_features(self):
    palette = appearance.constant_palette()
    colors = np.asarray(
      appearance.paint(WORLD.canvas, palette, jnp.asarray([1.0, 0.0]))
    )
    self.assertEqual(colors.shape, (1_502, 3))
    self.assertBetween(colors.min(), 0, 1)
    landmarks = np.asarray(MODEL.landmark_vertices)
    skin = np.asarray(palette.skin)
    brow, lip, cheek = colors[landmarks[[19, 57, 2]]]
    self.assertLess(brow.sum(), 0.8 * skin.sum())
    self.assertGreater(lip[0] / lip[1], 1.1 * skin[0] / skin[1])
    np.testing.assert_allclose(cheek / skin, 1, atol=0.15)
    np.testing.assert_allclose(colors[1_500], palette.hair, rtol=1e-6)

  def test_hair_and_neck_close_the_mask(self):
    closure = WORLD.closure
    triangles = np.asarray(closure.triangles)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    edges = np.concatenate([edges, triangles[:, [2, 0]]])
    directed = {tuple(edge) for edge in edges.tolist()}
    self.assertLen(directed, len(edges))
    open_edges = [e for e in directed if e[::-1] not in directed]
    last_ring = 1_500 + 4 * len(closure.border)
    self.assertNotEmpty(open_edges)
    self.assertGreaterEqual(min(min(edge) for edge in open_edges), last_ring)

  def test_a_closed_mesh_has_no_border(self):
    corners = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    self.assertEmpty(head_closure.outer_border(corners, np.eye(4)[:, :3]))
    border = head_closure.outer_border(corners[1:], np.eye(4)[:, :3])
    self.assertCountEqual(border, [0, 1, 2])

  @parameterized.parameters(("mixed", 90), ("uniform", 90), ("frontal", 12))
  def test_yaw_distributions(self, name, most):
    normal = np.random.default_rng(0).normal(size=(2_000, 5))
    rotation = jax.vmap(
      lambda row: photography.head_rotation(
        row, yaw_distribution=name, max_yaw_deg=90.0
      )
    )(jnp.asarray(normal, jnp.float32))
    yaw, pitch, roll = (np.rad2deg(a) for a in euler_from_rotation(rotation))
    self.assertLessEqual(np.abs(yaw).max(), most)
    self.assertLess(abs(yaw.mean()), 4)
    within = (np.abs(yaw) < 40).mean()
    wanted = {"mixed": 0.75 + 0.25 * 4 / 9, "uniform": 4 / 9, "frontal": 1}
    self.assertAlmostEqual(within, wanted[name], delta=0.04)
    self.assertLess(np.abs(pitch).max(), 21)
    self.assertLess(np.abs(roll).max(), 16)


class MadeExpressionsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    # Only the first two modes, and each one way: what blendshapes make.
    samples = np.zeros((20, MODEL.expression_dim), np.float32)
    samples[:, :2] = rng.uniform(0.5, 2, (20, 2))
    self.model = MODEL.replace(expression_samples=samples)

  def test_every_sample_is_drawn_as_often(self):
    normal = np.random.default_rng(1).normal(size=(8_000, 6))
    made = synthetic.made_expressions(self.model, jnp.float32(normal))
    samples = np.asarray(self.model.expression_samples)
    apart = np.abs(np.asarray(made)[:, None] - samples[None]).max(-1)
    np.testing.assert_array_equal(apart.min(1), 0)
    counts = np.bincount(apart.argmin(1), minlength=20)
    self.assertGreater(scipy.stats.chisquare(counts).pvalue, 0.01)
    # The ends of what a normal number can be.
    edges = jnp.full((2, 6), 40.0) * jnp.array([[-1.0], [1.0]])
    np.testing.assert_array_equal(
      synthetic.made_expressions(self.model, edges), samples[[0, -1]]
    )

  def test_modes_with_statistics_are_drawn_from_those(self):
    normal = jnp.ones((3, 6))
    self.assertIs(synthetic.made_expressions(MODEL, normal), normal)

  def test_a_world_of_few_samples_repeats_them(self):
    for count in (1, 2, 3):
      samples = self.model.expression_samples[:count]
      world = synthetic.synthetic_world(
        self.model.replace(expression_samples=samples)
      )
      apart = np.abs(np.asarray(world.expressions)[1:, None] - samples[None])
      np.testing.assert_array_equal(apart.max(-1).min(1), 0)

  def test_faces_of_a_world_do_what_blendshapes_do(self):
    world = synthetic.synthetic_world(self.model, photos_per_person=4)
    _, residual = synthetic.true_coefficients(world, 0, jnp.arange(64))
    expression = np.asarray(residual)[:, : MODEL.expression_dim]
    self.assertTrue((expression[:, :2] > 0).all())
    np.testing.assert_array_equal(expression[:, 2:], 0)


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"albedo": "blue"}, "albedo: expected one of per_person"),
    ({"jaw": "wired"}, "jaw: expected one of visible_contour"),
    ({"yaw_distribution": "odd"}, "yaw_distribution: expected one of"),
    ({"sweep": "pitch"}, "sweep: expected one of none, yaw, expression"),
    ({"photos_per_person": 0}, "photos_per_person: expected at least 1"),
    ({"landmark_noise_px": -1.0}, "landmark_noise_px: expected at least 0"),
    ({"detail_mm": float("nan")}, "detail_mm: expected at least 0"),
  )
  def test_options_are_checked(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      synthetic.synthetic_world(MODEL, **options)

  def test_missing_landmarks_are_named(self):
    landmarks = np.asarray(MODEL.landmark_vertices).copy()
    landmarks[40] = -1
    with self.assertRaisesRegex(ValueError, "landmarks 17 to 67"):
      synthetic.synthetic_world(MODEL.replace(landmark_vertices=landmarks))

  def test_indices_are_checked(self):
    with self.assertRaisesRegex(ValueError, "indices"):
      synthetic.render_photos(WORLD, 0, jnp.zeros((2, 2), jnp.int32))
    with self.assertRaisesRegex(TypeError, "indices"):
      synthetic.render_photos(WORLD, 0, jnp.zeros((2,)))


if __name__ == "__main__":
  absltest.main()
