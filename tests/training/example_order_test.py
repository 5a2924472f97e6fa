import itertools

from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.training.example_order import (
  example_indices,
  example_order,
  lane_range,
  local_positions,
)
from disentangle3d.types import UserError

_N, _B = 26, 8


def _epochs(lanes: int, steps: int) -> np.ndarray:
  return np.stack(
    [
      example_indices(
        3, step, np.arange(_B), batch_size=_B, num_examples=_N, lanes=lanes
      )
      for step in range(steps)
    ]
  )


class ExampleOrderTest(parameterized.TestCase):
  def test_the_order_is_numpys_permutation(self):
    order = example_order(3, 1, 1_000)
    expected = np.random.default_rng((3, 1)).permutation(1_000)
    np.testing.assert_array_equal(order, expected)
    self.assertEqual(order.dtype, np.int32)

  @parameterized.parameters(1, 2, 4, 8)
  def test_each_lane_goes_through_its_own_examples(self, lanes):
    batches = _epochs(lanes, 13)
    share = _B // lanes
    for lane in range(lanes):
      own = lane_range(_N, lanes, lane)
      row = batches[:, lane * share : (lane + 1) * share].ravel()
      for epoch in range(len(row) // len(own)):
        part = row[epoch * len(own) : (epoch + 1) * len(own)]
        self.assertCountEqual(part, own)
    ranges = [lane_range(_N, lanes, lane) for lane in range(lanes)]
    self.assertEqual(list(itertools.chain(*ranges)), list(range(_N)))

  @parameterized.parameters(1, 2, 4)
  def test_processes_read_own_lanes_of_one_order(self, processes):
    whole = _epochs(4, 5)
    for step, process in itertools.product(range(5), range(processes)):
      positions = local_positions(_B, process=process, num_processes=processes)
      part = example_indices(
        3, step, positions, batch_size=_B, num_examples=_N, lanes=4
      )
      np.testing.assert_array_equal(part, whole[step, positions])
      own = lane_range(_N, processes, process)
      self.assertBetween(part.min(), own.start, own.stop - 1)
      self.assertBetween(part.max(), own.start, own.stop - 1)

  @parameterized.parameters(3, 16, 27, 0)
  def test_lanes_that_cut_nothing_evenly_are_refused(self, lanes):
    with self.assertRaisesRegex(
      UserError, f"lanes: expected a divisor of the batch size 8.*got {lanes}"
    ):
      _epochs(lanes, 1)


if __name__ == "__main__":
  absltest.main()
