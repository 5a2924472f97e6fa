import io
import pathlib
import sys
import tempfile
import types
from unittest import mock
import zipfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.files import npy_files
from data_prep.files.npy_files import open_npz, read_npy_dict


def _npy(array: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  np.save(buffer, array)
  return buffer.getvalue()


class NpyFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "a.npz"

  @parameterized.parameters(np.savez, np.savez_compressed)
  def test_arrays_come_back(self, save):
    arrays = {
      "rows": np.arange(12.0).reshape(3, 4),
      "columns": np.asfortranarray(np.arange(12).reshape(3, 4)),
      "empty": np.zeros((0, 3)),
      "scalar": np.array(2.5, np.float32),
      "text": np.array("a text"),
      "objects": np.array([{"a": 1}, None], object),
    }
    save(self.path, **arrays)
    with open_npz(self.path) as file:
      self.assertCountEqual(file.names, arrays)
      for name, array in arrays.items():
        np.testing.assert_array_equal(file.array(name), array)

  def test_rows_come_in_blocks(self):
    array = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
    np.savez(self.path, a=array, columns=np.asfortranarray(array), one=array[0])
    with open_npz(self.path) as file:
      with mock.patch.object(npy_files, "_BLOCK_BYTES", 3 * 24):
        blocks = list(file.row_blocks("a"))
      self.assertEqual([len(block) for block in blocks], [3, 3, 3, 1])
      np.testing.assert_array_equal(np.concatenate(blocks), array)
      with self.assertRaisesRegex(
        ValueError, r"a\.npz: columns: .* row by row"
      ):
        list(file.row_blocks("columns"))

  @parameterized.named_parameters(
    ("count", b"(3,)", b"(4,)", "expected 32 bytes of numbers, got 24"),
    ("huge", b"(3,), }   ", b"(3000000,)}", "expected 24000000 bytes for"),
    ("negative", b"(3,)", b"(-3,", "expected"),
    ("structure", b"'<f8'", b"'|V8'", r"expected numbers, got \|V8"),
  )
  def test_headers_that_lie(self, old, new, message):
    content = _npy(np.arange(3.0)).replace(old, new)
    with zipfile.ZipFile(self.path, "w") as archive:
      archive.writestr("x.npy", content)
    with (
      open_npz(self.path) as file,
      self.assertRaisesRegex(ValueError, rf"a\.npz: x: .*{message}"),
    ):
      file.array("x")

  def test_a_member_that_claims_more_than_deflate_can_give(self):
    with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as archive:
      archive.writestr("x.npy", _npy(np.zeros(1000)))
    content = self.path.read_bytes()
    size = len(_npy(np.zeros(1000))).to_bytes(4, "little")
    self.path.write_bytes(content.replace(size, b"\xff\xff\xff\x7f"))
    with (
      open_npz(self.path) as file,
      self.assertRaisesRegex(ValueError, "x: expected a size that fits in"),
    ):
      file.array("x")

  def test_a_dict_with_objects_of_libraries_that_are_not_here(self):
    torch = types.ModuleType("torch")

    class Tensor:
      def __init__(self):
        self.kept = 1

    Tensor.__module__, Tensor.__qualname__ = "torch", "Tensor"
    torch.Tensor = Tensor
    path = self.path.with_suffix(".npy")
    known = np.arange(4)
    with mock.patch.dict(sys.modules, {"torch": torch}):
      np.save(path, {"tensor": Tensor(), "known": known}, allow_pickle=True)
    found = read_npy_dict(path)
    self.assertCountEqual(found, ["tensor", "known"])
    np.save(path, known)
    with self.assertRaisesRegex(ValueError, r"a\.npy: expected one dict"):
      read_npy_dict(path)

  def test_no_zip_file(self):
    self.path.write_bytes(b"PK\x03\x04 nothing")
    with self.assertRaisesRegex(ValueError, r"a\.npz: expected NumPy arrays"):
      with open_npz(self.path):
        pass


if __name__ == "__main__":
  absltest.main()
