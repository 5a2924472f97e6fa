import dataclasses
import importlib.util
import math
import unittest

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.network.face_model import FaceModel
from experiments.benchmarks.collectives import Collective
from experiments.benchmarks.machine import matrix_peak
from experiments.benchmarks.scaling import Link
from experiments.benchmarks.steps import prepare_step
from experiments.benchmarks.training import (
  StepSpeed,
  chart_of,
  measure_step,
  table_of,
  with_efficiency,
)

MODEL = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=600)


def _row(devices, images_per_s, batch_size=64):
  return StepSpeed(
    devices=devices,
    batch_size=batch_size,
    precision="float32",
    compile_s=1.0,
    p25_ms=9.0,
    p50_ms=10.0,
    p75_ms=11.0,
    p95_ms=12.0,
    images_per_s=images_per_s,
    efficiency=1.0,
    peak_mib=math.nan,
    program_mib=100.0,
    flops=2e12,
    matrix_peak=1e15,
    peak_share=0.5,
  )


class BenchmarkTrainingTest(absltest.TestCase):
  def test_a_step_is_measured(self):
    devices = jax.devices()[:1]
    prepared = prepare_step(
      MODEL, devices, batch_size=4, input="device_resident", num_crops=10
    )
    row = measure_step(prepared, steps=2, peak=1e9, precision="float32")
    self.assertEqual((row.devices, row.batch_size), (1, 4))
    self.assertTrue(0 < row.p25_ms <= row.p50_ms <= row.p75_ms)
    self.assertGreater(row.images_per_s, 0)
    # Forward and backward of 24.3 million multiply-adds an image, at least.
    self.assertGreater(row.flops, 4 * 2 * 24.3e6)
    self.assertGreater(row.program_mib, 1)
    with self.assertRaisesRegex(ValueError, "multiple of the 2 devices, got 7"):
      prepare_step(MODEL, jax.devices()[:2], batch_size=7, input="fake")

  def test_the_matrix_peak_is_a_rate(self):
    peak = matrix_peak(jax.devices()[:2], "float32", size=64, rounds=2)
    self.assertBetween(peak, 1e6, 1e14)

  def test_efficiency_is_against_the_fewest_devices_of_the_same_study(self):
    strong = [_row(1, 100.0), _row(4, 200.0), _row(2, 50.0, batch_size=32)]
    # 2e9 bytes an all-reduce payload move as many at two devices, 3e9 at four.
    gradient = Collective("all-reduce", "gradient", 2e9)
    strong[1] = dataclasses.replace(strong[1], moved=[gradient])
    link = Link(gb_s=50.0, latency_us=1e3)
    rows = with_efficiency(strong, weak=False, link=link)
    self.assertEqual([row.efficiency for row in rows], [1.0, 0.5, 1.0])
    # A quarter of 64 images at 100 a second, and 60 + 2 ms on the way.
    self.assertAlmostEqual(rows[1].predicted, 0.16 / (0.16 + 0.062))
    self.assertEqual(rows[0].predicted, 1.0)
    self.assertTrue(math.isnan(rows[2].predicted))
    grown = [_row(1, 100.0), _row(4, 300.0, batch_size=256)]
    rows = with_efficiency(grown, weak=True, link=link)
    self.assertEqual([row.efficiency for row in rows], [1.0, 0.75])

  def test_table_and_chart(self):
    rows = [_row(1, 100.0), _row(2, 150.0)]
    table = table_of(rows)
    self.assertLen(table.header, len(table.rows[1]))
    of_two = " ".join(map(str, table.rows[1]))
    # 150 images/s at 2 TFLOP per 64 images.
    self.assertStartsWith(
      of_two, "2 64 float32 150.0 75.0 100% None 0.0 9.0 10.0 11.0"
    )
    self.assertEndsWith(of_two, "None 100 2.000 4.688 1000.000 50%")
    self.assertStartsWith(chart_of(rows, weak=False), b"\x89PNG")

  @unittest.skipUnless(
    importlib.util.find_spec("torch"), "PyTorch is not installed"
  )
  def test_pytorch_takes_the_same_steps(self):
    from experiments.benchmarks.torch_training import (
      JAX,
      PYTORCH,
      compare_steps,
      comparison_table,
    )

    times = compare_steps(MODEL, batch_size=4, rounds=4)
    np.testing.assert_allclose(
      times[JAX]["losses"], times[PYTORCH]["losses"], rtol=1e-3
    )
    self.assertLess(times[JAX]["losses"][-1], times[JAX]["losses"][0])
    self.assertEqual(comparison_table(times).rows[1][5], 1.0)


if __name__ == "__main__":
  absltest.main()
