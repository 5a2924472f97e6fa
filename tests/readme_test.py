"""Runs the documents' Python, block after block, as a reader would.

In a folder where `runs/demo/training` is a tiny network, and `photo.jpg` shows
an astronaut; `images`, `truth`, `scores` and `same` are there. A block that
begins with `# server.py` is a file of its own, which is only compiled.
"""

import contextlib
import importlib.util
import pathlib
import re
import tempfile
import unittest

from absl.testing import absltest, parameterized
import jax
import numpy as np
from PIL import Image
import skimage.data
import trimesh

from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.inference import reconstruct
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import save_network
from tests.fixtures import REPOSITORY

MODEL = FaceModel("tiny", identity_dim=8, residual_dim=4, num_vertices=600)


def python_blocks(text):
  return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@unittest.skipUnless(
  importlib.util.find_spec("mtcnn"), "the extra `detect` is not installed"
)
class ReadmeTest(parameterized.TestCase):
  @parameterized.parameters("README.md", "docs/using.md")
  def test_its_python_runs(self, document):
    basis = procedural_face_model(
      num_vertices=600, identity_dim=8, expression_dim=4
    )
    params = init_params(jax.random.key(0), MODEL, basis)
    rng = np.random.default_rng(0)
    names = {
      "images": rng.integers(0, 256, (3, 112, 96, 3), np.uint8),
      "truth": basis.mean_shape + rng.normal(size=(3, 600, 3)).astype("f"),
      "scores": rng.normal(size=40),
      "same": np.tile([True, False], 20),
    }
    blocks = python_blocks((REPOSITORY / document).read_text("utf-8"))
    self.assertNotEmpty(blocks)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
      save_network(
        pathlib.Path("runs/demo/training/export"),
        MODEL,
        params,
        basis,
        phase="test",
      )
      Image.fromarray(skimage.data.astronaut()[:256, 96:352]).save("photo.jpg")
      for number, block in enumerate(blocks):
        code = compile(block, f"{document}, Python block {number}", "exec")
        if not block.startswith("# server.py"):
          exec(code, names)
      if document == "README.md":
        mesh = trimesh.load("face.glb", force="mesh", process=False)
        face = reconstruct(params, names["found"].crop, model=MODEL)
        # glTF is in metres.
        np.testing.assert_allclose(1e3 * mesh.vertices, face.shape, atol=0.01)
        np.testing.assert_array_equal(mesh.faces, basis.triangles)
    self.assertEqual(names["faces"].shape.shape, (3, 600, 3))


if __name__ == "__main__":
  absltest.main()
