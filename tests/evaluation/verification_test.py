from absl.testing import absltest, parameterized
import numpy as np
import sklearn.metrics

from disentangle3d.evaluation import verification as ver
from disentangle3d.evaluation.pairs import make_pairs, pair_scores


def _scores(pairs_per_fold=60, folds=10, seed=0, shift=1.5):
  rng = np.random.default_rng(seed)
  same = np.tile(np.arange(pairs_per_fold) < pairs_per_fold // 2, folds)
  return rng.normal(size=same.shape) + shift * same, same


class VerifyTest(parameterized.TestCase):
  def test_two_folds_by_hand(self):
    """Each fold: two genuine, then two impostor pairs."""
    same = np.array([True, True, False, False] * 2)
    scores = np.array([0.9, 0.6, 0.4, 0.1, 0.8, 0.5, 0.4, 0.2])
    got = ver.verify(scores, same, folds=2)
    # Fold 0 is judged by fold 1's threshold, between 0.4 and 0.5, and fold 1
    # by fold 0's, between 0.4 and 0.6: a score at the threshold is accepted.
    np.testing.assert_allclose(got.thresholds, [0.45, 0.5])
    np.testing.assert_allclose(got.accuracy.folds, [100, 100])
    scores[1] = 0.3
    got = ver.verify(scores, same, folds=2)
    # Fold 0 now has 0.9, 0.3 genuine, 0.4, 0.1 impostor: 0.45 decides three
    # of four; equally good thresholds of its own are 0.65 and 0.2, of which
    # the lower judges fold 1 (both impostors accepted or at the bound).
    np.testing.assert_allclose(got.thresholds, [0.45, 0.2])
    np.testing.assert_allclose(got.accuracy.folds, [75, 50])
    np.testing.assert_allclose(got.auc.folds, [75, 100])
    np.testing.assert_allclose(
      (got.auc.mean, got.auc.std), (87.5, 12.5 * 2**0.5)
    )

  def test_equal_to_scikit_learn_fold_by_fold(self):
    scores, same = _scores(pairs_per_fold=240, seed=1)
    scores = np.round(scores, 1)
    got = ver.verify(scores, same)
    for i in range(10):
      part = slice(240 * i, 240 * (i + 1))
      far, tar, _ = sklearn.metrics.roc_curve(
        same[part], scores[part], drop_intermediate=False
      )
      # np.interp takes the last of equal far, that is the highest tar.
      for statistic, oracle in (
        (got.auc, sklearn.metrics.roc_auc_score(same[part], scores[part])),
        (got.tar_at_far_10, np.interp(0.1, far, tar)),
        (got.tar_at_far_1, np.interp(0.01, far, tar)),
      ):
        self.assertAlmostEqual(statistic.folds[i], 100 * oracle, places=9)
    self.assertAlmostEqual(got.auc.mean, got.auc.folds.mean())
    self.assertAlmostEqual(got.auc.std, got.auc.folds.std(ddof=1))

  def test_accuracy_by_exhaustive_search_on_the_other_folds(self):
    scores, same = _scores(seed=2)
    got = ver.verify(scores, same)
    fold = np.repeat(np.arange(10), 60)
    for i in range(10):
      train = fold != i
      right = [
        np.mean((scores[train] >= t) == same[train]) for t in scores[train]
      ]
      chosen = np.mean((scores[train] >= got.thresholds[i]) == same[train])
      self.assertAlmostEqual(chosen, max(right))
      own = np.mean((scores[~train] >= got.thresholds[i]) == same[~train])
      self.assertAlmostEqual(got.accuracy.folds[i], 100 * own)

  def test_perfect_and_useless_scores(self):
    _, same = _scores(pairs_per_fold=200)
    perfect = ver.verify(same * 1.0, same)
    for name in ("accuracy", "eer_complement", "auc", "tar_at_far_1"):
      statistic = getattr(perfect, name)
      self.assertEqual((statistic.mean, statistic.std), (100.0, 0.0), name)
    useless = ver.verify(np.zeros(same.shape), same)
    for name in ("accuracy", "eer_complement", "auc"):
      self.assertAlmostEqual(getattr(useless, name).mean, 50.0, msg=name)
    self.assertAlmostEqual(useless.tar_at_far_10.mean, 10.0)

  def test_rising_maps_of_the_scores_change_nothing_but_thresholds(self):
    scores, same = _scores(seed=3)
    plain, mapped = (ver.verify(s, same) for s in (scores, np.exp(scores)))
    for name in ("eer_complement", "auc", "tar_at_far_10"):
      np.testing.assert_allclose(
        getattr(mapped, name).folds, getattr(plain, name).folds
      )
    np.testing.assert_allclose(
      mapped.accuracy.mean, plain.accuracy.mean, atol=2.0
    )

  @parameterized.parameters((198, True), (200, False))
  def test_tar_at_1_percent_needs_100_impostors_a_fold(self, pairs, is_nan):
    got = ver.verify(*_scores(pairs_per_fold=pairs))
    self.assertEqual(np.isnan(got.tar_at_far_1.mean), is_nan)
    self.assertEqual(np.isnan(got.tar_at_far_1.std), is_nan)
    self.assertTrue(np.isfinite(got.tar_at_far_10.mean))

  def test_folds_are_contiguous_and_odd_pairs_go_to_the_first(self):
    scores, same = _scores(pairs_per_fold=4, folds=2)
    got = ver.verify(np.append(scores, 9.0), np.append(same, True), folds=2)
    own = sklearn.metrics.roc_auc_score(same[:5], scores[:5])
    self.assertAlmostEqual(got.auc.folds[0], 100 * own)

  def test_given_folds_may_be_scattered(self):
    """Fold d's pairs anywhere: the same as standing together, exactly."""
    scores, same = _scores(seed=4)
    order = np.random.default_rng(5).permutation(600)
    fold = np.repeat(np.arange(10), 60)
    got = ver.verify(scores[order], same[order], folds=fold[order])
    want = ver.verify(scores, same)
    for name in ("accuracy", "auc", "eer_complement", "tar_at_far_10"):
      np.testing.assert_allclose(
        getattr(got, name).folds, getattr(want, name).folds
      )

  def test_each_fold_is_judged_by_its_own_row_of_scores(self):
    scores, same = _scores(folds=2, seed=6)
    other, _ = _scores(folds=2, seed=7)
    got = ver.verify(np.stack([scores, other]), same, folds=2)
    for fold, row in ((0, scores), (1, other)):
      alone = ver.verify(row, same, folds=2)
      for name in ("accuracy", "auc"):
        self.assertEqual(
          getattr(got, name).folds[fold], getattr(alone, name).folds[fold]
        )
    own = np.concatenate([scores[:60], other[60:]])
    area = sklearn.metrics.auc(got.roc.far, got.roc.tar)
    self.assertAlmostEqual(area, sklearn.metrics.roc_auc_score(same, own))

  def test_the_threshold_rule_is_a_value(self):
    scores, same = _scores()
    got = ver.verify(scores, same, choose_threshold=lambda s, t: 0.25)
    np.testing.assert_array_equal(got.thresholds, 0.25)
    self.assertAlmostEqual(
      got.accuracy.mean, 100 * np.mean((scores >= 0.25) == same)
    )

  def test_float32_and_pooled_curve(self):
    scores, same = _scores()
    got = ver.verify(scores.astype(np.float32), same)
    self.assertEqual((got.roc.far[-1], got.roc.tar[-1]), (1.0, 1.0))
    self.assertLen(got.roc.far, 601)


class VerifyErrorTest(parameterized.TestCase):
  def test_errors_name_the_argument(self):
    scores, same = _scores()
    with self.assertRaisesRegex(ValueError, "same: expected shape .*P=600"):
      ver.verify(scores, same[1:])
    with self.assertRaisesRegex(TypeError, "same: expected a bool"):
      ver.verify(scores, same.astype(np.int32))
    with self.assertRaisesRegex(TypeError, "scores: expected a floating"):
      ver.verify(same, same)
    with self.assertRaisesRegex(ValueError, "at least 20 pairs .* got 19"):
      ver.verify(scores[:19], same[:19])
    with self.assertRaisesRegex(ValueError, "folds: .* got 1"):
      ver.verify(scores, same, folds=1)
    scores[7] = np.nan
    with self.assertRaisesRegex(ValueError, "scores: .* nan for pair 7"):
      ver.verify(scores, same)

  def test_a_fold_of_one_kind_is_named(self):
    scores, same = _scores()
    same[120:180] = True
    with self.assertRaisesRegex(ValueError, "60 genuine of 60 in fold 2"):
      ver.verify(scores, same)

  def test_given_folds_must_add_up(self):
    scores, same = _scores()
    fold = np.repeat(np.arange(10), 60)
    with self.assertRaisesRegex(ValueError, "equally many .*61"):
      ver.verify(scores, same, folds=np.where(np.arange(600) == 60, 0, fold))
    with self.assertRaisesRegex(ValueError, "0 to D - 1 .*got .1, 2"):
      ver.verify(scores, same, folds=fold + 1)
    with self.assertRaisesRegex(ValueError, "folds: .*P=600"):
      ver.verify(scores, same, folds=fold[1:])
    with self.assertRaisesRegex(TypeError, "folds: .*integer"):
      ver.verify(scores, same, folds=fold * 1.0)
    with self.assertRaisesRegex(ValueError, r"scores: .*10, P=600.*\[3, 600"):
      ver.verify(np.stack([scores] * 3), same)


class BootstrapTest(absltest.TestCase):
  def _embeddings(self, signal: float, seed: int):
    """40 people x 10 photos; more signal tells people apart better."""
    rng = np.random.default_rng(seed)
    people = np.repeat(rng.normal(size=(40, 8)), 10, axis=0)
    return signal * people + rng.normal(size=(400, 8))

  def test_a_difference_is_seen_and_none_is_not(self):
    labels = np.repeat(np.arange(40), 10)
    pairs = make_pairs(labels, folds=4, pairs_per_fold=200)
    good, bad, as_bad = (
      pair_scores(self._embeddings(signal, seed), pairs)
      for signal, seed in ((1.5, 0), (0.5, 1), (0.5, 2))
    )
    got = ver.bootstrap_auc_difference(good, bad, pairs, labels, samples=300)
    oracle = sklearn.metrics.roc_auc_score(pairs.same, good)
    oracle -= sklearn.metrics.roc_auc_score(pairs.same, bad)
    self.assertAlmostEqual(got.mean, 100 * oracle)
    self.assertGreater(got.low, 5.0)
    none = ver.bootstrap_auc_difference(bad, as_bad, pairs, labels, samples=300)
    self.assertBetween(0.0, none.low, none.high)
    same = ver.bootstrap_auc_difference(bad, bad, pairs, labels, samples=50)
    self.assertEqual((same.mean, same.low, same.high), (0.0, 0.0, 0.0))

  def test_errors_name_the_argument(self):
    labels = np.repeat(np.arange(40), 10)
    pairs = make_pairs(labels, folds=4, pairs_per_fold=20)
    scores = np.zeros(80)
    with self.assertRaisesRegex(ValueError, "other_scores: .*P=80"):
      ver.bootstrap_auc_difference(scores, scores[1:], pairs, labels)
    with self.assertRaisesRegex(ValueError, "scores: expected finite"):
      ver.bootstrap_auc_difference(np.full(80, np.nan), scores, pairs, labels)


if __name__ == "__main__":
  absltest.main()
