from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.evaluation.identification import identify


class IdentifyTest(parameterized.TestCase):
  def test_a_gallery_by_hand(self):
    """Cosines are those of angles; people 1, 2, 3 at 0, 60 and 120 degrees."""

    def at(*degrees):
      angle = np.radians(degrees)
      return np.stack([np.cos(angle), np.sin(angle)], 1)

    probes = at(5, 40, 50, 100, -20, 180, 90, 270)
    people = np.array([1, 1, 2, 3, 1, 8, 9, 9])
    got = identify(
      at(0, 60, 120), np.array([1, 2, 3]), probes, people, fars=(0.34, 0.1)
    )
    # 40 degrees is nearer to person 2; all others are right.
    self.assertEqual((got.known, got.unknown), (5, 3))
    self.assertAlmostEqual(got.rank_1, 80)
    np.testing.assert_allclose(got.cmc, [80, 100, 100])
    # Strangers are 60, 30 and 150 degrees from the nearest: one of three may
    # pass, so accepted is what is nearer than 60: all four right ones.
    self.assertAlmostEqual(got.tar_at_far[0], 80)
    self.assertAlmostEqual(got.thresholds[0], 0.5)
    self.assertTrue(np.isnan(got.tar_at_far[1]))

  def test_a_strict_threshold_refuses_what_is_uncertain(self):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 5))
    gallery, people = centres[:30], np.arange(30)
    who = np.repeat(np.arange(60), 10)
    probes = centres[who] + 0.4 * rng.normal(size=(600, 5))
    got = identify(gallery, people, probes, who, fars=(0.5, 0.1, 0.01))
    self.assertTrue((np.diff(got.tar_at_far) < 0).all())
    self.assertTrue((np.diff(got.cmc) >= 0).all())
    self.assertEqual(got.cmc[-1], 100)
    self.assertLess(got.tar_at_far[0], got.rank_1)

  def test_the_best_of_a_persons_photos_counts(self):
    gallery = np.array([[1.0, 0], [0, 1.0], [-1.0, 0.1]])
    got = identify(
      gallery, np.array([7, 7, 4]), np.array([[0.1, 1.0]]), np.array([7])
    )
    self.assertEqual(got.rank_1, 100)

  def test_constant_codes_find_nobody(self):
    ones = np.ones((6, 3))
    got = identify(ones, np.arange(6), ones, np.arange(6))
    self.assertEqual(got.rank_1, 0)

  def test_errors_name_the_argument(self):
    codes, people = np.eye(3), np.arange(3)
    with self.assertRaisesRegex(ValueError, "probes: .*D=3"):
      identify(codes, people, np.eye(2), people[:2])
    with self.assertRaisesRegex(ValueError, "probe_people: .*nobody"):
      identify(codes, people, codes, people + 9)
    with self.assertRaisesRegex(ValueError, "fars: .* got 1.0"):
      identify(codes, people, codes, people, fars=(1.0,))
    with self.assertRaisesRegex(ValueError, "gallery: expected finite"):
      identify(codes * np.nan, people, codes, people)
    with self.assertRaisesRegex(TypeError, "gallery_people: .*integer"):
      identify(codes, people * 1.0, codes, people)


if __name__ == "__main__":
  absltest.main()
