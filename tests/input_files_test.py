import json
import pathlib
import tempfile

from absl.testing import absltest
import numpy as np

from disentangle3d.input_files import (
  existing_file,
  existing_folder,
  read_npz,
  stored_texts,
)
from disentangle3d.types import UserError, UserFileNotFoundError


class InputFilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "a.npz"

  def test_what_is_missing_is_named_with_how_to_come_by_it(self):
    with self.assertRaisesRegex(UserFileNotFoundError, "a.npz: no such file$"):
      existing_file(str(self.path))
    with self.assertRaisesRegex(UserFileNotFoundError, "such file; make one$"):
      read_npz(self.path, "arrays", otherwise="; make one")
    with self.assertRaisesRegex(UserFileNotFoundError, "a file, got a folder"):
      existing_file(self.path.parent)
    with self.assertRaisesRegex(UserFileNotFoundError, "no such folder; do"):
      existing_folder(self.path, otherwise="; do")
    self.assertEqual(existing_folder(self.path.parent), self.path.parent)
    self.path.touch()
    self.assertEqual(existing_file(str(self.path)), self.path)
    with self.assertRaisesRegex(UserFileNotFoundError, "a folder, got a file"):
      existing_folder(self.path)

  def test_arrays_come_back(self):
    np.savez(self.path, a=np.arange(3), b="text")
    found = read_npz(self.path, "arrays", names=("a",))
    self.assertEqual(found.keys(), {"a", "b"})
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    with self.assertRaisesRegex(
      UserError, "a.npz: expected arrays, got one without c, d"
    ):
      read_npz(self.path, "arrays", names=("d", "a", "c"))

  def test_texts_may_be_stored_as_bytes(self):
    texts = {"licence": "caf\u00e9"}
    for stored in (json.dumps(texts), json.dumps(texts).encode()):
      self.assertEqual(stored_texts("about", np.array(stored)), texts)
    for wrong in (5, "no JSON", b"\xff", "[1]", ["{}", "{}"]):
      with self.assertRaisesRegex(ValueError, "about: expected a JSON object"):
        stored_texts("about", np.array(wrong))

  def test_what_is_no_npz_or_would_be_unpickled_is_refused(self):
    np.savez(self.path, a=np.array([{}], object))
    whole = self.path.read_bytes()
    with self.path.with_suffix(".npy").open("wb") as file:
      np.save(file, np.arange(3))
    single = self.path.with_suffix(".npy").read_bytes()
    for content in (whole, whole[:99], b"", b"text", single):
      self.path.write_bytes(content)
      problem = "a file that cannot be" if content is whole else "another file"
      with self.assertRaisesRegex(
        UserError, f"a.npz: expected arrays, got {problem}"
      ):
        read_npz(self.path, "arrays")

  def test_a_zip_of_a_later_version_or_with_a_password_is_refused(self):
    np.savez(self.path, a=np.arange(3))
    good = self.path.read_bytes()
    entry = good.rindex(b"PK\x01\x02")
    # Central directory: version needed at 6, flags at 8; local header 4, 6.
    for place, local, value in ((6, 4, 255), (8, 6, 1)):
      damaged = bytearray(good)
      damaged[entry + place] = damaged[local] = value
      self.path.write_bytes(damaged)
      with self.assertRaisesRegex(
        UserError, "a.npz: expected arrays, got a file that cannot be read"
      ):
        read_npz(self.path, "arrays")


if __name__ == "__main__":
  absltest.main()
