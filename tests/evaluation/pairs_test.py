from absl.testing import absltest, parameterized
import numpy as np
import sklearn.metrics.pairwise

from disentangle3d.evaluation import pairs as pairs_lib


def _labels() -> np.ndarray:
  """40 people, named far apart, with 4 to 12 photos, shuffled."""
  rng = np.random.default_rng(0)
  return rng.permutation(
    np.repeat(np.arange(40) * 7 + 3, rng.integers(4, 13, 40))
  )


class MakePairsTest(parameterized.TestCase):
  @parameterized.parameters((10, 24), (4, 120), (1, 600))
  def test_folds_are_equal_and_share_no_person(self, folds, pairs_per_fold):
    labels = _labels()
    pairs = pairs_lib.make_pairs(
      labels, folds=folds, pairs_per_fold=pairs_per_fold, seed=1
    )
    np.testing.assert_array_equal(
      pairs.same, labels[pairs.first] == labels[pairs.second]
    )
    block = np.repeat([True, False], pairs_per_fold // 2)
    np.testing.assert_array_equal(pairs.same, np.tile(block, folds))
    np.testing.assert_array_equal(
      pairs.fold, np.repeat(np.arange(folds), pairs_per_fold)
    )
    self.assertFalse((pairs.first == pairs.second).any())
    both = np.sort(np.stack([pairs.first, pairs.second], 1), axis=1)
    self.assertLen(np.unique(both, axis=0), folds * pairs_per_fold)
    people = [
      set(labels[both[pairs.fold == fold]].ravel()) for fold in range(folds)
    ]
    self.assertEqual(sum(map(len, people)), len(set.union(*people)))

  def test_genuine_pairs_are_spread_over_the_people(self):
    labels = _labels()
    pairs = pairs_lib.make_pairs(labels, folds=4, pairs_per_fold=60)
    counts = np.unique(labels[pairs.first[pairs.same]], return_counts=True)[1]
    np.testing.assert_array_equal(counts, 3)
    self.assertLen(counts, 40)

  def test_the_seed_decides(self):
    def first(seed):
      return pairs_lib.make_pairs(
        _labels(), folds=4, pairs_per_fold=20, seed=seed
      ).first

    np.testing.assert_array_equal(first(1), first(1))
    self.assertFalse(np.array_equal(first(1), first(2)))

  def test_all_the_pairs_there_are_can_be_asked_for(self):
    labels = np.repeat(np.arange(2), 3)
    pairs = pairs_lib.make_pairs(labels, folds=1, pairs_per_fold=6)
    both = np.sort(np.stack([pairs.first, pairs.second], 1), axis=1)[:3]
    self.assertLen(np.unique(both, axis=0), 3)

  def test_errors_say_what_there_is(self):
    labels = np.repeat(np.arange(4), 3)
    with self.assertRaisesRegex(ValueError, "at least 6 people .* got 4"):
      pairs_lib.make_pairs(labels, folds=3, pairs_per_fold=2)
    with self.assertRaisesRegex(ValueError, "7 genuine .* fold 0, got 6"):
      pairs_lib.make_pairs(labels, folds=2, pairs_per_fold=14)
    with self.assertRaisesRegex(ValueError, "impostor pairs in fold 0, got 5"):
      pairs_lib.make_pairs(
        np.array([0, 0, 0, 0, 0, 1]), folds=1, pairs_per_fold=12
      )
    with self.assertRaisesRegex(ValueError, "even number from 2, got 5"):
      pairs_lib.make_pairs(labels, folds=2, pairs_per_fold=5)
    with self.assertRaisesRegex(ValueError, "folds: .* got 0"):
      pairs_lib.make_pairs(labels, folds=0, pairs_per_fold=4)
    with self.assertRaisesRegex(TypeError, "labels: .*integer"):
      pairs_lib.make_pairs(labels * 1.0)


class PairScoresTest(absltest.TestCase):
  def test_equal_to_scikit_learns_cosine(self):
    labels = _labels()
    pairs = pairs_lib.make_pairs(labels, folds=4, pairs_per_fold=40)
    rows = np.random.default_rng(1).normal(size=(len(labels), 9))
    oracle = sklearn.metrics.pairwise.cosine_similarity(rows)
    got = pairs_lib.pair_scores(rows.astype(np.float32), pairs)
    np.testing.assert_allclose(
      got, oracle[pairs.first, pairs.second], atol=1e-6
    )

  def test_a_zero_embedding_scores_zero(self):
    with np.errstate(all="raise"):
      one = np.array([0])
      pairs = pairs_lib.Pairs(one, one + 1, one > 0, one)
      got = pairs_lib.pair_scores(np.array([[0.0, 0.0], [1.0, 2.0]]), pairs)
    np.testing.assert_array_equal(got, [0.0])

  def test_errors_name_the_argument(self):
    pairs = pairs_lib.make_pairs(_labels(), folds=4, pairs_per_fold=40)
    with self.assertRaisesRegex(ValueError, "at least [0-9]+ rows.* got 5"):
      pairs_lib.pair_scores(np.zeros((5, 2)), pairs)
    with self.assertRaisesRegex(ValueError, "embeddings: expected shape"):
      pairs_lib.pair_scores(np.zeros(500), pairs)


if __name__ == "__main__":
  absltest.main()
