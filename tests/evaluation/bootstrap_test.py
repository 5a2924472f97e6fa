from absl.testing import absltest
import numpy as np

from disentangle3d.evaluation import bootstrap


class IntervalTest(absltest.TestCase):
  def test_width_is_the_standard_errors(self):
    values = np.random.default_rng(0).normal(5, 2, 400)
    got = bootstrap.mean_and_interval(values)
    self.assertEqual(got.mean, values.mean())
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose(got.low, got.mean - half, atol=0.1 * half)
    np.testing.assert_allclose(got.high, got.mean + half, atol=0.1 * half)

  def test_95_percent_intervals_hold_the_truth_95_times_in_100(self):
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(200):
      got = bootstrap.mean_and_interval(
        rng.normal(size=60), samples=300, seed=seed
      )
      held += got.low <= 0 <= got.high
    # Binomial: 190 expected, standard deviation 3.
    self.assertBetween(held, 178, 199)

  def test_the_seed_decides(self):
    values = np.arange(20.0)
    first = bootstrap.mean_and_interval(values, seed=3)
    self.assertEqual(first, bootstrap.mean_and_interval(values, seed=3))
    self.assertNotEqual(first, bootstrap.mean_and_interval(values, seed=4))

  def test_photos_of_the_same_person_count_once(self):
    people = np.random.default_rng(2).normal(size=30)
    values, groups = np.repeat(people, 10), np.repeat(np.arange(30), 10)
    alone = bootstrap.mean_and_interval(people)
    grouped = bootstrap.mean_and_interval(values, groups=groups)
    naive = bootstrap.mean_and_interval(values)
    np.testing.assert_allclose(grouped.low, alone.low, atol=1e-9)
    self.assertLess(naive.high - naive.low, 0.5 * (grouped.high - grouped.low))

  def test_pairing_removes_what_the_photos_share(self):
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 10, 100)
    first, second = hard + 0.5, hard + rng.normal(0, 0.1, 100)
    got = bootstrap.paired_bootstrap(first, second)
    self.assertBetween(got.low, 0.4, got.mean)
    self.assertBetween(got.high, got.mean, 0.6)
    back = bootstrap.paired_bootstrap(second, first)
    np.testing.assert_allclose([back.low, back.high], [-got.high, -got.low])

  def test_errors_name_the_argument(self):
    with self.assertRaisesRegex(ValueError, "values: .*3 with 1 not finite"):
      bootstrap.mean_and_interval(np.array([1.0, np.nan, 2.0]))
    with self.assertRaisesRegex(ValueError, "values: .*got 0"):
      bootstrap.mean_and_interval(np.zeros(0))
    with self.assertRaisesRegex(ValueError, "groups: .*B=3"):
      bootstrap.mean_and_interval(np.ones(3), groups=np.zeros(2, np.int32))
    with self.assertRaisesRegex(ValueError, "second: .*B=3"):
      bootstrap.paired_bootstrap(np.ones(3), np.ones(2))
    with self.assertRaisesRegex(ValueError, "level: .*1.5"):
      bootstrap.mean_and_interval(np.ones(3), level=1.5)
    with self.assertRaisesRegex(ValueError, "samples: .*0"):
      bootstrap.mean_and_interval(np.ones(3), samples=0)


if __name__ == "__main__":
  absltest.main()
