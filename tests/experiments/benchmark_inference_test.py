import importlib.util
import unittest

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.inference import reconstruct
from disentangle3d.network.face_model import FaceModel, init_params
from experiments.benchmark_inference import (
  PLAIN,
  PREPARED,
  PYTORCH,
  find_methods,
  measure,
  table,
)
from tests.fixtures import random_morphable_model

MODEL = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=120)


def photos():
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (2, 112, 96, 3), np.uint8)


class BenchmarkTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.params = init_params(jax.random.key(0), MODEL, random_morphable_model())
    for name in ("identity_decoder", "residual_decoder"):
      cls.params[name] = {"kernel": 300 * cls.params[name]["kernel"]}
    cls.methods = find_methods(cls.params, MODEL)
    cls.rows = measure(cls.methods, photos(), rounds=3)

  def test_every_method_is_measured_and_makes_the_same_faces(self):
    self.assertEqual(list(self.rows)[:2], [PLAIN, PREPARED])
    for row in self.rows.values():
      self.assertLess(row["difference_mm"], 1e-3)
      self.assertTrue(0 < row["p50_ms"] <= row["p95_ms"])
    expected = reconstruct(self.params, photos(), model=MODEL).shape
    np.testing.assert_allclose(
      self.methods[PLAIN](photos()), expected, atol=1e-3
    )

  def test_the_table_compares_with_pytorch(self):
    row = {
      "first_call_s": 1.0,
      "p50_ms": 3.0,
      "p95_ms": 4.0,
      "difference_mm": 0.0,
    }
    text = table({"8": {PLAIN: row, PYTORCH: {**row, "p50_ms": 4.0}}})
    self.assertIn("    8  plain         3.00      4.00   0.75     1.00", text)

  @unittest.skipUnless(
    importlib.util.find_spec("torch"), "PyTorch is not installed"
  )
  def test_pytorch_makes_the_same_faces(self):
    self.assertIn(PYTORCH, self.methods)
    np.testing.assert_allclose(
      self.methods[PYTORCH](photos()),
      reconstruct(self.params, photos(), model=MODEL).shape,
      atol=1e-3,
    )


if __name__ == "__main__":
  absltest.main()
