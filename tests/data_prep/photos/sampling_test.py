import io

from absl.testing import absltest
import numpy as np
from PIL import Image

from data_prep.photos.encoding import jpeg_bytes, png_bytes
from data_prep.photos.sampling import fill_smoothly, sample_photo


class SamplingTest(absltest.TestCase):
  def test_colours_are_those_between_the_pixels(self):
    y, x = np.mgrid[:20, :30]
    photo = np.stack([5 * x, 5 * y, 0 * x], -1).astype(np.uint8)
    places = np.array([[[3.0, 4.0], [7.4, 9.8], [-5, 50]]])
    np.testing.assert_allclose(
      sample_photo(photo, places),
      [[[15, 20, 0], [37, 49, 0], [0, 95, 0]]],
      atol=1,
    )

  def test_what_is_known_stays_and_the_rest_lies_between(self):
    picture = np.zeros((64, 48, 3), np.float32)
    picture[:, 40:] = 100
    known = np.zeros((64, 48), np.float32)
    known[:, :8] = known[:, 40:] = 1
    filled = fill_smoothly(picture, known)
    np.testing.assert_allclose(filled[known > 0], picture[known > 0])
    middle = filled[32, 8:40, 0]
    self.assertGreaterEqual(np.diff(middle).min(), -5)
    self.assertLess(middle[0], 30)
    self.assertGreater(middle[-1], 70)


class EncodingTest(absltest.TestCase):
  def test_files_hold_the_picture(self):
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (20, 30, 3), np.uint8)
    grey = rng.integers(0, 65536, (20, 30), np.uint16)
    for picture in (color, grey):
      with Image.open(io.BytesIO(png_bytes(picture))) as file:
        self.assertEqual(file.format, "PNG")
        np.testing.assert_array_equal(np.asarray(file), picture)
    flat = np.full((16, 16, 3), (200, 20, 60), np.uint8)
    with Image.open(io.BytesIO(jpeg_bytes(flat))) as file:
      self.assertEqual(file.format, "JPEG")
      np.testing.assert_allclose(np.asarray(file), flat, atol=3)


if __name__ == "__main__":
  absltest.main()
