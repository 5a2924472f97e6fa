from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.evaluation.fusion import fuse_scores
from disentangle3d.evaluation.verification import verify


def _systems(seed=0):
  """Two systems with noise of their own; the second in another unit."""
  rng = np.random.default_rng(seed)
  same = np.tile(np.arange(40) < 20, 5)
  first, second = rng.normal(size=(2, 200)) + 1.2 * same
  return first, 100 * second - 7, same


class FuseScoresTest(parameterized.TestCase):
  @parameterized.parameters("z_score", "min_max")
  def test_two_systems_are_better_than_each(self, normalisation):
    first, second, same = _systems()
    fused = fuse_scores(
      first, second, same, folds=5, normalisation=normalisation
    )
    both = verify(fused, same, folds=5).auc.mean
    for one in (first, second):
      self.assertGreater(both, verify(one, same, folds=5).auc.mean + 2)

  def test_normalised_on_the_other_folds_only(self):
    """By hand: the row of fold 0 does not know fold 0's scores."""
    same = np.array([True, False] * 3)
    first = np.array([9.0, 0, 1, 0, 3, 0])
    second = np.array([0.0, 1, 0, 10, 0, 10])
    fused = fuse_scores(first, second, same, folds=3, normalisation="min_max")
    self.assertEqual(fused.shape, (3, 6))
    np.testing.assert_allclose(fused[0], (first / 3 + second / 10) / 2)
    np.testing.assert_allclose(fused[1], (first / 9 + second / 10) / 2)
    other = first[2:]
    z = (first - other.mean()) / other.std()
    alone = fuse_scores(first, second, same, folds=3, weight=1.0)
    np.testing.assert_allclose(alone[0], z)

  def test_the_unit_of_a_system_does_not_matter(self):
    first, second, same = _systems(1)
    plain = fuse_scores(first, second, same, folds=5)
    scaled = fuse_scores(first, second / 1e4 + 3, same, folds=5)
    np.testing.assert_allclose(plain, scaled, atol=1e-9)

  def test_errors_name_the_argument(self):
    first, second, same = _systems()
    with self.assertRaisesRegex(ValueError, "other_scores: .*P=200"):
      fuse_scores(first, second[1:], same)
    with self.assertRaisesRegex(ValueError, "z_score, min_max, got 'x'"):
      fuse_scores(first, second, same, normalisation="x")
    with self.assertRaisesRegex(ValueError, "weight: .* got 1.5"):
      fuse_scores(first, second, same, weight=1.5)
    with self.assertRaisesRegex(ValueError, "scores: expected scores that"):
      fuse_scores(0 * first, second, same, folds=5)
    first[0] = np.inf
    with self.assertRaisesRegex(ValueError, "scores: expected finite"):
      fuse_scores(first, second, same)


if __name__ == "__main__":
  absltest.main()
