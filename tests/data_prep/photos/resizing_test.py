from absl.testing import absltest, parameterized
import numpy as np

from data_prep.photos.resizing import points_after, points_before, resize_by


class ResizingTest(parameterized.TestCase):
  @parameterized.parameters(0.37, 0.5, 1.9)
  def test_points_go_along_with_the_picture(self, factor):
    x, y = np.meshgrid(np.arange(120), np.arange(90))
    ramp = np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8)
    resized, factors = resize_by(ramp, factor)
    points = np.array([[30.0, 20.0], [77.0, 61.0]])
    moved = points_after(points, factors)
    for (column, row), (x0, y0) in zip(moved, points, strict=True):
      seen = resized[round(row), round(column)]
      off = np.array([round(column) - column, round(row) - row]) / factors
      np.testing.assert_allclose(seen[:2] / 2, [x0, y0] + off, atol=0.8)
    np.testing.assert_allclose(points_before(moved, factors), points)

  def test_a_photo_of_the_right_size_is_left_alone(self):
    photo = np.zeros((5, 7, 3), np.uint8)
    same, factors = resize_by(photo, 1.0)
    self.assertIs(same, photo)
    np.testing.assert_array_equal(factors, [1, 1])

  def test_a_side_keeps_at_least_a_pixel(self):
    tiny, factors = resize_by(np.zeros((3, 400, 3), np.uint8), 0.1)
    self.assertEqual(tiny.shape, (1, 40, 3))
    np.testing.assert_allclose(factors, [0.1, 1 / 3])


if __name__ == "__main__":
  absltest.main()
