import pathlib

from absl.testing import absltest
import chex
import numpy as np

from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.example_order import (
  example_indices,
  example_order,
  local_positions,
)
from disentangle3d.training.input_pipeline import (
  MemoryReader,
  RecordReader,
  class_targets,
  open_reader,
  read_batches,
)
from tests.training.cases import NUM_PEOPLE, PHOTOS, records, write_tiny_dataset

_N = NUM_PEOPLE * PHOTOS


class InputPipelineTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = pathlib.Path(self.create_tempdir().full_path) / "dataset"
    write_tiny_dataset(folder, records_per_file=7)
    self.split = open_dataset(folder, "train")

  def test_example_i_of_a_step_is_the_documented_one(self):
    indices = example_indices(3, 4, np.arange(8), batch_size=8, num_examples=_N)
    # 32 to 39: the second epoch has the places 20 to 39.
    order = example_order(3, 1, _N)
    np.testing.assert_array_equal(indices, order[(4 * 8 + np.arange(8)) % _N])

  def test_an_epoch_shows_every_example_once_across_batch_bounds(self):
    seen = [
      example_indices(0, step, np.arange(8), batch_size=8, num_examples=_N)
      for step in range(5)
    ]
    seen = np.concatenate(seen)
    for epoch in range(2):
      self.assertCountEqual(seen[epoch * _N : (epoch + 1) * _N], range(_N))
    self.assertFalse(np.array_equal(seen[:_N], seen[_N:]))

  def test_processes_read_parts_that_make_up_the_whole(self):
    whole = example_indices(1, 7, np.arange(8), batch_size=8, num_examples=_N)
    parts = [
      example_indices(
        1,
        7,
        local_positions(8, process=process, num_processes=4),
        batch_size=8,
        num_examples=_N,
      )
      for process in range(4)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    with self.assertRaisesRegex(ValueError, "of the 3 processes, got 8"):
      local_positions(8, num_processes=3)

  def test_memory_and_disk_give_the_same_records(self):
    wanted = list(records())
    memory = open_reader(self.split, cache_bytes=1 << 30)
    disk = open_reader(self.split, cache_bytes=0)
    self.assertIsInstance(memory, MemoryReader)
    self.assertIsInstance(disk, RecordReader)
    indices = [19, 0, 7, 7]
    got = disk.read(indices)
    chex.assert_trees_all_equal(got, memory.read(indices))
    np.testing.assert_array_equal(got.label, [3, 0, 1, 1])
    np.testing.assert_array_equal(
      got.identity_coefficients,
      np.float32([wanted[i]["identity_coefficients"] for i in indices]),
    )

  def test_batches_from_a_later_step_are_the_same(self):
    reader = RecordReader(self.split)
    settings = {"seed": 5, "batch_size": 8, "stop": 6}
    straight = list(read_batches(reader, start=0, **settings))
    later = list(read_batches(reader, start=4, **settings))
    self.assertLen(straight, 6)
    self.assertLen(later, 2)
    for a, b in zip(straight[4:], later, strict=True):
      chex.assert_trees_all_equal(a, b)
    np.testing.assert_array_equal(later[0].position, np.arange(8))

  def test_class_targets_are_the_splits(self):
    wanted = [record["identity_coefficients"] for record in records()]
    for reader in (
      RecordReader(self.split),
      open_reader(self.split, cache_bytes=1 << 30),
    ):
      labels, coefficients = class_targets(reader, chunk=6)
      np.testing.assert_array_equal(labels, np.arange(_N) // PHOTOS)
      np.testing.assert_array_equal(coefficients, np.float32(wanted))
      self.assertEqual(coefficients.dtype, np.float32)


if __name__ == "__main__":
  absltest.main()
