"""Crops that a locator trains on, and what it is trained by."""

from absl.testing import absltest
import chex
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.landmark_photos import PHOTO_PX
from disentangle3d.network.landmark_network import (
  CROP_PX,
  FacePoints,
  LandmarkNetwork,
  find_points,
  mirrored_points,
)
from disentangle3d.training import landmark_augmentation
from disentangle3d.training.landmark_augmentation import (
  Jitter,
  LandmarkExample,
  mirror,
  plain_crop,
  training_crop,
)
from disentangle3d.training.landmark_losses import (
  LandmarkWeights,
  landmark_loss,
)
from disentangle3d.training.landmark_warps import draw_warp, unwarped, warped
from disentangle3d.training.resampling import bilinear

MARKED = 30


def _photo(point=(60.0, 50.0)) -> LandmarkExample:
  """A black photo with a soft bright blob at landmark 30."""
  y, x = np.mgrid[:PHOTO_PX, :PHOTO_PX]
  blob = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 18)
  image = np.repeat((255 * blob)[..., None], 4, -1)
  points = np.random.default_rng(0).uniform(30, 80, (68, 3))
  points[MARKED, :2] = point
  return LandmarkExample(
    image=jnp.asarray(image, jnp.uint8),
    points=jnp.asarray(points, jnp.float32),
    silhouette=jnp.asarray(points[:17, :2], jnp.float32),
    visibility=jnp.asarray(np.arange(68) % 2, jnp.float32),
  )


class CropTest(absltest.TestCase):
  def test_points_go_where_the_pixels_go(self):
    crop_of = jax.jit(lambda key: plain_crop(key, _photo(), Jitter()))
    y, x = np.mgrid[:CROP_PX, :CROP_PX]
    for seed in range(6):
      crop = crop_of(jax.random.key(seed))
      light = np.asarray(crop.image[..., 0]) + 127.5 / 128
      found = [(light * axis).sum() / light.sum() for axis in (x, y)]
      np.testing.assert_allclose(found, crop.points[MARKED, :2], atol=0.1)

  def test_crops_and_what_is_found_in_them_stay_float32_under_x64(self):
    network = LandmarkNetwork()
    params = network.init(
      jax.random.key(0), jnp.zeros((1, CROP_PX, CROP_PX, 3), jnp.float32)
    )["params"]
    photo = _photo()
    with jax.enable_x64(True):
      crop = jax.eval_shape(
        lambda key: training_crop(key, photo, photo.image, Jitter()),
        jax.random.key(0),
      )
      found = jax.eval_shape(
        lambda crops: mirrored_points(find_points(params, crops)),
        jax.ShapeDtypeStruct((1, CROP_PX, CROP_PX, 3), jnp.float32),
      )
    self.assertEqual(
      {leaf.dtype for leaf in jax.tree.leaves((crop, found))},
      {jnp.dtype(jnp.float32)},
    )

  def test_depth_scales_with_the_crop(self):
    photo = _photo()
    crop = plain_crop(jax.random.key(0), photo, Jitter())
    flat = [
      np.linalg.norm(one.points[0, :2] - one.points[1, :2])
      for one in (crop, photo)
    ]
    depth = [one.points[0, 2] - one.points[1, 2] for one in (crop, photo)]
    np.testing.assert_allclose(
      flat[0] / flat[1], depth[0] / depth[1], rtol=1e-4
    )

  def test_the_mirror_image_of_the_mirror_image_is_the_crop(self):
    crop = plain_crop(jax.random.key(1), _photo(), Jitter())
    chex.assert_trees_all_close(mirror(mirror(crop)), crop, atol=1e-4)
    np.testing.assert_allclose(
      mirror(crop).points[MARKED, 0], CROP_PX - 1 - crop.points[MARKED, 0]
    )

  def test_training_changes_pixels_and_keeps_the_truth(self):
    photo, key = _photo(), jax.random.key(2)
    other = jnp.full((PHOTO_PX, PHOTO_PX, 4), 90, jnp.uint8)
    changed = jax.jit(training_crop)(key, photo, other, Jitter())
    self.assertEqual(changed.image.shape, (CROP_PX, CROP_PX, 3))
    self.assertTrue(np.isfinite(changed.image).all())
    self.assertLessEqual(float(jnp.abs(changed.image).max()), 1.0)
    again = jax.jit(training_crop)(key, photo, other, Jitter())
    chex.assert_trees_all_equal(changed, again)

  def test_points_of_a_warped_photo_go_where_its_pixels_go(self):
    y, x = np.mgrid[:PHOTO_PX, :PHOTO_PX]
    grid = np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)
    photo = _photo()
    moved = []
    for seed in range(6):
      warp = draw_warp(jax.random.key(seed))
      light = bilinear(photo.image[..., :1], warped(warp, grid))[:, 0]
      found = light @ grid / light.sum()
      (point,) = unwarped(warp, photo.points[MARKED : MARKED + 1, :2])
      np.testing.assert_allclose(found, point, atol=0.3)
      np.testing.assert_allclose(
        warped(warp, unwarped(warp, grid)), grid, atol=0.1
      )
      moved.append(np.linalg.norm(point - photo.points[MARKED, :2]))
    self.assertGreater(max(moved), 1)

  def test_a_fine_step_of_compression_changes_next_to_nothing(self):
    image = jax.random.uniform(jax.random.key(3), (CROP_PX, CROP_PX, 3))
    fine = landmark_augmentation._compress(image, jnp.float32(1e-5))
    coarse = landmark_augmentation._compress(image, jnp.float32(0.1))
    np.testing.assert_allclose(fine, image, atol=1e-3)
    self.assertGreater(float(jnp.abs(coarse - image).mean()), 0.01)


class LandmarkLossTest(absltest.TestCase):
  def test_the_likeliest_spread_is_half_the_mean_distance(self):
    truth = _photo()
    spreads = np.linspace(0.5, 8, 76)

    def loss(spread):
      away = truth.points.at[:, 0].add(6.0)
      found = FacePoints(
        points=away,
        spread_px=jnp.full((68,), spread),
        visibility_logit=jnp.zeros((68,)),
        silhouette=truth.silhouette,
        silhouette_spread_px=jnp.ones((17,)),
      )
      return landmark_loss(found, truth, LandmarkWeights())

    losses = jax.vmap(loss)(jnp.asarray(spreads, jnp.float32))
    self.assertAlmostEqual(spreads[int(jnp.argmin(losses))], 3.0, delta=0.11)

  def test_every_term_pulls_to_the_truth(self):
    truth = _photo()
    right = FacePoints(
      points=truth.points,
      spread_px=jnp.ones((68,)),
      visibility_logit=20 * (2 * truth.visibility - 1),
      silhouette=truth.silhouette,
      silhouette_spread_px=jnp.ones((17,)),
    )
    best = landmark_loss(right, truth, LandmarkWeights())
    for wrong in (
      right.replace(points=right.points.at[3, 1].add(2.0)),
      right.replace(points=right.points.at[3, 2].add(2.0)),
      right.replace(silhouette=right.silhouette.at[3, 0].add(2.0)),
      right.replace(visibility_logit=-right.visibility_logit),
    ):
      self.assertGreater(landmark_loss(wrong, truth, LandmarkWeights()), best)


if __name__ == "__main__":
  absltest.main()
