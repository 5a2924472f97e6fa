from absl.testing import absltest
import numpy as np

from disentangle3d.evaluation.landmark_scores import (
  balanced_mean,
  by_yaw,
  cumulative_shares,
  normalised_errors,
)

NAN = float("nan")


class LandmarkScoresTest(absltest.TestCase):
  def test_a_shift_counts_in_parts_of_the_box(self):
    truth = np.zeros((2, 68, 2))
    truth[:, 0], truth[:, 1] = (0, 0), (40, 10)
    found = truth + np.array([[[3.0, 4.0]], [[0.0, 0.0]]])
    np.testing.assert_allclose(normalised_errors(found, truth), [25, 0])
    found[1, 5] = NAN
    self.assertTrue(np.isnan(normalised_errors(found, truth)[1]))

  def test_ranges_of_yaw_count_the_same_and_missing_ones_are_told(self):
    errors = np.array([2.0, 4.0, 12.0, NAN, 20.0, 1.0])
    yaw = np.array([-10.0, 0.0, 45.0, -45.0, -80.0, 120.0])
    bins = by_yaw(errors, yaw)
    self.assertEqual([one.photos for one in bins], [2, 2, 1])
    self.assertEqual([one.missing for one in bins], [0, 1, 0])
    self.assertEqual([one.mean for one in bins], [3, 12, 20])
    self.assertEqual([one.failures for one in bins], [0, 100, 100])
    self.assertAlmostEqual(balanced_mean(bins), 35 / 3)

  def test_missing_photos_are_never_located(self):
    shares = cumulative_shares(
      np.array([1.0, 3.0, NAN, 30.0]), np.array([0.5, 1.0, 5.0, 50.0])
    )
    np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75])


if __name__ == "__main__":
  absltest.main()
