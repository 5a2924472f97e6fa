import importlib.util
import pathlib
import subprocess
import sys
import unittest

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from disentangle3d.inference import reconstruct
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import SHIPPED, load_network
from experiments.benchmarks.inference import (
  PLAIN,
  PREPARED,
  PYTORCH,
  find_methods,
  measure,
  read_crops,
  table,
)
from experiments.configs import smoke
from experiments.training.runs import train
from tests.fixtures import REPOSITORY, random_morphable_model
from tests.training.cases import write_tiny_dataset

MODEL = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=120)


def photos():
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (2, 112, 96, 3), np.uint8)


def strong_params(model):
  """Decoders as large as after a training: a wrong code moves faces by mm."""
  params = init_params(jax.random.key(0), model, random_morphable_model())
  for name in ("identity_decoder", "residual_decoder"):
    params[name] = {"kernel": 300 * params[name]["kernel"]}
  return params


class BenchmarkTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.params = strong_params(MODEL)
    cls.methods = find_methods(cls.params, MODEL)
    cls.rows = measure({"tiny": cls.methods}, photos(), rounds=3)["tiny"]

  def test_every_method_is_measured_and_makes_the_same_faces(self):
    self.assertEqual(list(self.rows)[:2], [PLAIN, PREPARED])
    for row in self.rows.values():
      self.assertLess(row["difference_code"], 1e-4)
      self.assertLess(row["difference_mm"], 1e-3)
      self.assertTrue(0 < row["p50_ms"] <= row["p95_ms"])
    expected = reconstruct(self.params, photos(), model=MODEL)
    codes, shape = self.methods[PLAIN](photos())
    np.testing.assert_allclose(shape, expected.shape, atol=1e-3)
    np.testing.assert_allclose(
      codes, np.concatenate(jax.tree.leaves(expected.latents), -1), atol=1e-4
    )

  def test_differences_are_the_largest_from_the_plain_way(self):
    ways = {
      PLAIN: lambda images: (np.zeros((2, 3)), np.ones((2, 4, 3))),
      PREPARED: lambda images: (
        np.array([[0, -0.25, 0], [0, 0, 0.1]]),
        np.full((2, 4, 3), 1.5),
      ),
    }
    row = measure({"any": ways}, photos(), rounds=1)["any"][PREPARED]
    self.assertEqual(row["difference_code"], 0.25)
    self.assertEqual(row["difference_mm"], 0.5)

  def test_the_table_compares_with_pytorch_and_with_the_first(self):
    row = {
      "first_call_s": 1.0,
      "p25_ms": 2.5,
      "p50_ms": 3.0,
      "p75_ms": 3.5,
      "p95_ms": 4.0,
      "difference_code": 0.0,
      "difference_mm": 0.0,
    }
    first, _, mobile = table(
      {
        "8": {
          "sphere20": {PLAIN: row, PYTORCH: {**row, "p50_ms": 4.0}},
          "mobile": {PLAIN: {**row, "p50_ms": 0.6}},
        }
      }
    ).rows
    self.assertEqual(
      first[:9], ("8", "sphere20", PLAIN, 2.5, 3.0, 3.5, 4.0, 1.0, "0.75")
    )
    self.assertEqual(mobile[1:3], ("mobile", PLAIN))
    self.assertAlmostEqual(mobile[7], 0.2)
    self.assertIsNone(mobile[8])
    self.assertEqual(mobile[12], 13_333)

  def test_crops_are_the_held_out_ones_over_and_over(self):
    folder = self.create_tempdir().full_path
    write_tiny_dataset(folder)
    crops = read_crops(folder, 40)
    self.assertEqual(crops.shape, (40, 112, 96, 3))
    np.testing.assert_array_equal(crops[:3], read_crops(folder, 3))
    # Four are held out.
    np.testing.assert_array_equal(crops[4:], crops[:-4])

  def test_crops_of_another_template_are_refused(self):
    folder = self.create_tempdir().full_path
    write_tiny_dataset(folder)
    told = subprocess.run(
      [
        *(sys.executable, "-m", "experiments.benchmark_inference"),
        *(f"--network={SHIPPED}", f"--dataset={folder}"),
        f"--output={folder}/out",
      ],
      cwd=REPOSITORY,
      capture_output=True,
      text=True,
    )
    self.assertEqual(told.returncode, 1)
    self.assertIn("expected crops of the template 'whole_face'", told.stderr)


@pytest.mark.slow
class TrainedTest(parameterized.TestCase):
  @parameterized.parameters(("tiny", 60), ("sphere20", 8))
  def test_prepared_params_agree_after_a_training(self, trunk, steps):
    folder = pathlib.Path(self.create_tempdir().full_path)
    config = smoke.get_config()
    config.model.trunk = trunk
    for name in config.run_phases:
      config.phases[name].steps = steps
    config.log_every = config.checkpoint_every = steps
    self.assertTrue(train(config, folder).complete)
    network = load_network(folder)
    methods = find_methods(network.params, network.model)
    rows = measure({trunk: methods}, photos(), rounds=1)[trunk]
    self.assertLess(rows[PREPARED]["difference_code"], 1e-4)
    self.assertGreater(np.abs(methods[PLAIN](photos())[0]).max(), 0.1)


@unittest.skipUnless(
  importlib.util.find_spec("torch"), "PyTorch is not installed"
)
class TorchTest(parameterized.TestCase):
  @parameterized.product(trunk=("tiny", "mobile"), residual_from_map=(0, 1))
  def test_pytorch_makes_the_same_faces(self, trunk, residual_from_map):
    model = MODEL.clone(trunk=trunk, residual_from_map=bool(residual_from_map))
    params = strong_params(model)
    from experiments.benchmarks.torch_inference import torch_method

    _, shape = torch_method(params, model)(photos())
    np.testing.assert_allclose(
      shape, reconstruct(params, photos(), model=model).shape, atol=1e-3
    )


if __name__ == "__main__":
  absltest.main()
