import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest
import numpy as np

from disentangle3d.output_files import (
  check_folder,
  check_output_file,
  drop_half_line,
  named_errors,
  new_file,
  new_folder,
  replace_file,
  replace_npz,
)


class OutputFilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def test_a_folder_appears_whole(self):
    output = self.folder / "a" / "b"
    with new_folder(output) as partial:
      (partial / "file").write_text("x")
      self.assertFalse(output.exists())
      self.assertEqual(partial.parent, output.parent)
    self.assertEqual([p.name for p in output.parent.iterdir()], ["b"])
    self.assertEqual((output / "file").read_text(), "x")

  def test_a_name_may_be_as_long_as_any(self):
    for name in ("x" * 255, "é" * 127):
      replace_file(self.folder / name, b"content")
      self.assertEqual((self.folder / name).read_bytes(), b"content")

  def test_half_a_line_goes(self):
    path = self.folder / "lines"
    drop_half_line(path)
    self.assertFalse(path.exists())
    for content, kept in ((b"", b""), (b"a\nb\n", b"a\nb\n"),
                          (b"a\nb", b"a\n"), (b"a", b"")):  # fmt: skip
      path.write_bytes(content)
      drop_half_line(path)
      self.assertEqual(path.read_bytes(), kept)

  def test_an_empty_folder_may_be_there(self):
    with new_folder(self.folder / "a"):
      pass
    with new_folder(self.folder / "a") as partial:
      (partial / "file").write_text("x")
    self.assertTrue((self.folder / "a" / "file").exists())

  def test_nothing_is_left_of_a_failure(self):
    with self.assertRaises(KeyError), new_folder(self.folder / "a") as partial:
      (partial / "file").write_text("x")
      raise KeyError
    self.assertEmpty(list(self.folder.iterdir()))

  def test_what_is_there_is_not_overwritten(self):
    (self.folder / "file").write_text("x")
    with self.assertRaisesRegex(ValueError, "got one with files in it"):
      with new_folder(self.folder):
        pass
    with self.assertRaisesRegex(ValueError, "file: expected .* got a file"):
      with new_folder(self.folder / "file"):
        pass

  def test_a_file_is_replaced_and_nothing_else_left(self):
    replace_file(self.folder / "file", b"one")
    replace_file(self.folder / "file", b"two")
    self.assertEqual((self.folder / "file").read_bytes(), b"two")
    self.assertLen(list(self.folder.iterdir()), 1)
    replace_file(self.folder / "file", "ö\n")
    self.assertEqual((self.folder / "file").read_bytes(), b"\xc3\xb6\n")
    with self.assertRaises(FileNotFoundError):
      replace_file(self.folder / "gone" / "file", b"")

  def test_a_file_that_is_not_finished_leaves_the_old_one(self):
    replace_file(self.folder / "file", b"one")
    with self.assertRaises(KeyError), new_file(self.folder / "file") as partial:
      partial.write_bytes(b"tw")
      raise KeyError
    self.assertEqual((self.folder / "file").read_bytes(), b"one")
    self.assertLen(list(self.folder.iterdir()), 1)

  def test_where_nothing_can_be_written_is_told_beforehand(self):
    (self.folder / "file").touch()
    check_output_file(self.folder / "file")
    check_output_file(self.folder / "new" / "file")
    for path, message in (
      (self.folder, "expected a file to write to, got a folder"),
      (self.folder / "file" / "x", "/file: expected a folder to write to"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        check_output_file(path)
    with mock.patch("os.access", return_value=False):
      for check in (check_output_file, check_folder):
        with self.assertRaisesRegex(
          ValueError, rf"^{self.folder}: cannot be written to \(no permission"
        ):
          check(self.folder / "new" / "x")
    self.assertLen(list(self.folder.iterdir()), 1)

  def test_a_full_disk_names_what_was_written(self):
    full = OSError(28, "No space left on device")
    for block in (new_file, new_folder, named_errors):
      path = (
        self.folder / "one" / "x" if block is new_folder else self.folder / "x"
      )
      with self.assertRaisesRegex(OSError, r"\[Errno 28\] .*/x'"), block(path):
        raise full
    # What NumPy makes of it.
    with (
      self.assertRaisesRegex(OSError, r"\[Errno 28\] .*/x'"),
      new_file(self.folder / "x"),
      pathlib.Path("/dev/full").open("wb", buffering=0) as file,
    ):
      np.zeros(1 << 16).tofile(file)
    # What is named already stays.
    with (
      self.assertRaisesRegex(OSError, "'other'"),
      new_file(self.folder / "x"),
    ):
      raise OSError(2, "No such file or directory", "other")

  def test_arrays_come_back_under_the_name_that_was_asked_for(self):
    replace_npz(self.folder / "arrays", {"a": np.arange(3), "b": [1.5]})
    with np.load(self.folder / "arrays", allow_pickle=False) as found:
      np.testing.assert_array_equal(found["a"], [0, 1, 2])
      np.testing.assert_array_equal(found["b"], [1.5])


if __name__ == "__main__":
  absltest.main()
