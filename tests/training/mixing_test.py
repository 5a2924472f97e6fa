"""Two sets of examples read as one."""

import pathlib

from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.input_pipeline import (
  MemoryReader,
  RecordReader,
  class_targets,
)
from disentangle3d.training.mixing import CentredReader, JoinedReader
from tests.training.cases import records, write_tiny_dataset


class CentredTest(absltest.TestCase):
  def test_people_are_centred_each_counting_once(self):
    alpha = np.array([[1, 0], [3, 0], [-1, 4]], np.float32)
    reader = CentredReader(
      MemoryReader(
        TrainBatch(
          position=None,
          label=np.array([0, 0, 1], np.int32),
          identity_coefficients=alpha,
        )
      )
    )
    self.assertLen(reader, 3)
    # The people's means are (2, 0) and (-1, 4), theirs (0.5, 2).
    wanted = alpha - [0.5, 2]
    batch = reader.read([2, 0])
    np.testing.assert_allclose(batch.identity_coefficients, wanted[[2, 0]])
    labels, identity = reader.read_targets(range(3))
    np.testing.assert_allclose(identity, wanted)
    np.testing.assert_array_equal(labels, [0, 0, 1])


class JoinedTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    root = pathlib.Path(self.create_tempdir().full_path)
    split = open_dataset(write_tiny_dataset(root / "one"), "train")
    self.one = RecordReader(split)
    self.other = MemoryReader(self.one.read([3, 19]))
    self.people = split.num_classes

  @parameterized.parameters(
    ([21, 0, 24, 5, 20, 19],), ([1, 0],), ([25],), (range(26),)
  )
  def test_rows_are_in_the_order_asked_for(self, indices):
    joined = JoinedReader(
      self.one, self.other, first_label=self.people, repeat=3
    )
    self.assertLen(joined, 26)
    # Three times the first of the other's, three times the second.
    source = [*range(20), 3, 3, 3, 19, 19, 19]
    wanted = self.one.read([source[index] for index in indices])
    further = np.array([index >= 20 for index in indices])
    batch = joined.read(iter(indices))
    np.testing.assert_array_equal(batch.image, wanted.image)
    np.testing.assert_array_equal(
      batch.label, wanted.label + self.people * further
    )
    for name in ("identity_coefficients", "expression_coefficients"):
      np.testing.assert_array_equal(getattr(batch, name), getattr(wanted, name))
    np.testing.assert_array_equal(batch.camera.rotation, wanted.camera.rotation)
    self.assertEmpty(batch.position)
    labels, identity = joined.read_targets(indices)
    np.testing.assert_array_equal(labels, batch.label)
    np.testing.assert_array_equal(identity, batch.identity_coefficients)

  def test_all_targets_come_in_turn(self):
    joined = JoinedReader(self.one, self.other, first_label=self.people)
    labels, _ = class_targets(joined, chunk=7)
    own = [record["label"] for record in records()]
    np.testing.assert_array_equal(
      labels, [*own, self.people + own[3], self.people + own[19]]
    )


if __name__ == "__main__":
  absltest.main()
