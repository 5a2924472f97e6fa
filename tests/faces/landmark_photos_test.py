"""Photos for a locator: where their truth lies."""

from absl.testing import absltest
import chex
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.landmark_photos import (
  FACE_PX,
  PHOTO_PX,
  render_landmark_photos,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.synthetic_world import synthetic_world

COUNT = 16


def setUpModule():
  global WORLD, RENDER, PHOTOS
  model = procedural_face_model(
    num_vertices=1_500, identity_dim=8, expression_dim=4
  )
  WORLD = synthetic_world(model, photos_per_person=2)
  RENDER = jax.jit(render_landmark_photos)
  PHOTOS = jax.device_get(RENDER(WORLD, 5, jnp.arange(COUNT)))


class LandmarkPhotosTest(absltest.TestCase):
  def test_a_row_does_not_depend_on_its_batch(self):
    order = np.array([3, 90, 1, 1, 7, 0, 15, 2, 33, 4, 5, 6, 8, 9, 10, 11])
    other = jax.device_get(RENDER(WORLD, 5, jnp.asarray(order)))
    for row, index in enumerate(order):
      if index < COUNT:
        chex.assert_trees_all_equal(
          jax.tree.map(lambda leaf, row=row: leaf[row], other),
          jax.tree.map(lambda leaf, index=index: leaf[index], PHOTOS),
        )

  def test_the_box_of_the_points_is_in_the_middle_and_of_one_size(self):
    flat = PHOTOS.points[..., :2]
    low, high = flat.min(1), flat.max(1)
    np.testing.assert_allclose(
      np.sqrt(np.prod(high - low, -1)), FACE_PX, rtol=1e-4
    )
    np.testing.assert_allclose((low + high) / 2, (PHOTO_PX - 1) / 2, atol=1e-3)
    np.testing.assert_allclose(PHOTOS.points[..., 2].mean(1), 0, atol=1e-3)

  def test_points_lie_on_the_head_and_what_is_behind_is_the_rest(self):
    inside = np.round(PHOTOS.points[..., :2]).astype(int).clip(0, PHOTO_PX - 1)
    rows = np.arange(COUNT)[:, None]
    on_head = PHOTOS.head[rows, inside[..., 1], inside[..., 0]] > 0
    self.assertGreater(on_head.mean(), 0.95)
    self.assertFalse(on_head.all(axis=None) and (PHOTOS.head > 0).all())

  def test_heads_turn_to_profiles_and_hide_their_far_side(self):
    yaw = np.rad2deg(PHOTOS.yaw_rad)
    self.assertGreater(np.abs(yaw).max(), 60)
    turned = np.abs(yaw) > 45
    right = yaw > 0  # the nose to the image's right: its right side is far
    eyes = [PHOTOS.visibility[:, side].mean(1) for side in ([36, 39], [42, 45])]
    far = np.where(right, eyes[1], eyes[0])[turned]
    near = np.where(right, eyes[0], eyes[1])[turned]
    self.assertGreater(near.mean(), far.mean() + 0.3)

  def test_the_silhouette_is_the_jaw_but_on_the_far_side(self):
    moved = np.linalg.norm(
      PHOTOS.silhouette - PHOTOS.points[:, :17, :2], axis=-1
    )
    yaw = np.rad2deg(PHOTOS.yaw_rad)
    for row in np.flatnonzero(np.abs(yaw) > 25):
      near = slice(0, 8) if yaw[row] > 0 else slice(9, 17)
      far = slice(9, 17) if yaw[row] > 0 else slice(0, 8)
      np.testing.assert_allclose(moved[row, near], 0, atol=1e-3)
      self.assertGreater(moved[row, far].max(), 1.0)


if __name__ == "__main__":
  absltest.main()
