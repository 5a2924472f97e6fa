import os
import pathlib

from absl.testing import absltest
import chex
import fsspec
import numpy as np

from disentangle3d.stores import as_path
from disentangle3d.training.dataset import (
  SplitFile,
  load_dataset_model,
  open_dataset,
  sha256_of,
)
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.staging import Staging
from disentangle3d.types import UserError
from tests.training.cases import NUM_PEOPLE, PHOTOS, write_tiny_dataset

_N = NUM_PEOPLE * PHOTOS


class StagingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    fsspec.filesystem("memory").store.clear()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def _file(self, name: str, size: int) -> SplitFile:
    path = as_path(f"memory://bucket/{name}")
    path.write_bytes(name.encode() * size)
    return SplitFile(path, 1, sha256_of(path))

  def _names(self) -> set[str]:
    return {p.name.split("-")[-1] for p in (self.folder / "copies").iterdir()}

  def test_copies_used_longest_ago_make_room(self):
    staging = Staging(self.folder / "copies", most_bytes=10)
    a, b, c = (self._file(name, 4) for name in "abc")
    for file in (a, b, a):
      with staging.staged(file) as path:
        self.assertEqual(path.read_bytes(), file.path.read_bytes())
    self.assertEqual(self._names(), {"a", "b"})
    with staging.staged(c):
      self.assertEqual(self._names(), {"a", "c"})
    with staging.staged(a) as held:
      with staging.staged(b), staging.staged(c):
        # What is read stays, and all that is read at once has to fit.
        self.assertTrue(held.exists())

  def test_files_of_others_stay(self):
    copies = self.folder / "copies"
    (copies / "folder").mkdir(parents=True)
    (copies / "thesis.doc").write_text("x" * 20)
    staging = Staging(copies, most_bytes=5)
    for name in "ab":
      with staging.staged(self._file(name, 4)):
        pass
    self.assertEqual(self._names(), {"b", "folder", "thesis.doc"})

  def test_what_a_killed_process_left_goes(self):
    copies = self.folder / "copies"
    copies.mkdir()
    old, new = (copies / f".{16 * 'a'}-{name}.0.partial" for name in "xy")
    for path in (old, new):
      path.write_text("x" * 4)
    os.utime(old, (0, 0))
    with Staging(copies, most_bytes=5).staged(self._file("a", 4)):
      pass
    self.assertFalse(old.exists())
    self.assertTrue(new.exists())

  def test_what_does_not_fit_or_is_another_file_is_refused(self):
    staging = Staging(self.folder / "copies", most_bytes=10)
    large = self._file("a", 11)
    with self.assertRaisesRegex(
      UserError, "bucket/a: expected at most 10 byte"
    ):
      with staging.staged(large):
        pass
    changed = self._file("b", 4)
    changed.path.write_bytes(b"xxxx")
    with self.assertRaisesRegex(UserError, "expected sha256"):
      with staging.staged(changed):
        pass
    self.assertEmpty(self._names())

  def test_a_dataset_in_a_store_is_read_as_one_on_the_disk(self):
    write_tiny_dataset(self.folder / "dataset", records_per_file=7)
    for path in (self.folder / "dataset").iterdir():
      as_path(f"memory://bucket/set/{path.name}").write_bytes(path.read_bytes())
    disk = open_dataset(self.folder / "dataset", "train")
    store = open_dataset("memory://bucket/set", "train")
    largest = max(path.stat().st_size for path in disk.files)
    staging = Staging(self.folder / "copies", most_bytes=largest + 1)
    reader = RecordReader(store, staging)
    self.assertLen(reader, _N)
    wanted = np.random.default_rng(0).permutation(_N)
    chex.assert_trees_all_equal(
      reader.read(wanted), RecordReader(disk).read(wanted)
    )
    self.assertLen(self._names(), 1)
    self.assertEqual(
      load_dataset_model(store).name, load_dataset_model(disk).name
    )

  def test_a_process_checks_and_opens_its_own_files_only(self):
    write_tiny_dataset(self.folder / "dataset", records_per_file=7)
    files = sorted((self.folder / "dataset").glob("train-*"))
    # Records 0 to 9 of 20 are in the first two.
    files[2].write_bytes(b"broken")
    with self.assertRaisesRegex(UserError, "train-00002-of-00003"):
      open_dataset(self.folder / "dataset", "train")
    split = open_dataset(self.folder / "dataset", "train", part=(0, 2))
    self.assertLen(RecordReader(split).read_records(range(10)), 10)
    with self.assertRaisesRegex(UserError, "train-00002-of-00003"):
      open_dataset(self.folder / "dataset", "train", part=(1, 2))


if __name__ == "__main__":
  absltest.main()
