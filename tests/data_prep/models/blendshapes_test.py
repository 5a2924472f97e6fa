from absl.testing import absltest
import numpy as np

from data_prep.models.blendshapes import (
  blendshape_modes,
  modes_about_neutral,
  movements_by_name,
  random_weights,
)


class RandomWeightsTest(absltest.TestCase):
  def test_sides_go_together_but_for_one_time_in_five(self):
    names = ["jawOpen", "eyeBlink_L", "browDown_R", "eyeBlink_R", "browDown_L"]
    movements = movements_by_name(names)
    self.assertEqual(movements[1], movements[3])
    self.assertEqual(movements[2], movements[4])
    self.assertLen(set(movements), 3)
    weights = random_weights(movements, 40_000, seed=0)
    self.assertTrue(((weights >= 0) & (weights < 1)).all())
    # One in eight makes it, of pairs a tenth only the other side does.
    made = (weights > 0).mean(0)
    np.testing.assert_allclose(
      made, np.array([1, 0.9, 0.9, 0.9, 0.9]) / 8, atol=0.005
    )
    for left, right in ((1, 3), (4, 2)):
      one, other = weights[:, left], weights[:, right]
      both = (one > 0) & (other > 0)
      np.testing.assert_array_equal(one[both], other[both])
      either = (one > 0) | (other > 0)
      self.assertAlmostEqual(both.sum() / either.sum(), 0.8, delta=0.02)
    # Movements go each on their own: E[v w] = (1/16)^2.
    self.assertAlmostEqual(
      (weights[:, 0] * weights[:, 1]).mean(), 0.9 / 16**2, delta=4e-4
    )

  def test_what_takes_another_back_has_a_part_of_its_weight_at_most(self):
    weights = random_weights(np.arange(3), 40_000, seed=0, within={2: (0, 0.5)})
    self.assertTrue((weights[:, 2] <= 0.5 * weights[:, 0]).all())
    self.assertAlmostEqual((weights[:, 2] > 0).mean(), 1 / 64, delta=0.002)


class BlendshapeModesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(1)
    self.blendshapes = rng.normal(size=(12, 40, 3)) * np.linspace(
      1, 4, 12
    ).reshape(12, 1, 1)

  def test_modes_are_principal_and_of_unit_standard_deviation(self):
    mixing = blendshape_modes(self.blendshapes, 12, seed=0).mixing
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
    weights = rng.random((40_000, 12)) * (rng.random((40_000, 12)) < 1 / 8)
    coefficients = np.linalg.solve(modes @ modes.T, modes @ (weights @ flat).T)
    moment = coefficients @ coefficients.T / len(weights)
    np.testing.assert_allclose(moment, np.eye(12), atol=0.1)

  def test_fewer_modes_are_the_first_and_the_seed_matters(self):
    everything = blendshape_modes(self.blendshapes, 12, seed=0)
    few = blendshape_modes(self.blendshapes, 5, seed=0)
    np.testing.assert_array_equal(few.mixing, everything.mixing[:, :5])
    np.testing.assert_allclose(few.samples, everything.samples[:, :5])
    others = blendshape_modes(self.blendshapes, 12, seed=1)
    self.assertFalse(np.array_equal(others.mixing, everything.mixing))

  def test_samples_are_what_the_modes_were_made_of(self):
    modes = blendshape_modes(self.blendshapes, 12, seed=0)
    weights = modes.samples @ modes.mixing.T
    np.testing.assert_allclose(
      weights, random_weights(np.arange(12), 10_000, seed=0)[:2_000], atol=1e-9
    )
    self.assertAlmostEqual((modes.samples**2).mean(), 1, delta=0.1)
    # Of fewer modes they are the nearest that those can come, vertex by vertex.
    few = blendshape_modes(self.blendshapes, 5, seed=0)
    flat = self.blendshapes.reshape(12, -1)
    nearest, *_ = np.linalg.lstsq(
      (few.mixing.T @ flat).T, (weights @ flat).T, rcond=None
    )
    np.testing.assert_allclose(few.samples, nearest.T, atol=1e-8)

  def test_more_modes_than_dimensions_are_refused(self):
    self.blendshapes[3] = self.blendshapes[4]
    with self.assertRaisesRegex(ValueError, "at most 11.*got 12"):
      blendshape_modes(self.blendshapes, 12, seed=0)

  def test_by_default_at_most_29_and_as_many_as_there_are(self):
    self.blendshapes[3] = self.blendshapes[4]
    np.testing.assert_array_equal(
      blendshape_modes(self.blendshapes, None, seed=0).mixing,
      blendshape_modes(self.blendshapes, 11, seed=0).mixing,
    )
    many = np.random.default_rng(2).normal(size=(40, 30, 3))
    modes = blendshape_modes(many, None, seed=0)
    self.assertEqual(modes.mixing.shape, (40, 29))


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
