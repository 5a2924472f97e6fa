import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest
import numpy as np
from PIL import Image

from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.types import LANDMARK_MIRROR
from tests.data_prep.models import facekit_tree
from tests.data_prep.models.known_model import MODEL
from tests.fixtures import REPOSITORY


def _convert(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-m", "data_prep.convert_morphable_model", *arguments],
    capture_output=True,
    text=True,
    timeout=120,
    cwd=REPOSITORY,
    check=False,
  )


class ConvertMorphableModelTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.source = pathlib.Path(scratch.name) / "FaceXModel"
    self.source.mkdir()
    self.output = pathlib.Path(scratch.name) / "out" / "model.npz"

  def _flags(self, **changes) -> list[str]:
    values = {
      "format": "ict_facekit",
      "source": self.source,
      "output_file": self.output,
      "region": "narrow",
      "identity_modes": 1,
      "expression_modes": 4,
    }
    return [f"--{k}={v}" for k, v in (values | changes).items()]

  def test_a_model_is_written_or_nothing(self):
    facekit_tree.write_tree(self.source, identities=1)
    result = _convert(*self._flags())
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertIn("MIT", result.stderr)
    model = load_morphable_model(self.output)
    self.assertEqual(
      (model.num_vertices, model.identity_dim, model.expression_dim),
      (6706, 1, 4),
    )
    self.assertEqual(
      [p.name for p in self.output.parent.iterdir()], ["model.npz"]
    )

    broken = self.source / "shape07.obj"
    broken.write_bytes(broken.read_bytes()[:300_000])
    other = self.output.parent / "other.npz"
    result = _convert(*self._flags(output_file=other))
    self.assertEqual(result.returncode, 1)
    last = result.stderr.splitlines()[-1]
    self.assertRegex(
      last, r"ERROR: .*shape07\.obj: expected 26719 vertices, got \d+$"
    )
    self.assertNotIn("Traceback", result.stderr)
    self.assertEqual(
      [p.name for p in self.output.parent.iterdir()], ["model.npz"]
    )

  def test_a_preview_is_written_or_nothing(self):
    source = self.source / "mine.npz"
    preview = self.output.with_name("model.png")
    arguments = (
      *(
        "--format=npz_arrays",
        f"--source={source}",
        f"--output_file={self.output}",
      ),
      *(f"--preview={preview}", "--licence=mine", "--nearest_vertices=500"),
    )
    arrays = {
      field: getattr(MODEL, field)
      for field in (
        *("mean_shape", "identity_basis", "expression_basis"),
        *("triangles", "landmark_vertices"),
      )
    }
    swapped = MODEL.landmark_vertices[LANDMARK_MIRROR]
    np.savez(source, **(arrays | {"landmark_vertices": swapped}))
    result = _convert(*arguments)
    self.assertEqual(result.returncode, 1)
    self.assertRegex(
      result.stderr,
      r"^ERROR: .*mine\.npz: landmark_vertices: expected x to be smal[^\n]*\n"
      r"\Z",
    )
    self.assertFalse(self.output.parent.exists())

    np.savez(source, **arrays)
    result = _convert(*arguments)
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertEqual(load_morphable_model(self.output).num_vertices, 500)
    with Image.open(preview) as picture:
      self.assertEqual((picture.format, picture.mode), ("PNG", "RGB"))
      self.assertGreater(picture.width, 3 * 1000)
    self.assertCountEqual(
      [p.name for p in self.output.parent.iterdir()], ["model.npz", "model.png"]
    )

  def test_missing_input_is_one_line(self):
    result = _convert(*self._flags())
    self.assertEqual(result.returncode, 1)
    self.assertRegex(
      result.stderr,
      r"\AERROR: .*FaceXModel.generic_neutral_mesh\.obj: no such[^\n]*\n\Z",
    )
    self.assertFalse(self.output.parent.exists())

  def test_other_formats_are_refused_with_the_list(self):
    result = _convert(*self._flags(format="bfm2008"))
    self.assertEqual(result.returncode, 1)
    self.assertEqual(
      result.stderr,
      "ERROR: --format: expected one of ict_facekit, 3ddfa, bfm2009, bfm_h5,"
      " surrey, flame, facescape, npz_arrays, got 'bfm2008'"
      " (--help lists the flags)\n",
    )


if __name__ == "__main__":
  absltest.main()
