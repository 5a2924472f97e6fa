"""Exported programs against the network, in processes that know JAX only."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import unittest

from absl.testing import absltest
import flax.traverse_util
import jax
import numpy as np

from disentangle3d.inference import encode, face_embedding, reconstruct
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import (
  abstract_params,
  load_network,
  save_network,
)
from experiments.exports.programs import (
  OUTPUTS,
  export_network,
  reconstruct_arrays,
  stablehlo_program,
)
from tests.fixtures import random_leaves, random_morphable_model

MODEL = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=120)

# Without flax and without this project.
_FRESH = """
import sys
sys.modules["flax"] = sys.modules["disentangle3d"] = None
import jax, numpy as np, safetensors.numpy
with open("reconstruct.stablehlo", "rb") as file:
  program = jax.export.deserialize(file.read())
params = safetensors.numpy.load_file("params.safetensors")
images = np.load("images.npy")
for batch in (1, 3):
  np.savez(f"made{batch}.npz", **program.call(params, images[:batch]))
"""


def photos():
  rng = np.random.default_rng(3)
  return rng.integers(0, 256, (3, 112, 96, 3), np.uint8)


class ExportTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    basis = random_morphable_model()
    params = init_params(jax.random.key(0), MODEL, basis)
    # As large as after a training: a wrong code moves every vertex by mm.
    for name in ("identity_decoder", "residual_decoder"):
      params[name] = {"kernel": 300 * params[name]["kernel"]}
    cls.params = params
    faces = reconstruct(params, photos(), model=MODEL)
    cls.expected = {
      "embedding": face_embedding(params, photos(), model=MODEL),
      "identity": faces.latents.identity,
      "identity_shape": faces.identity_shape,
      "residual": faces.latents.residual,
      "shape": faces.shape,
    }

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    save_network(
      self.folder / "net",
      MODEL,
      self.params,
      random_morphable_model(),
      phase="test",
    )

  def test_a_fresh_process_without_flax_gets_the_same_faces(self):
    output = self.folder / "exported"
    export_network(load_network(self.folder / "net"), output)
    np.save(output / "images.npy", photos())
    run = subprocess.run(
      [sys.executable, "-c", _FRESH],
      cwd=output,
      env={"JAX_PLATFORMS": "cpu", "PATH": ""},
      capture_output=True,
      text=True,
      timeout=200,
    )
    self.assertEqual(run.returncode, 0, run.stderr[-2000:])
    for batch in (1, 3):
      with np.load(output / f"made{batch}.npz") as made:
        self.assertEqual(set(made.files), set(OUTPUTS))
        for name, expected in self.expected.items():
          np.testing.assert_allclose(
            made[name], expected[:batch], atol=1e-5, rtol=1e-5
          )
    about = json.loads((output / "about.json").read_text())
    self.assertEqual(FaceModel(**about["model"]), MODEL)
    self.assertEqual(about["morphable_model"]["licence"], "Apache-2.0")

  def test_no_such_platform(self):
    with self.assertRaisesRegex(ValueError, "expected some of cpu.*got npu"):
      stablehlo_program(MODEL, platforms=["npu"])

  def test_one_program_of_the_mobile_trunk_for_all_platforms(self):
    model = MODEL.clone(trunk="mobile", residual_from_map=True)
    params = random_leaves(abstract_params(model))
    program = jax.export.deserialize(stablehlo_program(model))
    self.assertEqual(program.platforms, ("cpu", "cuda", "tpu"))
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    plain = jax.jit(lambda p, x: encode(p, x, model=model))(params, photos())
    made = program.call(flat, photos())
    for name in ("identity", "residual"):
      code = getattr(plain, name)
      np.testing.assert_allclose(made[name], code, atol=1e-5)
      self.assertGreater(np.abs(code).max(), 0.05)

  @unittest.skipIf(
    importlib.util.find_spec("jax2onnx"), "jax2onnx is installed"
  )
  def test_onnx_without_its_extra_leaves_nothing(self):
    output = self.folder / "exported"
    with self.assertRaisesRegex(ModuleNotFoundError, "extra `onnx`"):
      export_network(load_network(self.folder / "net"), output, with_onnx=True)
    self.assertFalse(output.exists())

  @unittest.skipUnless(
    importlib.util.find_spec("jax2onnx"), "the extra `onnx` is not installed"
  )
  def test_onnxruntime_gets_the_same_faces(self):
    self.check_onnx(self.folder / "net", self.expected)

  @unittest.skipUnless(
    importlib.util.find_spec("jax2onnx"), "the extra `onnx` is not installed"
  )
  def test_onnxruntime_gets_the_same_faces_of_the_mobile_trunk(self):
    model, basis = MODEL.clone(trunk="mobile"), random_morphable_model()
    params = random_leaves(abstract_params(model))
    save_network(self.folder / "mobile", model, params, basis, phase="test")
    made = reconstruct_arrays(
      flax.traverse_util.flatten_dict(params, sep="/"), photos(), model=model
    )
    self.check_onnx(self.folder / "mobile", made)

  def check_onnx(self, network, expected):
    import onnxruntime

    output = self.folder / "exported"
    # The converter's own traces add arrays of different ranks.
    with jax.numpy_rank_promotion("allow"):
      export_network(load_network(network), output, with_onnx=True)
    session = onnxruntime.InferenceSession(str(output / "reconstruct.onnx"))
    for batch in (1, 3):
      made = session.run(list(OUTPUTS), {"images": photos()[:batch]})
      for name, got in zip(OUTPUTS, made, strict=True):
        np.testing.assert_allclose(
          got, expected[name][:batch], atol=1e-4, rtol=1e-5
        )


if __name__ == "__main__":
  absltest.main()
