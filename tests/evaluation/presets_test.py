from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.evaluation import presets
from disentangle3d.evaluation.pairs import make_pairs, pair_scores
from disentangle3d.evaluation.verification import verify


def _codes(seed=0):
  """20 people x 8 photos, and the codes of the mirrored photos."""
  rng = np.random.default_rng(seed)
  people = np.repeat(rng.normal(size=(20, 6)), 8, axis=0) + 2.0
  codes, mirrored = people + 0.9 * rng.normal(size=(2, 160, 6))
  pairs = make_pairs(np.repeat(np.arange(20), 8), folds=5, pairs_per_fold=80)
  return codes, mirrored, pairs


class VerifyCodesTest(parameterized.TestCase):
  def test_the_papers_is_verify_on_cosines(self):
    codes, _, pairs = _codes()
    got = presets.verify_codes(codes, pairs)
    want = verify(pair_scores(codes, pairs), pairs.same, folds=5)
    self.assertEqual(got.accuracy.mean, want.accuracy.mean)
    np.testing.assert_array_equal(got.thresholds, want.thresholds)

  def test_arcface_written_out(self):
    """Summed, unit length, squared distance, 400 thresholds, KFold."""
    codes, mirrored, pairs = _codes()
    feature = codes + mirrored
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)
    distance = np.sum((feature[pairs.first] - feature[pairs.second]) ** 2, 1)
    accuracy = []
    for fold in range(5):
      own = pairs.fold == fold
      right = [
        np.mean((distance[~own] < t) == pairs.same[~own])
        for t in np.arange(0, 4, 0.01)
      ]
      chosen = np.arange(0, 4, 0.01)[np.argmax(right)]
      accuracy.append(np.mean((distance[own] < chosen) == pairs.same[own]))
    got = presets.verify_codes(
      codes, pairs, mirrored=mirrored, preset="arcface"
    )
    np.testing.assert_allclose(got.accuracy.folds, 100 * np.array(accuracy))

  def test_sphereface_written_out(self):
    """Side by side, minus the other folds' mean, mean of best thresholds."""
    codes, mirrored, pairs = _codes()
    feature = np.concatenate([codes, mirrored], 1)
    accuracy = []
    for fold in range(5):
      own = pairs.fold == fold
      both = [feature[pairs.first[~own]], feature[pairs.second[~own]]]
      centred = feature - np.concatenate(both).mean(0)
      centred /= np.linalg.norm(centred, axis=1, keepdims=True)
      score = np.sum(centred[pairs.first] * centred[pairs.second], 1)
      grid = np.arange(-10_000, 10_001) / 10_000
      right = np.array(
        [np.mean((score[~own] >= t) == pairs.same[~own]) for t in grid]
      )
      chosen = grid[right == right.max()].mean()
      accuracy.append(np.mean((score[own] >= chosen) == pairs.same[own]))
    got = presets.verify_codes(
      codes, pairs, mirrored=mirrored, preset="sphereface"
    )
    np.testing.assert_allclose(got.accuracy.folds, 100 * np.array(accuracy))

  @parameterized.parameters(*presets.PRESETS)
  def test_mirrored_photos_help_where_noise_is_their_own(self, name):
    codes, mirrored, pairs = _codes(1)
    one = presets.verify_codes(codes, pairs, preset=name)
    two = presets.verify_codes(codes, pairs, mirrored=mirrored, preset=name)
    self.assertGreater(two.auc.mean, one.auc.mean)

  def test_a_shift_of_all_codes_changes_only_what_is_not_centred(self):
    codes, _, pairs = _codes(2)
    for name, same in (("sphereface", True), ("paper", False)):
      plain, moved = (
        presets.verify_codes(c, pairs, preset=name).auc.mean
        for c in (codes, codes + 30.0)
      )
      self.assertEqual(abs(plain - moved) < 1e-9, same, name)

  @parameterized.parameters(*presets.PRESETS)
  def test_pairs_of_the_refused_have_the_lowest_score(self, name):
    codes, mirrored, pairs = _codes()
    refused = np.arange(160) == pairs.first[3]
    both = {"mirrored": mirrored, "preset": name}
    scores = presets.preset_scores(codes, pairs, refused=refused, **both)
    hit = refused[pairs.first] | refused[pairs.second]
    np.testing.assert_array_equal(scores[..., hit], -1)
    np.testing.assert_array_equal(
      scores[..., ~hit], presets.preset_scores(codes, pairs, **both)[..., ~hit]
    )
    none = np.zeros(160, bool)
    self.assertEqual(
      presets.verify_codes(codes, pairs, refused=none, **both).auc.mean,
      presets.verify_codes(codes, pairs, **both).auc.mean,
    )

  def test_thresholds_by_hand(self):
    scores = np.array([0.9, 0.50003, 0.30003, 0.1])
    same = np.array([True, True, False, False])
    # Best from 0.3001 to 0.5.
    self.assertAlmostEqual(presets.sphereface_threshold(scores, same), 0.40005)
    # Distances 0.2, 0.99994, 1.4, 1.8: the first best threshold is 1.
    self.assertAlmostEqual(presets.arcface_threshold(scores, same), 0.5)

  def test_errors_name_the_argument(self):
    codes, mirrored, pairs = _codes()
    with self.assertRaisesRegex(ValueError, "sphereface, arcface, got 'x'"):
      presets.verify_codes(codes, pairs, preset="x")
    with self.assertRaisesRegex(ValueError, "mirrored: .*N=160"):
      presets.verify_codes(codes, pairs, mirrored=mirrored[1:])
    codes[3] = np.nan
    with self.assertRaisesRegex(ValueError, "codes: expected finite"):
      presets.verify_codes(codes, pairs)


if __name__ == "__main__":
  absltest.main()
