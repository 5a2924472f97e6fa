from absl.testing import absltest, parameterized
import numpy as np
import sklearn.metrics

from disentangle3d.evaluation import roc


def _scores(seed: int, ties: bool):
  rng = np.random.default_rng(seed)
  same = rng.random(200) < 0.4
  scores = rng.normal(size=200) + same
  return np.round(scores, 1) if ties else scores, same


def _curve(genuine: list[float], impostor: list[float]) -> roc.RocCurve:
  return roc.roc_curve(
    np.array(genuine + impostor),
    np.arange(len(genuine) + len(impostor)) < len(genuine),
  )


class RocTest(parameterized.TestCase):
  @parameterized.product(seed=[0, 1, 2], ties=[False, True])
  def test_equal_to_scikit_learn(self, seed, ties):
    scores, same = _scores(seed, ties)
    far, tar, threshold = sklearn.metrics.roc_curve(
      same, scores, drop_intermediate=False
    )
    curve = roc.roc_curve(scores, same)
    np.testing.assert_allclose(curve.far, far, atol=1e-12)
    np.testing.assert_allclose(curve.tar, tar, atol=1e-12)
    np.testing.assert_array_equal(curve.threshold, threshold)
    oracle = sklearn.metrics.roc_auc_score(same, scores)
    self.assertAlmostEqual(roc.area_under_curve(curve), oracle, places=12)

  def test_table_by_hand(self):
    curve = _curve([0.9, 0.8, 0.6, 0.4], [0.7, 0.5, 0.3, 0.1])
    np.testing.assert_allclose(
      curve.far, [0, 0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 1]
    )
    np.testing.assert_allclose(
      curve.tar, [0, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1, 1]
    )
    self.assertAlmostEqual(roc.area_under_curve(curve), 13 / 16)
    self.assertAlmostEqual(roc.equal_error_rate(curve), 0.25)
    for far, tar in ((0, 0.5), (0.1, 0.5), (0.25, 0.75), (0.5, 1), (1, 1)):
      self.assertAlmostEqual(roc.tar_at_far(curve, far), tar)

  def test_ties_by_hand(self):
    """Points (0, 1/3), (1/2, 1), (1, 1); the slope holds the tie."""
    curve = _curve([0.8, 0.5, 0.5], [0.5, 0.2])
    self.assertAlmostEqual(roc.area_under_curve(curve), 5 / 6)
    self.assertAlmostEqual(roc.equal_error_rate(curve), 2 / 7)
    self.assertAlmostEqual(roc.tar_at_far(curve, 0.25), 2 / 3)

  def test_perfect_reversed_and_constant_scores(self):
    for genuine, impostor, auc, eer in (
      ([2, 3], [0, 1], 1.0, 0.0),
      ([0, 1], [2, 3], 0.0, 1.0),
      ([1, 1], [1, 1], 0.5, 0.5),
    ):
      curve = _curve(genuine, impostor)
      self.assertAlmostEqual(roc.area_under_curve(curve), auc)
      self.assertAlmostEqual(roc.equal_error_rate(curve), eer)

  @parameterized.parameters(False, True)
  def test_swapping_the_kinds_keeps_the_equal_error_rate(self, ties):
    scores, same = _scores(5, ties)
    curve, swapped = roc.roc_curve(scores, same), roc.roc_curve(-scores, ~same)
    self.assertAlmostEqual(
      roc.equal_error_rate(curve), roc.equal_error_rate(swapped)
    )

  def test_the_curve_and_its_readings_rise(self):
    curve = roc.roc_curve(*_scores(6, True))
    self.assertTrue((np.diff(curve.far) >= 0).all())
    self.assertTrue((np.diff(curve.tar) >= 0).all())
    tars = [roc.tar_at_far(curve, far) for far in np.linspace(0, 1, 101)]
    self.assertTrue((np.diff(tars) >= -1e-12).all())

  @parameterized.parameters(False, True)
  def test_weighted_auc_is_the_auc_of_repeated_pairs(self, ties):
    scores, same = _scores(7, ties)
    repeats = np.random.default_rng(8).integers(0, 4, len(scores))
    group = np.unique(scores, return_inverse=True)[1]
    got = roc.weighted_auc(
      group,
      np.stack([repeats * same, 1.0 * same]),
      np.stack([repeats * ~same, 1.0 * ~same]),
    )
    oracle = [
      sklearn.metrics.roc_auc_score(
        np.repeat(same, repeats), np.repeat(scores, repeats)
      ),
      sklearn.metrics.roc_auc_score(same, scores),
    ]
    np.testing.assert_allclose(got, oracle, atol=1e-12)


if __name__ == "__main__":
  absltest.main()
