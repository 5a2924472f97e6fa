"""Runs the documents' Python, block after block, as a reader would.

With the network that ships, in a folder where `photo.jpg` shows an astronaut;
`images`, `truth`, `scores` and `same` are there. A block that
begins with `# server.py` is a file of its own, which is only compiled.
"""

import contextlib
import importlib.util
import re
import tempfile
import unittest

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image
import skimage.data
import trimesh

from disentangle3d.inference import reconstruct
from disentangle3d.training.export import load_network
from tests.fixtures import REPOSITORY


def python_blocks(text):
  return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@unittest.skipUnless(
  importlib.util.find_spec("mtcnn"), "the extra `detect` is not installed"
)
class ReadmeTest(parameterized.TestCase):
  @parameterized.parameters("README.md", "docs/using.md")
  def test_its_python_runs(self, document):
    network = load_network()
    mean = np.asarray(network.mean_face().mean_shape)
    rng = np.random.default_rng(0)
    names = {
      "images": rng.integers(0, 256, (3, 112, 96, 3), np.uint8),
      "truth": mean + rng.normal(size=(3, *mean.shape)).astype("f"),
      "scores": rng.normal(size=40),
      "same": np.tile([True, False], 20),
    }
    blocks = python_blocks((REPOSITORY / document).read_text("utf-8"))
    self.assertNotEmpty(blocks)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
      Image.fromarray(skimage.data.astronaut()[:256, 96:352]).save("photo.jpg")
      for number, block in enumerate(blocks):
        code = compile(block, f"{document}, Python block {number}", "exec")
        if not block.startswith("# server.py"):
          exec(code, names)
      if document == "README.md":
        mesh = trimesh.load("face.glb", force="mesh", process=False)
        crop = names["found"].crop
        face = reconstruct(network.params, crop, model=network.model)
        # glTF is in metres.
        np.testing.assert_allclose(1e3 * mesh.vertices, face.shape, atol=0.01)
        np.testing.assert_array_equal(mesh.faces, network.triangles)
    self.assertEqual(names["faces"].shape.shape, (3, *mean.shape))


if __name__ == "__main__":
  absltest.main()
