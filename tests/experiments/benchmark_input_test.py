import pathlib
import time

from absl.testing import absltest
import numpy as np

from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import encode_image
from experiments.benchmarks.input import crops_per_second, inflate, measure
from tests.training.cases import write_tiny_dataset


class BenchmarkInputTest(absltest.TestCase):
  def test_every_part_is_measured(self):
    folder = pathlib.Path(self.create_tempdir().full_path) / "dataset"
    write_tiny_dataset(folder)
    rates = measure(RecordReader(open_dataset(folder, "train")), batches=1)
    self.assertLen(rates, 4)
    self.assertGreater(min(rates.values()), 0)

  def test_zlibs_part_is_the_whole_image_and_a_byte_a_row(self):
    image = np.random.default_rng(0).integers(0, 256, (112, 96, 3), np.uint8)
    self.assertLen(inflate(encode_image(image)), 112 * (1 + 96 * 3))

  def test_the_first_batch_and_waiting_do_not_count(self):
    seen = []

    def work(batch):
      seen.append(batch)
      time.sleep(0.01)
      sum(range(10_000))

    rate = crops_per_second(work, [1, 2, 3], batch_size=10)
    self.assertEqual(seen, [1, 2, 3])
    # 20 crops in the time of two sums, not of two naps.
    self.assertGreater(rate, 20 / 0.02)


if __name__ == "__main__":
  absltest.main()
