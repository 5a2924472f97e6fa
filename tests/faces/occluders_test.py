"""What the photographer of real skins does to a picture."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces import occluders, snapshots
from disentangle3d.geometry import Camera


def setUpModule():
  global CAMERA, EYES, GREY
  CAMERA = Camera(
    scale=jnp.float32(0.6),
    rotation=jnp.eye(3),
    translation=jnp.asarray([64.0, 80.0]),
  )
  EYES = jnp.asarray([[-31.0, 39, 0], [31.0, 39, 0]])
  GREY = jnp.full((144, 128, 3), 0.5, jnp.float32)


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
    draws = np.zeros(occluders.OCCLUDER_DRAWS, np.float32)

    def drawn(number, value):
      photo = jnp.asarray(draws).at[4 + number].set(value)
      picture = occluders.draw_before(
        GREY, CAMERA, EYES, jnp.full((3,), 0.3), photo
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

  def test_more_glasses_are_as_many_as_it_says(self):
    draws = jax.random.normal(
      jax.random.key(0), (20_000, occluders.OCCLUDER_DRAWS)
    )
    more = occluders.more_glasses(draws, 0.75)
    changed = np.flatnonzero(np.any(np.asarray(more != draws), 0))
    self.assertEqual(changed.tolist(), [4])
    has = jax.scipy.stats.norm.cdf(more[:, 4])
    self.assertAlmostEqual(float(jnp.mean(has < 0.02)), 0.10, delta=0.01)
    self.assertAlmostEqual(float(jnp.mean(has < 0.14)), 0.37, delta=0.01)

  def test_hair_hangs_over_brows_and_beside_the_eyes_or_not_at_all(self):

    def drawn(**values):
      photo = np.zeros(occluders.FRINGE_DRAWS, np.float32)
      for number, value in values.items():
        photo[int(number[1:])] = value
      picture = occluders.draw_fringe(
        GREY, CAMERA, EYES, jnp.full((3,), 0.05), jnp.asarray(photo)
      )
      return np.abs(np.asarray(picture) - 0.5).max(-1)

    self.assertEqual(drawn().max(), 0)
    # The brows are 20 mm over the eyes, whose middle is at y = 80 - 39 * 0.6.
    fringe = drawn(n0=-4.0, n1=-4.0)
    self.assertGreater(fringe[45, 45:84].min(), 0.3)
    self.assertEqual(fringe[60:].max(), 0)
    # One side's lock, 53 mm from the middle.
    lock = drawn(n3=-4.0, n6=4.0)
    self.assertGreater(lock[57, 64 + 36], 0.3)
    self.assertEqual(lock[:, :80].max(), 0)


if __name__ == "__main__":
  absltest.main()
