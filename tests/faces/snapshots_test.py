"""A world in real skins: whose photos they are."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces import synthetic
from disentangle3d.faces.procedural import procedural_face_model
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

  def test_four_of_five_faces_smile_like_somebody(self):
    photos = jnp.arange(200)
    _, smiling = synthetic.true_coefficients(WORLD, SEED, photos)
    serious = WORLD.replace(
      wardrobe=WORLD.wardrobe.replace(smiles=0 * WORLD.wardrobe.smiles)
    )
    _, plain = synthetic.true_coefficients(serious, SEED, photos)
    # All smiles of these skins are ones.
    strength = np.asarray(smiling - plain)[:, :6]
    np.testing.assert_allclose(np.ptp(strength, axis=1), 0, atol=1e-5)
    self.assertBetween((strength[:, 0] > 0.3).mean(), 0.7, 0.9)
    self.assertBetween((strength[:, 0] == 0).mean(), 0.1, 0.3)

  def test_faces_do_what_they_like_more_or_less(self):
    serious = WORLD.replace(
      wardrobe=WORLD.wardrobe.replace(smiles=0 * WORLD.wardrobe.smiles)
    )
    _, residual = synthetic.true_coefficients(serious, SEED, jnp.arange(400))
    passing = np.asarray(residual)[:, : WORLD.model.expression_dim]
    # Normal draws times uniform numbers up to 1.2.
    sizes = np.sqrt((passing**2).mean(1))
    np.testing.assert_allclose(
      np.sqrt((passing**2).mean()), 1.2 / np.sqrt(3), rtol=0.1
    )
    self.assertLess(np.quantile(sizes, 0.1), 0.2)

  def test_the_same_faces_without_skins_have_the_same_identities(self):
    bare = WORLD.replace(wardrobe=None)
    with_skins, _ = synthetic.true_coefficients(WORLD, SEED, jnp.arange(PHOTOS))
    without, _ = synthetic.true_coefficients(bare, SEED, jnp.arange(PHOTOS))
    np.testing.assert_array_equal(with_skins, without)


if __name__ == "__main__":
  absltest.main()
