from absl.testing import absltest, parameterized
import cv2
import jax.numpy as jnp
import numpy as np

from data_prep.faces.mtcnn.networks import pnet_map_size
from data_prep.faces.mtcnn.pyramid import pyramid_scales, shrink, shrink_on_host


class PyramidScalesTest(parameterized.TestCase):
  @parameterized.parameters((512, 20, 0.709), (92, 20, 0.85), (250, 40, 0.85))
  def test_the_smallest_face_fills_a_window_first(self, side, least, factor):
    scales = pyramid_scales(side, min_size_px=least, factor=factor)
    self.assertAlmostEqual(scales[0], 12 / least)
    np.testing.assert_allclose(np.divide(scales[1:], scales[:-1]), factor)
    for scale in scales:
      self.assertGreater(pnet_map_size(int(side * scale)), 0)
    # The largest face: a few pixels more than the photo is wide.
    self.assertBetween(12 / scales[-1], 0.7 * side, 1.6 * side)

  def test_a_photo_smaller_than_a_window_has_no_level(self):
    self.assertEqual(pyramid_scales(11, min_size_px=20, factor=0.85), [])


class ShrinkTest(absltest.TestCase):
  def test_photos_are_averaged_as_opencv_does(self):
    rng = np.random.default_rng(0)
    sizes = [(40, 56), (37, 50)]
    images = np.full((2, 40, 56, 3), 255, np.uint8)
    levels = np.zeros((2, 3, 2), np.int32)
    shapes = [(int(40 * s), int(56 * s)) for s in (0.6, 0.43, 0.2)]
    for row, (height, width) in enumerate(sizes):
      photo = rng.integers(0, 256, (height, width, 3), np.uint8)
      images[row, :height, :width] = photo
      levels[row] = [
        (int(height * s), int(width * s)) for s in (0.6, 0.43, 0.2)
      ]
    small = shrink(
      jnp.asarray(images), jnp.asarray(sizes), jnp.asarray(levels), shapes
    )
    photos = [images[row, :y, :x] for row, (y, x) in enumerate(sizes)]
    by_host = shrink_on_host(photos, levels, shapes)
    for row, (height, width) in enumerate(sizes):
      photo = images[row, :height, :width].astype(np.float32)
      for level, (rows, columns) in enumerate(levels[row]):
        expected = cv2.resize(
          photo, (int(columns), int(rows)), interpolation=cv2.INTER_AREA
        )
        got = np.asarray(small[level][row, :rows, :columns])
        np.testing.assert_allclose(128 * got + 127.5, expected, atol=0.05)
        np.testing.assert_allclose(
          by_host[level][row, :rows, :columns], got, atol=1e-4
        )
        self.assertFalse(by_host[level][row, rows:].any())
        self.assertFalse(by_host[level][row, :, columns:].any())


if __name__ == "__main__":
  absltest.main()
