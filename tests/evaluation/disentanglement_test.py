from absl.testing import absltest, parameterized
import numpy as np
import sklearn.linear_model

from disentangle3d.evaluation import disentanglement as dis


class VarianceRatioTest(parameterized.TestCase):
  @parameterized.parameters((2.0, 3), (0.5, 12))
  def test_the_true_ratio_is_recovered_whatever_the_photos(self, signal, most):
    """Codes with a known share of the person: signal^2 to 1."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(2000), rng.integers(2, most + 1, 2000))
    codes = signal * rng.normal(size=(2000, 4))[people]
    codes = codes + rng.normal(size=codes.shape)
    ratio = dis.variance_ratio(codes, people)
    self.assertAlmostEqual(ratio / signal**2, 1, delta=0.05)

  def test_no_signal_no_noise_and_units(self):
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(300), 5)
    noise = rng.normal(size=(1500, 6))
    self.assertLess(dis.variance_ratio(noise, people), 0.02)
    pure = rng.normal(size=(300, 6))[people]
    self.assertGreater(dis.variance_ratio(pure, people), 1e9)
    self.assertTrue(np.isnan(dis.variance_ratio(0 * noise, people)))
    mixed = pure + noise
    self.assertAlmostEqual(
      dis.variance_ratio(mixed, people),
      dis.variance_ratio(7 * mixed + 3, people),
    )

  def test_two_people_by_hand(self):
    """Means 0 and 4, photos 1 from them: within 2, between 8 - 1."""
    codes = np.array([[-1.0], [1], [3], [5]])
    self.assertAlmostEqual(
      dis.variance_ratio(codes, np.array([0, 0, 1, 1])), 7 / 2
    )


class DriftTest(absltest.TestCase):
  def test_angles_by_hand(self):
    """People at 0 and 90 degrees; yaw bin 1 turns by 60, bin 2 by 90."""

    def at(*degrees):
      angle = np.radians(degrees)
      return np.stack([np.cos(angle), np.sin(angle)], 1)

    codes = 5 * at(0, 0, 60, 90, 90, 90, 30)
    people = np.array([4, 4, 4, 4, 9, 9, 9])
    bins = np.array([0, 0, 1, 2, 0, 0, 1])
    got = dis.identity_drift(codes, people, bins)
    np.testing.assert_allclose(got.distance, [0, 0.5, 1.0], atol=1e-12)
    np.testing.assert_array_equal(got.photos, [4, 2, 1])
    self.assertAlmostEqual(got.strangers, 1.0)

  def test_a_single_reference_photo_is_not_its_own_reference(self):
    codes = np.random.default_rng(0).normal(size=(6, 3))
    got = dis.identity_drift(
      codes, np.repeat(np.arange(2), 3), np.tile(np.arange(3), 2)
    )
    self.assertTrue(np.isnan(got.distance[0]))
    np.testing.assert_array_equal(got.photos, [0, 2, 2])


class ClassifyTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(2)
    self.people = np.repeat(np.arange(30), 8)
    self.classes = rng.integers(0, 4, 240)
    self.codes = rng.normal(size=(4, 10))[self.classes] * 0.7
    self.codes += rng.normal(size=(240, 10))

  def test_equal_to_scikit_learns_ridge_in_person_disjoint_folds(self):
    got = dis.classify_linearly(
      self.codes, self.classes, self.people, folds=3, ridge=2.0, seed=5
    )
    dealt = np.random.default_rng(5).permutation(30) % 3
    called = np.zeros(240, int)
    for fold in range(3):
      own = dealt[self.people] == fold
      mean, std = self.codes[~own].mean(0), self.codes[~own].std(0)
      ridge = sklearn.linear_model.Ridge(alpha=2.0)
      ridge.fit((self.codes[~own] - mean) / std, np.eye(4)[self.classes[~own]])
      called[own] = ridge.predict((self.codes[own] - mean) / std).argmax(1)
    self.assertAlmostEqual(got.accuracy, 100 * np.mean(called == self.classes))
    self.assertEqual(got.confusion.sum(), 240)
    self.assertGreater(got.accuracy, got.chance + 20)

  def test_what_only_the_person_tells_cannot_be_learnt(self):
    """Codes name the person, who always smiles: no use for new people."""
    codes = np.eye(30)[self.people]
    got = dis.classify_linearly(codes, self.people % 2, self.people)
    self.assertLess(got.accuracy, 65)

  def test_balanced_accuracy_of_a_rare_class(self):
    rare = (np.arange(240) % 24 == 0).astype(int)
    got = dis.classify_linearly(np.ones((240, 2)), rare, self.people)
    self.assertAlmostEqual(got.accuracy, got.chance)
    self.assertAlmostEqual(got.balanced_accuracy, 50)


class SwapTest(absltest.TestCase):
  def test_partners_are_other_people_and_each_comes_once(self):
    rng = np.random.default_rng(3)
    for counts in ([5, 5], [3, 7, 4, 6], [1] * 9):
      people = rng.permutation(np.repeat(np.arange(len(counts)) * 3, counts))
      partners = dis.swap_partners(people, seed=1)
      self.assertFalse((people == people[partners]).any())
      np.testing.assert_array_equal(np.sort(partners), np.arange(len(people)))

  def test_components_add(self):
    rng = np.random.default_rng(4)
    identity, residual = rng.normal(size=(2, 6, 5, 3))
    partners = np.array([1, 0, 3, 2, 5, 4])
    swapped = dis.swap_shapes(identity + residual, identity, partners)
    np.testing.assert_allclose(swapped, identity + residual[partners])


class ErrorTest(absltest.TestCase):
  def test_errors_name_the_argument(self):
    codes, people = np.zeros((6, 2)), np.repeat(np.arange(3), 2)
    with self.assertRaisesRegex(ValueError, "people: .*got 6 people in 6"):
      dis.variance_ratio(codes, np.arange(6))
    with self.assertRaisesRegex(ValueError, "people: .*N=6"):
      dis.variance_ratio(codes, people[1:])
    with self.assertRaisesRegex(ValueError, "codes: expected finite"):
      dis.variance_ratio(codes * np.nan, people)
    with self.assertRaisesRegex(ValueError, "condition: .*in 0, got 1"):
      dis.identity_drift(codes, people, np.arange(6))
    with self.assertRaisesRegex(ValueError, r"classes: .*got \[1\]"):
      dis.classify_linearly(codes, np.ones(6, int), people)
    with self.assertRaisesRegex(ValueError, "folds: expected 2 to 3"):
      dis.classify_linearly(codes, people, people, folds=4)
    with self.assertRaisesRegex(ValueError, "more than half of 5 .*one in 3"):
      dis.swap_partners(np.array([1, 1, 1, 2, 3]))
    with self.assertRaisesRegex(ValueError, "identity_shape: .*V=4"):
      dis.swap_shapes(np.zeros((2, 4, 3)), np.zeros((2, 5, 3)), people[:2])


if __name__ == "__main__":
  absltest.main()
