from absl.testing import absltest
import numpy as np

from disentangle3d.evaluation.landmark_scores import (
  balanced_mean,
  by_yaw,
  cumulative_shares,
  errors_without_convention,
  intervals_by_yaw,
  normalised_errors,
  part_errors,
)
from disentangle3d.types import LANDMARK_MIRROR

NAN = float("nan")


class LandmarkScoresTest(absltest.TestCase):
  def test_a_shift_counts_in_parts_of_the_box(self):
    truth = np.zeros((2, 68, 2))
    truth[:, 0], truth[:, 1] = (0, 0), (40, 10)
    found = truth + np.array([[[3.0, 4.0]], [[0.0, 0.0]]])
    np.testing.assert_allclose(normalised_errors(found, truth), [25, 0])
    found[1, 5] = NAN
    self.assertTrue(np.isnan(normalised_errors(found, truth)[1]))

  def test_parts_of_the_face_make_the_whole(self):
    rng = np.random.default_rng(0)
    truth, found = rng.uniform(0, 90, (2, 5, 68, 2))
    parts = part_errors(found, truth)
    counts = {"jaw": 17, "brows": 10, "nose": 9, "eyes": 12, "mouth": 20}
    self.assertEqual(list(parts), list(counts))
    whole = sum(counts[part] * errors for part, errors in parts.items()) / 68
    np.testing.assert_allclose(whole, normalised_errors(found, truth))
    found[:, 36:48] = truth[:, 36:48]
    self.assertEqual(part_errors(found, truth)["eyes"].max(), 0)

  def test_ranges_of_yaw_count_the_same_and_missing_ones_are_told(self):
    errors = np.array([2.0, 4.0, 12.0, NAN, 20.0, 1.0])
    yaw = np.array([-10.0, 0.0, 45.0, -45.0, -80.0, 120.0])
    bins = by_yaw(errors, yaw)
    self.assertEqual([one.photos for one in bins], [2, 2, 1])
    self.assertEqual([one.missing for one in bins], [0, 1, 0])
    self.assertEqual([one.mean for one in bins], [3, 12, 20])
    self.assertEqual([one.failures for one in bins], [0, 100, 100])
    self.assertAlmostEqual(balanced_mean(bins), 35 / 3)

  def test_a_convention_is_taken_out_whatever_the_pose(self):
    rng = np.random.default_rng(0)
    count = 400
    yaw = rng.uniform(-60, 60, count)
    face = rng.normal(0, 20, (68, 2))
    face[27], face[8] = (0, -30), (0, 40)
    left = yaw < 0
    faces = np.where(
      left[:, None, None], (face * [-1, 1])[LANDMARK_MIRROR], face
    )
    offset = rng.normal(0, 4, (68, 2))
    offsets = np.where(
      left[:, None, None], (offset * [-1, 1])[LANDMARK_MIRROR], offset
    )
    noise = rng.normal(0, 1, (count, 68, 2))
    noise -= noise.mean(0)
    roll, size = rng.uniform(-1, 1, count), rng.uniform(1, 5, count)
    turn = np.array(
      [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    )
    turn = size[:, None, None] * turn.transpose(2, 0, 1)

    def posed(points):
      return np.einsum("nij,npj->npi", turn, points)

    truth = posed(faces)
    found = posed(faces + offsets + noise)
    # The box by which errors are divided turns with the head.
    box = np.sqrt(np.prod(np.ptp(truth, axis=1), axis=-1)) / size
    expected = 100 * np.linalg.norm(noise, axis=-1).mean(-1) / box
    errors = errors_without_convention(found, truth, yaw)
    np.testing.assert_allclose(errors, expected, rtol=0.12)
    self.assertGreater(
      normalised_errors(found, truth).mean(), 2 * expected.mean()
    )

  def test_what_too_few_photos_say_is_no_convention(self):
    points = np.random.default_rng(0).normal(size=(30, 68, 2))
    yaw = np.where(np.arange(30) < 6, 80.0, 3.0)
    errors = errors_without_convention(points, points, yaw)
    self.assertTrue(np.isnan(errors[:6]).all())
    np.testing.assert_allclose(errors[6:], 0, atol=1e-9)
    points[9, 3] = NAN
    errors = errors_without_convention(points, points, yaw)
    self.assertEqual(np.isnan(errors[6:]).sum(), 1)

  def test_intervals_are_those_of_means(self):
    rng = np.random.default_rng(0)
    yaw = np.repeat([10.0, -40.0, 70.0], 400)
    errors = rng.normal(np.repeat([3.0, 4.0, 8.0], 400), 2.0)
    errors[5] = NAN
    found = intervals_by_yaw(errors, yaw)
    bins = by_yaw(errors, yaw)
    np.testing.assert_allclose(
      [one.mean for one in found],
      [*(one.mean for one in bins), balanced_mean(bins)],
    )
    half = 1.96 * 2 / np.sqrt(400) * np.array([1, 1, 1, 1 / np.sqrt(3)])
    np.testing.assert_allclose(
      [(one.high - one.low) / 2 for one in found], half, rtol=0.1
    )
    frontal = intervals_by_yaw(np.array([2.0, 4.0, NAN]), np.zeros(3))
    np.testing.assert_array_equal(
      [one.mean for one in frontal], [3, NAN, NAN, NAN]
    )
    self.assertBetween(frontal[0].high, 3, 4)

  def test_missing_photos_are_never_located(self):
    shares = cumulative_shares(
      np.array([1.0, 3.0, NAN, 30.0]), np.array([0.5, 1.0, 5.0, 50.0])
    )
    np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75])


if __name__ == "__main__":
  absltest.main()
