"""A world in real skins, and its photographer."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces import occluders, snapshots, synthetic
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import Camera
from tests.faces.skinned import plain_skins, with_holes

SEED = 3
PHOTOS = 12


def setUpModule():
  global WORLD, photos_of, PHOTOS_OF_WORLD
  model = with_holes(
    procedural_face_model(num_vertices=1_500, identity_dim=12, expression_dim=6)
  )
  WORLD = synthetic.synthetic_world(
    model, photos_per_person=4, skins=plain_skins(model)
  )
  photos_of = jax.jit(synthetic.render_photos)
  PHOTOS_OF_WORLD = photos_of(WORLD, SEED, jnp.arange(PHOTOS))


class WorldOfSkinsTest(absltest.TestCase):
  def test_a_row_does_not_depend_on_its_batch(self):
    order = np.array([7, 1, 1, 40, 3, 0, 11, 2, 900, 8, 5, 4])
    other = photos_of(WORLD, SEED, jnp.asarray(order))
    for row, index in enumerate(order):
      if index < PHOTOS:
        np.testing.assert_array_equal(
          other.image[row], PHOTOS_OF_WORLD.image[index]
        )
    self.assertGreater(np.asarray(PHOTOS_OF_WORLD.image).std(), 20)

  def test_photo_keys_never_contain_the_person(self):
    # The same photos of other people: pose, smile and light stay.
    other = photos_of(
      WORLD.replace(photos_per_person=2), SEED, jnp.arange(PHOTOS)
    )
    changed = np.asarray(other.person != PHOTOS_OF_WORLD.person)
    self.assertGreater(changed.sum(), 6)
    np.testing.assert_allclose(
      other.yaw_rad, PHOTOS_OF_WORLD.yaw_rad, atol=1e-5
    )
    np.testing.assert_allclose(
      other.shape - other.identity_shape,
      PHOTOS_OF_WORLD.shape - PHOTOS_OF_WORLD.identity_shape,
      atol=1e-3,
    )

  def test_half_of_the_faces_smile_like_somebody(self):
    photos = jnp.arange(200)
    _, smiling = synthetic.true_coefficients(WORLD, SEED, photos)
    serious = WORLD.replace(
      wardrobe=WORLD.wardrobe.replace(smiles=0 * WORLD.wardrobe.smiles)
    )
    _, plain = synthetic.true_coefficients(serious, SEED, photos)
    # All smiles of these skins are ones.
    strength = np.asarray(smiling - plain)[:, :6]
    np.testing.assert_allclose(np.ptp(strength, axis=1), 0, atol=1e-5)
    self.assertBetween((strength[:, 0] > 0.3).mean(), 0.4, 0.6)
    self.assertBetween((strength[:, 0] == 0).mean(), 0.4, 0.6)

  def test_the_same_faces_without_skins_have_the_same_identities(self):
    bare = WORLD.replace(wardrobe=None)
    with_skins, _ = synthetic.true_coefficients(WORLD, SEED, jnp.arange(PHOTOS))
    without, _ = synthetic.true_coefficients(bare, SEED, jnp.arange(PHOTOS))
    np.testing.assert_array_equal(with_skins, without)


class PhotographerTest(absltest.TestCase):
  def test_a_shadow_has_an_edge(self):
    shot = jax.tree.map(
      lambda leaf: leaf[0],
      jax.vmap(snapshots.random_shot)(
        jnp.zeros((1, snapshots.SHOT_DRAWS), jnp.float32)
      ),
    )
    shot = shot.replace(
      shadow=jnp.asarray([1.0, 0, 0, 0]), shade=jnp.float32(0.3)
    )
    points = jnp.asarray([[-30.0, 0, 0], [30.0, 0, 0]])
    normals = jnp.asarray([[0.0, 0, 1]] * 2)
    colors = snapshots.lit_colors(shot, points, normals, jnp.full((2, 3), 0.4))
    np.testing.assert_allclose(colors[1] / colors[0], 0.3, rtol=1e-3)

  def test_an_exposure_is_measured_and_missed(self):
    draws = np.zeros((2, snapshots.SHOT_DRAWS), np.float32)
    draws[:, 28] = -9  # no noise
    draws[1, 24] = 2  # two stops and a bit of 0.3 brighter
    shots = jax.vmap(snapshots.random_shot)(jnp.asarray(draws))
    picture = jnp.full((144, 128, 3), 0.1, jnp.float32)

    def taken(number):
      shot = jax.tree.map(lambda leaf: leaf[number], shots)
      key = jax.random.key(0)
      return np.asarray(snapshots.expose(key, picture, shot, margin=16)).mean()

    right, over = taken(0), taken(1)
    self.assertBetween(right, 90, 165)
    self.assertGreater(over, right + 30)

  def test_glasses_sit_on_the_eyes_of_some(self):
    camera = Camera(
      scale=jnp.float32(0.6),
      rotation=jnp.eye(3),
      translation=jnp.asarray([64.0, 80.0]),
    )
    eyes = jnp.asarray([[-31.0, 39, 0], [31.0, 39, 0]])
    grey = jnp.full((144, 128, 3), 0.5, jnp.float32)
    draws = np.zeros(occluders.OCCLUDER_DRAWS, np.float32)

    def drawn(number, value):
      photo = jnp.asarray(draws).at[4 + number].set(value)
      picture = occluders.draw_before(
        grey, camera, eyes, jnp.full((3,), 0.3), photo
      )
      return np.abs(np.asarray(picture) - 0.5).max(-1)

    self.assertEqual(drawn(0, 0.0).max(), 0)
    sunglasses = drawn(0, -4.0)
    # Right eye at x = 64 - 31 * 0.6, both at y = 80 - 39 * 0.6.
    self.assertGreater(sunglasses[57, 45], 0.3)
    self.assertGreater(sunglasses[57, 83], 0.3)
    self.assertEqual(sunglasses[100:].max(), 0)
    hat = drawn(7, -4.0)
    self.assertGreater(hat[15, 64], 0.05)
    self.assertEqual(hat[70:].max(), 0)


if __name__ == "__main__":
  absltest.main()
