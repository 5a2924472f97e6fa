"""How far identity shapes are apart, of one person and of two."""

from absl.testing import absltest
import numpy as np

from experiments.pages.pair_gallery import identity_distances


class IdentityDistancesTest(absltest.TestCase):
  def test_the_same_person_is_the_other_photograph(self):
    places = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 10], [0, 3, 10]])
    neutral = np.broadcast_to(places[:, None], (4, 7, 3)).astype(np.float32)
    own, others = identity_distances(neutral)
    # 1 and 3 mm; 10, √109, √101 and √110.
    self.assertAlmostEqual(own, 2, places=5)
    self.assertAlmostEqual(others, (np.sqrt(101) + np.sqrt(109)) / 2, places=5)

  def test_one_person_has_nobody_to_differ_from(self):
    own, others = identity_distances(np.zeros((2, 5, 3), np.float32))
    self.assertEqual(own, 0)
    self.assertTrue(np.isnan(others))


if __name__ == "__main__":
  absltest.main()
