import io
import pathlib
import tarfile
import tempfile

from absl.testing import absltest, parameterized

from data_prep.files.archives import TarArchive
from data_prep.files.tar_shards import (
  has_examples,
  key_of,
  new_tar_shard,
  read_labels,
)
from data_prep.photos.photo_sets import list_photos, list_set, read_encoded
from disentangle3d.types import UserError


class TarShardsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def _write(self, name, *examples):
    path = self.folder / name
    with new_tar_shard(path) as tar:
      for key, parts in examples:
        tar.add(key, parts)
    return path

  def test_examples_come_back_in_the_same_bytes(self):
    examples = [
      ("0_1", {"png": b"one", "json": {"subject": "ann", "image_id": "ann/1"}}),
      ("0_2", {"png": b"two", "cls": 7}),
    ]
    path = self._write("a.tar", *examples)
    archive = TarArchive(path)
    self.assertEqual(
      archive.names(), ["0_1.png", "0_1.json", "0_2.png", "0_2.cls"]
    )
    self.assertEqual(archive.read("0_2.png"), b"two")
    self.assertEqual(
      read_labels(archive),
      {"0_1": {"subject": "ann", "image_id": "ann/1"}, "0_2": {"subject": "7"}},
    )
    again = self._write("b.tar", *examples)
    self.assertEqual(path.read_bytes(), again.read_bytes())

  def test_a_half_written_shard_is_not_there(self):
    with self.assertRaises(ZeroDivisionError):
      with new_tar_shard(self.folder / "c.tar") as tar:
        tar.add("0", {"png": b"x", "cls": 1 // 0})
    self.assertEmpty(list(self.folder.iterdir()))

  def test_keys_end_at_the_first_dot(self):
    self.assertEqual(key_of("a.b/00.seg.png"), "a.b/00")
    self.assertTrue(has_examples(["a/1.jpg", "a/1.cls"]))
    self.assertFalse(has_examples(["a/1.jpg", "a/about.json"]))

  def test_a_folder_of_shards_is_a_set_of_photos(self):
    self._write("x-00.tar", ("k/0", {"jpg": b"a", "cls": 3}))
    self._write(
      "x-01.tar",
      ("k/0", {"jpg": b"b", "json": {"label": 4, "size": 2}}),
      ("1", {"json": {"subject": "ann", "image_id": "ann/9"}, "webp": b"c"}),
    )
    found = list_photos(self.folder)
    self.assertEqual(
      [(photo.subject, photo.image_id) for photo in found],
      [("3", "3/x-00.k_0.jpg"), ("4", "4/x-01.k_0.jpg"), ("ann", "ann/9")],
    )
    self.assertEqual([read_encoded(p.path) for p in found], [b"a", b"b", b"c"])
    self.assertEqual(list_photos(self.folder / "x-00.tar"), found[:1])

  def test_what_is_no_photo_in_a_shard_is_counted(self):
    self._write(
      "a.tar",
      ("0", {"jpg": b"a", "cls": 3}),
      ("1", {"jp2": b"b", "cls": 3}),
      ("2", {"txt": b"a note", "jpg": b"c", "json": {"subject": "ann"}}),
    )
    found = list_set(self.folder / "a.tar")
    self.assertLen(found.photos, 2)
    self.assertEqual(found.passed_over.counts(), {".jp2": 1, ".txt": 1})

  @parameterized.parameters(
    ({"png": b"x"}, "1.png: expected a .cls or a .json with the subject"),
    ({"png": b"x", "json": b"[1]"}, "1.json: expected a label, a number or a"),
    ({"png": b"x", "cls": b"\xff"}, "1.cls: expected a label"),
  )
  def test_photos_of_nobody_are_refused(self, parts, message):
    self._write("a.tar", ("0", {"png": b"x", "cls": 1}), ("1", parts))
    with self.assertRaisesRegex(UserError, f"a.tar::{message}"):
      list_photos(self.folder)

  def test_a_tar_of_people_s_folders_stays_one(self):
    with tarfile.open(self.folder / "set.tar", "w") as file:
      for name in ("set/ann/1.png", "set/ann/notes.json"):
        member = tarfile.TarInfo(name)
        file.addfile(member, io.BytesIO())
    self.assertEqual(
      [p.image_id for p in list_photos(self.folder / "set.tar")], ["ann/1.png"]
    )


if __name__ == "__main__":
  absltest.main()
