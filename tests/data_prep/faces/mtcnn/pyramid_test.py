from absl.testing import absltest, parameterized
import cv2
import numpy as np

from data_prep.faces.mtcnn.networks import pnet_map_size
from data_prep.faces.mtcnn.pyramid import (
  STRIP_ROWS,
  canvases,
  choose_canvas,
  level_sizes,
  make_mosaics,
  place_levels,
  pyramid_scales,
)


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


class CanvasesTest(parameterized.TestCase):
  @parameterized.parameters((640, 20, 0.85), (640, 20, 0.709), (100, 12, 0.9))
  def test_every_photo_fits_one(self, longest, least, factor):
    options = {"min_size_px": least, "factor": factor}
    choice = canvases(longest, 3, **options)
    self.assertEqual(choice[-1].pixels, longest**2)
    used = set()
    for height in range(1, longest + 1, 1 + longest // 60):
      for width in (longest, height, max(1, height // 2)):
        sizes = level_sizes(height, width, **options)
        canvas = choice[choose_canvas(choice, sizes, height * width)]
        used.add(canvas.pixels)
        self.assertLessEqual(len(sizes), canvas.levels)
        windows = [pnet_map_size(y) * pnet_map_size(x) for y, x in sizes]
        self.assertLessEqual(sum(windows), canvas.windows)
    self.assertLen(used, 3)

  def test_rectangles_are_inside_and_apart(self):
    sizes = level_sizes(85, 64, min_size_px=20, factor=0.85)
    rows, places = place_levels(sizes, 60)
    covered = np.zeros((rows, 60), int)
    for (top, left), (height, width) in zip(places, sizes, strict=True):
      self.assertEqual((top % 2, left % 2), (0, 0))
      self.assertLessEqual(top + height, rows)
      self.assertLessEqual(left + width, 60)
      covered[top : top + height, left : left + width] += 1
    self.assertEqual(covered.max(), 1)
    self.assertEqual(covered.sum(), sum(y * x for y, x in sizes))
    self.assertGreater(covered.mean(), 0.7)
    self.assertIsNone(place_levels([(20, 62)], 60))


class MosaicsTest(absltest.TestCase):
  def test_every_size_is_in_them_as_opencv_makes_it(self):
    options = {"min_size_px": 20, "factor": 0.709}
    rng = np.random.default_rng(0)
    photos = [
      rng.integers(0, 256, (*size, 3), np.uint8)
      for size in ((71, 58), (80, 80))
    ]
    sizes = [level_sizes(*photo.shape[:2], **options) for photo in photos]
    (canvas,) = canvases(80, 1, **options)
    mosaics = make_mosaics(photos, sizes, canvas, count=3)
    self.assertLess(int(mosaics.count), len(mosaics.strips))
    self.assertFalse(mosaics.inside[mosaics.count :].any())
    column = np.concatenate(mosaics.strips[:, : 2 * STRIP_ROWS])
    across = pnet_map_size(canvas.width)
    for number, (photo, levels) in enumerate(zip(photos, sizes, strict=True)):
      start = 0
      for (height, width), (left, top), end in zip(
        levels, mosaics.corners[number], mosaics.ends[number], strict=False
      ):
        expected = cv2.resize(
          photo.astype(np.float32),
          (width, height),
          interpolation=cv2.INTER_AREA,
        )
        got = column[top : top + height, left : left + width]
        np.testing.assert_allclose(128 * got + 127.5, expected, atol=1e-3)
        rows, columns = pnet_map_size(height), pnet_map_size(width)
        windows = mosaics.windows[number, start:end].reshape(rows, columns)
        y, x = np.divmod(windows, across)
        np.testing.assert_array_equal(2 * y[:, 0] - top, 2 * np.arange(rows))
        np.testing.assert_array_equal(2 * x[0] - left, 2 * np.arange(columns))
        start = end
    inside = np.concatenate(mosaics.inside[:, : 2 * STRIP_ROWS])
    self.assertEqual(
      inside.sum(), sum((y - 2) * (x - 2) for some in sizes for y, x in some)
    )


if __name__ == "__main__":
  absltest.main()
