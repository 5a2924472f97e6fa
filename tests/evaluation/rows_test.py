"""Evenly taken rows, and batches of one size."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.evaluation.rows import equal_batches, evenly, in_batches


class RowsTest(parameterized.TestCase):
  @parameterized.parameters((1, 5), (7, 3), (400, 100), (10, 10), (5, 9))
  def test_even_rows_reach_both_ends_at_even_distances(self, count, most):
    rows = evenly(count, most)
    self.assertLen(rows, min(count, most))
    self.assertEqual(rows[0], 0)
    if most > 1:
      self.assertEqual(rows[-1], count - 1)
      steps = np.diff(rows)
      if len(steps):
        self.assertLessEqual(steps.max() - steps.min(), 1)

  def test_nothing_of_nothing(self):
    self.assertEmpty(evenly(7, 0))
    self.assertEmpty(list(equal_batches(np.arange(0), 4)))

  def test_every_row_comes_once_and_one_program_makes_them_all(self):
    stored = jnp.arange(30 * 6.0).reshape(30, 2, 3)
    traces = []

    @jax.jit
    def make(rows):
      traces.append(rows.shape)
      return {"it": stored[rows], "less": (-stored[rows],)}

    rows = np.arange(3, 27, 2).astype(np.int32)
    made = in_batches(make, rows, 5)
    np.testing.assert_array_equal(made["it"], stored[rows])
    np.testing.assert_array_equal(made["less"][0], -stored[rows])
    self.assertEqual(traces, [(5,)])
    self.assertIsInstance(made["it"], np.ndarray)


if __name__ == "__main__":
  absltest.main()
