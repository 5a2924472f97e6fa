from absl.testing import absltest
import numpy as np

from data_prep.models.blendshapes import blendshape_modes, modes_about_neutral


class BlendshapeModesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(1)
    self.blendshapes = rng.normal(size=(12, 40, 3)) * np.linspace(
      1, 4, 12
    ).reshape(12, 1, 1)

  def test_modes_are_principal_and_of_unit_standard_deviation(self):
    mixing = blendshape_modes(self.blendshapes, 12, seed=0)
    flat = self.blendshapes.reshape(12, -1)
    modes = mixing.T @ flat
    norms = np.linalg.norm(modes, axis=1)
    np.testing.assert_array_less(norms[1:], norms[:-1])
    unit = modes / norms[:, None]
    np.testing.assert_allclose(unit @ unit.T, np.eye(12), atol=1e-9)
    # Other random expressions of the same law, drawn one by one: about the
    # neutral their coefficients are uncorrelated and of unit size. Together
    # with orthogonal modes that is what an SVD means.
    rng = np.random.default_rng(2)
    weights = np.zeros((20_000, 12))
    for row in weights:
      count = rng.integers(1, 5)
      row[rng.permutation(12)[:count]] = rng.random(count)
    coefficients = np.linalg.solve(modes @ modes.T, modes @ (weights @ flat).T)
    moment = coefficients @ coefficients.T / len(weights)
    np.testing.assert_allclose(moment, np.eye(12), atol=0.06)

  def test_fewer_modes_are_the_first_and_the_seed_matters(self):
    everything = blendshape_modes(self.blendshapes, 12, seed=0)
    np.testing.assert_array_equal(
      blendshape_modes(self.blendshapes, 5, seed=0), everything[:, :5]
    )
    self.assertFalse(
      np.array_equal(blendshape_modes(self.blendshapes, 12, seed=1), everything)
    )

  def test_more_modes_than_dimensions_are_refused(self):
    self.blendshapes[3] = self.blendshapes[4]
    with self.assertRaisesRegex(ValueError, "at most 11.*got 12"):
      blendshape_modes(self.blendshapes, 12, seed=0)

  def test_by_default_at_most_29_and_as_many_as_there_are(self):
    self.blendshapes[3] = self.blendshapes[4]
    np.testing.assert_array_equal(
      blendshape_modes(self.blendshapes, None, seed=0),
      blendshape_modes(self.blendshapes, 11, seed=0),
    )
    many = np.random.default_rng(2).normal(size=(40, 30, 3))
    self.assertEqual(blendshape_modes(many, None, seed=0).shape, (40, 29))


class ModesAboutNeutralTest(absltest.TestCase):
  def test_second_moment_about_the_neutral_is_kept_by_orthogonal_modes(self):
    rng = np.random.default_rng(0)
    modes, mean = rng.normal(size=(60, 4)), rng.normal(size=60)
    found = modes_about_neutral(modes, mean)
    self.assertEqual(found.shape, (60, 5))
    np.testing.assert_allclose(
      found @ found.T, modes @ modes.T + np.outer(mean, mean), atol=1e-12
    )
    gram = found.T @ found
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-10)
    self.assertTrue((np.diff(np.diag(gram)) <= 0).all())

  def test_a_mean_within_the_span_adds_no_mode(self):
    modes = np.random.default_rng(0).normal(size=(60, 4))
    self.assertEqual(modes_about_neutral(modes, modes[:, 1]).shape, (60, 4))

  def test_no_mean_changes_nothing(self):
    modes = np.random.default_rng(0).normal(size=(60, 4))
    self.assertIs(modes_about_neutral(modes, np.zeros(60)), modes)


if __name__ == "__main__":
  absltest.main()
