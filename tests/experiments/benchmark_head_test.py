from absl.testing import absltest
import jax

from disentangle3d.network.margins import HeadSetting
from experiments.benchmarks.head import computed_bytes, measure_head, table_of


class BenchmarkHeadTest(absltest.TestCase):
  def test_a_million_classes_by_hand(self):
    dense = HeadSetting("cosface", margin=0.35)
    shards = HeadSetting("cosface", margin=0.35, sharded=True)
    # Kernel, momentum and gradient of 199 numbers a class, and the logits of
    # 32 examples a device with all classes, or of all 256 with an eighth.
    self.assertEqual(
      computed_bytes(10**6, 256, 8, dense), 4 * (3 * 199 + 32) * 10**6
    )
    self.assertEqual(
      computed_bytes(10**6, 256, 8, shards), 4 * (3 * 199 + 256) * 125_000
    )

  def test_what_lies_on_a_device_is_its_share_with_padding(self):
    cost = measure_head(
      "sharded",
      HeadSetting("cosface", margin=0.35, sharded=True),
      jax.devices()[:2],
      num_classes=1001,
      batch_size=4,
    )
    # Kernel and momentum of 501 classes.
    self.assertAlmostEqual(cost.arrays_mib, 2 * 199 * 501 * 4 / 2**20)
    (row,) = table_of([cost]).rows
    self.assertEqual(row[:2], ("sharded", 2))


if __name__ == "__main__":
  absltest.main()
