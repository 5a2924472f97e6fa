import gzip
import io
import os
import pathlib
import tarfile
import zipfile

from absl.testing import absltest, parameterized
import fsspec
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
import numpy as np

from data_prep.files.archives import TarArchive, ZipArchive
from data_prep.files.recordio import RecordFile
from data_prep.photos.photo_sets import list_photos, read_encoded
from disentangle3d.input_files import read_npz
from disentangle3d.output_files import new_file, replace_file, replace_npz
from disentangle3d.stores import absolute, as_path, in_store, joined, relative
from disentangle3d.types import UserError, UserFileNotFoundError
from tests.data_prep.files.record_files import (
  insightface_payloads,
  write_records,
)


class _CountedFile(AbstractBufferedFile):
  def _fetch_range(self, start, end):
    return self.fs.cat_file(self.path, start, end)


class CountedStore(AbstractFileSystem):
  """One file that is read by ranges, each of which is noted."""

  protocol = "counted"
  content = b""
  asked: list[tuple[int, int]] = []

  def info(self, path, **_):
    if path.endswith("property"):
      raise FileNotFoundError(path)
    if not path.endswith("set"):
      return {"name": path, "size": len(self.content), "type": "file"}
    return {"name": path, "size": 0, "type": "directory"}

  def ls(self, path, detail=True, **_):
    return [self.info(path)] if detail else [path]

  def cat_file(self, path, start=None, end=None, **_):
    part = self.content[slice(start, end)]
    self.asked.append((start, end))
    return part

  def _open(self, path, mode="rb", block_size=None, **options):
    return _CountedFile(self, path, mode, block_size, **options)


fsspec.register_implementation("counted", CountedStore, clobber=True)


class StorePathTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    fsspec.filesystem("memory").store.clear()
    self.root = as_path("memory://bucket/run")

  def test_texts_become_paths(self):
    self.assertEqual(as_path("a/b"), pathlib.Path("a/b"))
    self.assertTrue(in_store(self.root))
    self.assertFalse(in_store(pathlib.Path("a:/b")))
    self.assertEqual(
      os.fspath(self.root / "x.png"), "memory://bucket/run/x.png"
    )
    self.assertEqual((self.root / "x.png").with_suffix(".pts").name, "x.pts")
    self.assertEqual((self.root / "x.y.png").stem, "x.y")
    self.assertEqual(self.root.parent, as_path("memory://bucket"))

  @parameterized.parameters(
    ("memory://b/a/x.png", "memory://b/c/d", "../../a/x.png"),
    ("memory://b/x", "memory://b", "x"),
    ("s3://b/x", "memory://b/c", "s3://b/x"),
    ("/a/x.png", "/a/b", "../x.png"),
  )
  def test_a_path_seen_from_a_folder_is_found_again(self, path, folder, seen):
    self.assertEqual(relative(as_path(path), as_path(folder)), seen)
    self.assertEqual(joined(as_path(folder), seen), absolute(path))

  def test_files_and_folders(self):
    for name in ("b/2.txt", "b/10.txt", "b/c/3.txt", "4.png"):
      (self.root / name).write_bytes(name.encode())
    self.assertTrue((self.root / "b").is_dir())
    self.assertFalse((self.root / "b").is_file())
    self.assertFalse((self.root / "d").exists())
    names = [path.name for path in (self.root / "b").glob("*.txt")]
    self.assertEqual(names, ["10.txt", "2.txt"])
    below = [str(path) for path in self.root.glob("**/*.txt")]
    self.assertEqual(
      below,
      [f"memory://bucket/run/b/{n}" for n in ("10.txt", "2.txt", "c/3.txt")],
    )
    self.assertEqual(self.root.names()[0], "4.png")
    self.assertEqual(list((self.root / "none").iterdir()), [])
    path = self.root / "b/2.txt"
    with path.open() as file:
      self.assertEqual(file.read(), "b/2.txt")
    before = path.stat()
    self.assertEqual(before.st_size, 7)
    path.write_bytes(b"other!!")
    self.assertNotEqual(path.stat().st_mtime_ns, before.st_mtime_ns)
    path.unlink()
    path.unlink(missing_ok=True)
    with self.assertRaisesRegex(FileNotFoundError, "b/2.txt"):
      path.read_bytes()
    with self.assertRaises(FileNotFoundError):
      path.open("rb")

  def test_a_file_is_there_whole_or_not_at_all(self):
    path = self.root / "x.bin"
    with self.assertRaises(ZeroDivisionError), new_file(path) as partial:
      partial.write_bytes(b"half")
      _ = 1 / 0
    self.assertFalse(path.exists())
    with new_file(path) as partial:
      partial.write_bytes(b"whole")
      self.assertFalse(path.exists())
    self.assertEqual(path.read_bytes(), b"whole")
    self.assertEqual([str(p) for p in self.root.iterdir()], [str(path)])
    replace_npz(self.root / "x.npz", {"a": np.arange(3)})
    got = read_npz(self.root / "x.npz", "numbers", names=["a"])
    np.testing.assert_array_equal(got["a"], [0, 1, 2])
    replace_file(self.root / "y.npz", "no npz")
    with self.assertRaisesRegex(UserError, "y.npz: expected numbers, got ano"):
      read_npz(self.root / "y.npz", "numbers")
    with self.assertRaisesRegex(UserFileNotFoundError, "z.npz: no such file"):
      read_npz(self.root / "z.npz", "numbers")

  def test_a_store_that_nobody_knows_is_named(self):
    with self.assertRaisesRegex(UserError, "nowhere://: expected a store that"):
      as_path("nowhere://a").exists()


class ArchiveTest(parameterized.TestCase):
  def _content(self, kind: str) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    photos = {f"p{i % 7}/{i}.png": rng.bytes(20_000) for i in range(400)}
    stream = io.BytesIO()
    if kind == "zip":
      with zipfile.ZipFile(stream, "w") as file:
        for name, content in photos.items():
          file.writestr(name, content)
    else:
      with tarfile.open(fileobj=stream, mode="w") as file:
        for name, content in photos.items():
          member = tarfile.TarInfo(name)
          member.size = len(content)
          file.addfile(member, io.BytesIO(content))
    CountedStore.content = stream.getvalue()
    return photos

  def test_of_a_zip_its_directory_and_the_members_asked_for_are_read(self):
    photos = self._content("zip")
    CountedStore.asked.clear()
    archive = ZipArchive(as_path("counted://set.zip"))
    self.assertEqual(archive.read("p3/3.png"), photos["p3/3.png"])
    read = sum(end - start for start, end in CountedStore.asked)
    # Eight megabytes in all.
    self.assertLess(read, 1_000_000)

  def test_of_a_tar_a_member_is_one_range(self):
    photos = self._content("tar")
    archive = TarArchive(as_path("counted://set.tar"))
    CountedStore.asked.clear()
    self.assertEqual(archive.read("p3/3.png"), photos["p3/3.png"])
    ((start, end),) = CountedStore.asked
    self.assertEqual(end - start, 20_000)

  def test_of_a_rec_labels_are_heads_and_a_photo_is_one_range(self):
    rng = np.random.default_rng(0)
    images = [rng.bytes(20_000 + i) for i in range(60)]
    payloads = insightface_payloads([images[:40], images[40:]])
    folder = pathlib.Path(self.create_tempdir().full_path)
    write_records(folder / "train.rec", payloads)
    for place in folder.iterdir():
      as_path(f"memory://set/{place.name}").write_bytes(place.read_bytes())
    CountedStore.content = (folder / "train.rec").read_bytes()
    records = RecordFile(as_path("memory://set/train.rec"))
    records.path = as_path("counted://set/train.rec")
    CountedStore.asked.clear()
    self.assertLen(records.photo_labels(), 60)
    read = sum(end - start for start, end in CountedStore.asked)
    self.assertLess(read, 60 * 100)
    CountedStore.asked.clear()
    self.assertEqual(records.read("17"), images[16])
    ((start, end),) = CountedStore.asked
    self.assertBetween(end - start, 20_016, 20_100)
    found = list_photos("memory://set")
    self.assertEqual([photo.subject for photo in found[39:41]], ["0", "1"])
    self.assertEqual(read_encoded(found[59].path), images[59])

  @parameterized.parameters(".zip", ".tar", ".tar.gz")
  def test_photos_of_archives_in_a_store(self, suffix):
    photos = self._content(suffix.split(".")[1])
    content = CountedStore.content
    if suffix.endswith(".gz"):
      content = gzip.compress(content, 1)
    path = as_path(f"memory://photos/set{suffix}")
    path.write_bytes(content)
    found = list_photos(path)
    self.assertLen(found, 400)
    wanted = found[5]
    self.assertStartsWith(str(wanted.path), f"memory://photos/set{suffix}::p")
    self.assertEqual(read_encoded(wanted.path), photos[wanted.image_id])

  def test_photos_of_folders_in_a_store(self):
    for name in ("ann/10.png", "ann/2.png", "bob/3/1.png", "ann/x.txt"):
      as_path(f"memory://people/{name}").write_bytes(name.encode())
    found = list_photos("memory://people")
    self.assertEqual(
      [photo.image_id for photo in found],
      ["ann/2.png", "ann/10.png", "bob/3/1.png"],
    )
    self.assertEqual(read_encoded(found[2].path), b"bob/3/1.png")


if __name__ == "__main__":
  absltest.main()
