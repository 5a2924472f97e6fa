import io
import pathlib
import struct
import tarfile
import tempfile
from unittest import mock
import zlib

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image

from data_prep.photos.listing import natural_key
from data_prep.photos.photo_sets import (
  Photo,
  list_photos,
  list_set,
  read_encoded,
  read_photo,
)
from tests.data_prep.files.archives_test import write_tar, write_zip
from tests.data_prep.files.record_files import (
  insightface_payloads,
  write_records,
)


def _jpeg(image: np.ndarray, **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "JPEG", **options)
  return buffer.getvalue()


def _huge_png(width: int, height: int) -> bytes:
  """A PNG whose header claims a size; there are no pixels behind it."""
  head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data))
    + kind
    + data
    + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in chunks
  )


class PhotosTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.image = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)

  def test_colours_come_as_red_green_blue(self):
    path = self.folder / "a.png"
    Image.fromarray(self.image).save(path)
    np.testing.assert_array_equal(read_photo(path), self.image)

  def test_grey_is_three_times_the_same(self):
    path = self.folder / "a.pgm"
    Image.fromarray(self.image[..., 0]).save(path)
    np.testing.assert_array_equal(
      read_photo(path), np.repeat(self.image[..., :1], 3, -1)
    )

  @parameterized.named_parameters(
    ("binary", b"P5\n# as the ORL faces\n4 6\n255\n", bytes),
    ("one_blank", b"P5 4 6 255 ", bytes),
    ("text", b"P2\n4 6\n255\n", lambda row: b"%d %d %d %d\n" % tuple(row)),
  )
  def test_pgm_by_its_definition(self, header, encode):
    path = self.folder / "1.pgm"
    grey = self.image[..., 0]
    content = header + b"".join(encode(row.tolist()) for row in grey)
    path.write_bytes(content)
    np.testing.assert_array_equal(
      read_photo(path), np.repeat(grey[..., None], 3, -1)
    )
    path.write_bytes(content[:-9])
    with self.assertRaisesRegex(ValueError, r"1\.pgm: cannot be read as an"):
      read_photo(path)

  def test_exif_rotation_is_undone(self):
    path = self.folder / "a.jpg"
    halves = np.zeros((32, 64, 3), np.uint8)
    halves[:, :32] = 255  # the left half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it upright
    Image.fromarray(halves).save(path, exif=exif, quality=95)
    photo = read_photo(path)
    self.assertEqual(photo.shape, (64, 32, 3))
    self.assertGreater(photo[:28].min(), 250)
    self.assertLess(photo[36:].max(), 5)

  @parameterized.named_parameters(
    ("text", "note.jpg", b"Not an image.\n"),
    ("empty", "empty.png", b""),
    ("truncated", "cut.png", None),
  )
  def test_what_is_no_image_is_named(self, name, content):
    if content is None:
      buffer = io.BytesIO()
      Image.fromarray(self.image).save(buffer, "PNG")
      content = buffer.getvalue()[:60]
    path = self.folder / name
    path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, f"{name}: cannot be read as an"):
      read_photo(path)

  def test_half_a_jpeg_is_no_photo_but_a_whole_one_with_a_tail_is(self):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    # A preview in the EXIF data has an end marker of its own.
    preview = _jpeg(self.image)
    whole = _jpeg(noise, quality=90)
    whole = (
      whole[:2]
      + b"\xff\xe1"
      + struct.pack(">H", len(preview) + 2)
      + (preview + whole[2:])
    )
    path = self.folder / "a.jpg"
    path.write_bytes(whole + b"\xff\xda trailing bytes")
    self.assertEqual(read_photo(path).shape, (64, 64, 3))
    for kept in (0.5, 0.9):
      path.write_bytes(whole[: int(kept * len(whole))])
      with self.assertRaisesRegex(
        ValueError, "a.jpg: cannot be read as an image: JPEG without an end"
      ):
        read_photo(path)

  def test_the_header_is_checked_before_anything_is_decoded(self):
    path = self.folder / "bomb.png"
    for size in ((20_000, 20_000), (10_001, 20_000), (2**31 - 1, 2**31 - 1)):
      path.write_bytes(_huge_png(*size))
      with self.assertRaisesRegex(
        ValueError,
        rf"bomb.png: too many pixels: {size[0]} x {size[1]}, .* at most 200"
        r" \(--most_megapixels\)",
      ):
        read_photo(path)
    path.write_bytes(_huge_png(10_000, 20_000))
    with self.assertRaisesRegex(ValueError, "bomb.png: cannot be read as an"):
      read_photo(path)

  def test_one_pixel_is_a_photo(self):
    path = self.folder / "a.png"
    Image.fromarray(self.image[:1, :1]).save(path)
    np.testing.assert_array_equal(read_photo(path), self.image[:1, :1])

  def test_what_a_file_is_called_does_not_matter(self):
    path = self.folder / "a.jpg"
    Image.fromarray(self.image).save(path, "BMP")
    np.testing.assert_array_equal(read_photo(path), self.image)

  def test_photos_are_listed_by_person_in_natural_order(self):
    for name in (
      *("s10/1.pgm", "s2/10.PGM", "s2/9.pgm", "s2/notes.txt"),
      *("s2/old/1.pgm", "s2/.hidden.pgm", ".git/1.pgm"),
    ):
      path = self.folder / name
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(b"")
    (self.folder / "README").write_text("")
    (self.folder / "empty").mkdir()
    self.assertEqual(
      list_photos(self.folder),
      [
        Photo(self.folder / name, name.split("/")[0], name)
        for name in ("s2/9.pgm", "s2/10.PGM", "s10/1.pgm")
      ],
    )

  def test_what_is_not_taken_is_counted_with_an_example(self):
    files = ("s1/a.jpg", "s1/b.tif", "s1/d.jfif", "s1/e.avif", "s1/f.gif")
    others = ("s1/g.nef", "s1/sub/h.jpg", "s1/sub/1/i.jpg", "notes.txt")
    for name in (*files, *others, "s1/c.HEIC", "s1/.DS_Store", "real/1.png"):
      path = self.folder / "set" / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(b"")
    (self.folder / "set" / "s1" / "gone.jpg").symlink_to("nowhere")
    # A person's folder may lie elsewhere; one of the set is that person.
    (self.folder / "else").mkdir()
    (self.folder / "else" / "1.jpg").write_bytes(b"")
    (self.folder / "set" / "s2").symlink_to(self.folder / "else")
    (self.folder / "set" / "alias").symlink_to("real")
    (self.folder / "set" / "s1" / "up").symlink_to("..")
    (self.folder / "set" / "all").symlink_to(".")
    (self.folder / "set" / "s1" / "far").symlink_to(self.folder / "else")
    taken = ["real/1.png", *files, "s2/1.jpg"]
    for heif, missing in ((None, [".heic"]), (object(), [])):
      with mock.patch("importlib.util.find_spec", return_value=heif):
        found = list_set(self.folder / "set")
      with self.subTest(heif=heif):
        names = [*taken, *([] if missing else ["s1/c.HEIC"])]
        self.assertEqual(
          sorted(photo.image_id for photo in found.photos), sorted(names)
        )
        self.assertEqual(
          found.passed_over.counts(),
          dict.fromkeys([*missing, ".nef", ".txt", "broken links"], 1)
          | {
            "in deeper folders": 3,
            "linked folders of people who are there": 1,
            "links that lead back up": 2,
          },
        )
      with self.assertLogs("absl", "WARNING") as logs:
        found.passed_over.tell("set")
      said = logs.records[0].getMessage()
      self.assertIn("set: passed over: 1 .", said)
      self.assertIn("1 broken links (s1/gone.jpg)", said)
      self.assertIn("people who are there (alias is real)", said)
      self.assertEqual(bool(missing), "1 .heic (s1/c.HEIC; pip" in said)

  def test_a_tree_that_is_too_deep_is_named_with_the_folder_to_give(self):
    for name in ("set/train/Ann/1.jpg", "set/train/Bo/1.jpg", "set/README"):
      path = self.folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(b"")
    with self.assertRaisesRegex(
      ValueError, r"deeper folders only, as train/Ann/1.jpg; .*/set/train$"
    ):
      list_photos(self.folder / "set")
    self.assertLen(list_photos(self.folder / "set" / "train"), 2)

  def test_an_archive_may_hold_deeper_folders_and_links(self):
    path = self.folder / "set.tar"
    with tarfile.open(path, "w") as file:
      for name in ("set/Ann/1.jpg", "set/Ann/old/2.jpg", "set/Ann/3.nef"):
        file.addfile(tarfile.TarInfo(name))
      link = tarfile.TarInfo("set/Ann/4.jpg")
      link.type, link.linkname = tarfile.SYMTYPE, "1.jpg"
      file.addfile(link)
    found = list_set(path)
    self.assertEqual([p.image_id for p in found.photos], ["Ann/1.jpg"])
    self.assertEqual(
      found.passed_over.counts(),
      {".nef": 1, "in deeper folders": 1, "that are links": 1},
    )

  def test_a_video_is_a_numbered_folder_of_a_person(self):
    for name in ("Ann/10/10.7.jpg", "Ann/3/3.618.jpg", "Bo/3/deep/1.jpg"):
      path = self.folder / name
      path.parent.mkdir(parents=True)
      path.write_bytes(b"")
    self.assertEqual(
      [(photo.subject, photo.image_id) for photo in list_photos(self.folder)],
      [("Ann", "Ann/3/3.618.jpg"), ("Ann", "Ann/10/10.7.jpg")],
    )

  def test_natural_order_compares_any_two_names(self):
    names = ["b1", "10", "a", "2", "", "a10b", "a9b", "1a"]
    self.assertEqual(
      sorted(names, key=natural_key),
      ["", "1a", "2", "10", "a", "a9b", "a10b", "b1"],
    )
    # No two are equal, whatever order they come in.
    for names in (["s1", "s01"], ["s01", "s1"]):
      self.assertEqual(sorted(names, key=natural_key), ["s01", "s1"])
    self.assertNotEmpty(natural_key("9" * 5000))

  @parameterized.named_parameters(
    ("zip", "set.zip", write_zip, ""),
    ("tar", "set.tar", write_tar, ""),
    ("under_a_folder", "set.ZIP", write_zip, "orl/faces/"),
  )
  def test_an_archive_is_as_its_folder(self, name, write, root):
    path = self.folder / name
    members = {
      f"{root}{member}": _jpeg(np.full((8, 8, 3), value, np.uint8))
      for value, member in ((1, "s10/1.jpg"), (2, "s2/10.jpg"), (3, "s2/9.jpg"))
    }
    write(
      path, {f"{root}readme.txt": b"", "__MACOSX/s2/._9.jpg": b"", **members}
    )
    found = list_photos(path)
    self.assertEqual(
      [(photo.subject, photo.image_id) for photo in found],
      [("s2", "s2/9.jpg"), ("s2", "s2/10.jpg"), ("s10", "s10/1.jpg")],
    )
    self.assertEqual(str(found[0].path), f"{path}::{root}s2/9.jpg")
    for photo, value in zip(found, (3, 2, 1), strict=True):
      np.testing.assert_allclose(read_photo(photo.path), value, atol=1)
      self.assertEqual(read_encoded(photo.path), members[root + photo.image_id])

  def test_a_compressed_tar_is_listed_as_it_is_packed(self):
    path = self.folder / "set.tgz"
    write_tar(path, {"s2/1.png": b"", "s1/1.png": b""}, mode="w:gz")
    self.assertEqual(
      [photo.image_id for photo in list_photos(path)], ["s2/1.png", "s1/1.png"]
    )

  def test_the_folder_inside_an_archive_may_be_named(self):
    path = self.folder / "YouTubeFaces.zip"
    members = ("YTF/frames/Ann/1/1.2.jpg", "YTF/frames/Bo/0/0.1.jpg")
    write_zip(path, dict.fromkeys((*members, "YTF/aligned/Ann/1/1.jpg"), b""))
    with self.assertRaisesRegex(
      ValueError, r"Faces.zip: expected one folder .* e.g. .*zip::YTF/frames/Bo"
    ):
      list_photos(path)
    self.assertEqual(
      list_photos(f"{path}::YTF/frames"),
      [
        Photo(pathlib.Path(f"{path}::{name}"), name.split("/")[2], image_id)
        for name, image_id in zip(
          members, ("Ann/1/1.2.jpg", "Bo/0/0.1.jpg"), strict=True
        )
      ],
    )
    with self.assertRaisesRegex(ValueError, "found none"):
      list_photos(f"{path}::YTF/nowhere")

  def test_records_are_photos_of_their_labels(self):
    path = self.folder / "train.rec"
    images = [_jpeg(np.full((8, 8, 3), value, np.uint8)) for value in (9, 200)]
    write_records(path, insightface_payloads([images, images[:1]]))
    for source in (path, self.folder):
      found = list_photos(source)
      self.assertEqual(
        found,
        [
          Photo(pathlib.Path(f"{path}::{key}"), subject, f"{subject}/{key}")
          for key, subject in ((1, "0"), (2, "0"), (3, "1"))
        ],
      )
    np.testing.assert_allclose(read_photo(found[1].path), 200, atol=1)
    path.with_suffix(".lst").write_text(
      "1\tx/A/1.jpg\t0\n1\tx/A/2.jpg\t0\n1\tx/B/1.jpg\t1\n"
    )
    self.assertEqual(
      [photo.image_id for photo in list_photos(path)], ["A/1", "A/2", "B/3"]
    )

  def test_a_file_that_changed_is_indexed_anew(self):
    path = self.folder / "set.zip"
    for content in (b"first", b"second one"):
      write_zip(path, {"a/1.png": content})
      self.assertEqual(read_encoded(f"{path}::a/1.png"), content)

  def test_a_photo_in_a_file_that_is_broken_or_gone_is_named(self):
    path = self.folder / "set.zip"
    write_zip(path, {"a/1.png": b"text"})
    with self.assertRaisesRegex(ValueError, "set.zip::a/1.png: cannot be read"):
      read_photo(f"{path}::a/1.png")
    with self.assertRaisesRegex(FileNotFoundError, "zip::a/2.png: no such mem"):
      read_photo(f"{path}::a/2.png")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"text", b"tex!"))
    with self.assertRaisesRegex(
      ValueError, "set.zip::a/1.png: broken member: byte 0: Bad CRC"
    ):
      read_photo(f"{path}::a/1.png")
    path.unlink()
    with self.assertRaisesRegex(FileNotFoundError, "set.zip::a/1.png"):
      read_photo(f"{path}::a/1.png")

  def test_a_file_that_is_no_set_is_named(self):
    path = self.folder / "face.png"
    path.write_bytes(b"")
    with self.assertRaisesRegex(
      ValueError, "face.png: expected a folder, or a file ending in .bz2, .gz"
    ):
      list_photos(path)

  def test_folders_without_photos_are_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "gone: no such file or f"):
      list_photos(self.folder / "gone")
    with self.assertRaisesRegex(ValueError, "found none"):
      list_photos(self.folder)
    (self.folder / "7.png").write_bytes(b"")
    with self.assertRaisesRegex(ValueError, "the photo 7.png right in it"):
      list_photos(self.folder)


if __name__ == "__main__":
  absltest.main()
