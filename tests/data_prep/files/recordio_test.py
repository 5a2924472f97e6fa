import pathlib
import struct
import tempfile

from absl.testing import absltest, parameterized

from data_prep.files.recordio import RecordFile, read_names
from tests.data_prep.files.record_files import (
  MAGIC,
  framed,
  header,
  insightface_payloads,
  write_records,
)

IMAGES = [
  b"one",
  MAGIC + b"begins",
  b"middle--" + MAGIC + MAGIC + b"!",
  b"unaligned " + MAGIC,
  b"ends----" + MAGIC,
  b"",
]
PEOPLE = [IMAGES[:2], IMAGES[2:5], IMAGES[5:]]


class RecordFileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.path = self.folder / "train.rec"
    write_records(self.path, insightface_payloads(PEOPLE))

  def test_the_layout_is_that_of_the_description(self):
    self.assertEqual(
      framed(header(7, 3.0) + b"abcde").hex(" ", 4),
      "0a23d7ce 1d000000 00000000 00004040 07000000 00000000 00000000"
      " 00000000 61626364 65000000",
    )

  def test_insightface_photos_have_their_labels(self):
    records = RecordFile(self.path)
    self.assertEqual(
      records.photo_labels(), {1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2}
    )
    for key, image in enumerate(IMAGES, start=1):
      self.assertEqual(records.read(str(key)), image)

  def test_im2rec_has_photos_only_and_any_keys(self):
    write_records(
      self.path,
      {0: header(0, 5.0) + b"a", 9: header(9, 5, 7) + b"b", 4: header(4, 6.0)},
    )
    records = RecordFile(self.path)
    self.assertEqual(records.photo_labels(), {0: 5, 4: 6, 9: 5})
    self.assertEqual([records.read("0"), records.read("9")], [b"a", b"b"])

  def test_many_labels_before_an_image(self):
    write_records(self.path, {3: header(3, *range(2, 40)) + b"image"})
    self.assertEqual(RecordFile(self.path).photo_labels(), {3: 2})
    self.assertEqual(RecordFile(self.path).read("3"), b"image")

  @parameterized.named_parameters(
    ("cut_off", lambda f: f[:-5], "::0: broken record: byte 440: .* got 27 to"),
    ("wrong_magic", lambda f: b"X" + f[1:], "::1: .*byte 0: .*5823d7ce"),
    ("no_such_part", lambda f: f[:7] + b"\x40" + f[8:], "byte 0: .*got 2"),
    ("lying_length", lambda f: f[:6] + b"\xff\x1f" + f[8:], "536805411 bytes"),
    ("empty", lambda f: b"", "::0: .*byte 440: .*the end of the file"),
    ("short", lambda f: f[:4] + b"\x04" + f[5:], "header of 24 bytes, got 4"),
    ("half_label", lambda f: _label(f, 0.5), "whole label from 0.*got 0.5"),
    ("nan_label", lambda f: _label(f, float("nan")), "got nan"),
    ("labels", lambda f: f[:8] + b"\xff" * 4 + f[12:], "at most 65536 labels"),
    ("few", lambda f: f[:8] + b"\x0c" + f[9:], "expected 12 labels, got 35"),
  )
  def test_a_broken_record_is_named_with_its_offset(self, change, problem):
    self.path.write_bytes(change(self.path.read_bytes()))
    with self.assertRaisesRegex(ValueError, f"train.rec.*{problem}"):
      RecordFile(self.path).photo_labels()

  def test_a_part_that_does_not_continue_its_record(self):
    content = bytearray(framed(header(1, 0.0) + b"four" + MAGIC + b"more"))
    content[36:40] = b"gone"  # the second part's magic
    self.path.write_bytes(bytes(content))
    self.path.with_suffix(".idx").write_text("1\t0\n")
    with self.assertRaisesRegex(ValueError, "::1: .*byte 36: .*676f6e65"):
      RecordFile(self.path).read("1")
    content = framed(header(1, 0.0) + b"four" + MAGIC + b"more")[:36]
    self.path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, "byte 36: .*the end of the file"):
      RecordFile(self.path).read("1")

  @parameterized.named_parameters(
    ("no_image", {0: header(0, 1, 3)}, "expected photos of people, found none"),
    ("too_many", {0: header(0, 1e9, 2e9)}, "::0: .*at most 1 records"),
    ("no_number", {0: header(0, float("inf"), 1)}, "got inf"),
    ("gap", {0: header(0, 3, 3), 1: header(1, 0.0), 5: b""}, "none with key 2"),
  )
  def test_a_lying_record_0_is_named(self, payloads, problem):
    write_records(self.path, payloads)
    with self.assertRaisesRegex(ValueError, problem):
      RecordFile(self.path).photo_labels()

  @parameterized.named_parameters(
    ("text", "hello\n", "line 1: expected a key and a byte offset"),
    ("sign", "1\t0\n2\t-4\n", "line 2: expected a key and a byte offset"),
    ("empty", "", "expected a line a record, found none"),
    ("far", "1\t999999999999\n", "byte 999999999999: .*the end of the file"),
  )
  def test_a_broken_index_is_named(self, index, problem):
    self.path.with_suffix(".idx").write_text(index)
    with self.assertRaisesRegex(ValueError, f"train.(idx|rec).*{problem}"):
      RecordFile(self.path).photo_labels()

  def test_property_bounds_the_labels(self):
    (self.folder / "property").write_text("3,112,112\n")
    self.assertLen(RecordFile(self.path).photo_labels(), 6)
    for content, problem in (
      ("2,112,112", "::6: .*from 0 to below 2, got 2.0"),
      ("0,112,112", "property: expected at least one class"),
      ("many", "property: expected 3 numbers"),
    ):
      (self.folder / "property").write_text(content)
      with self.assertRaisesRegex(ValueError, problem):
        RecordFile(self.path).photo_labels()

  def test_what_is_missing_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "::99: no such record"):
      RecordFile(self.path).read("99")
    with self.assertRaisesRegex(FileNotFoundError, "::one: no such record"):
      RecordFile(self.path).read("one")
    self.path.with_suffix(".idx").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "train.idx: no such file"):
      RecordFile(self.path)
    with self.assertRaisesRegex(FileNotFoundError, "gone.rec: no such file"):
      RecordFile(self.folder / "gone.rec")


class NamesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "train.lst"

  @parameterized.named_parameters(
    (
      "insightface",
      "1\t/raid5data/CASIA/0000045/001.jpg\t0\n"
      "1\t/raid5data/CASIA/0000045/003.jpg\t0\n"
      "1\tD:\\CASIA\\0000099\\001.jpg\t1\n",
    ),
    (
      "im2rec",
      "3\t1.000000\t0000099/001.jpg\n8\t5.0\tother/1.jpg\n"
      "1\t0.000000\t0000045/001.jpg\n2\t0.000000\t0000045/003.jpg\n",
    ),
  )
  def test_people_have_their_folders_names(self, content):
    self.path.write_text(content)
    self.assertEqual(
      read_names(self.path, {1: 0, 2: 0, 3: 1}),
      {1: "0000045", 2: "0000045", 3: "0000099"},
    )

  @parameterized.named_parameters(
    ("one_short", "1\ta/1.jpg\t0\n", "expected a line for record 2"),
    ("label", "1\ta/1.jpg\t7\n", "line 1: expected label 0, as record 1"),
    ("shared", "1\ta/1.jpg\t0\n1\ta/2.jpg\t1\n", "line 2: 'a' has label 1"),
    ("nobody", "1\t1.jpg\t0\n", "line 1: expected a folder a person"),
    ("spaces", "1 a/1.jpg 0\n", "line 1: expected 3 fields between tabs"),
  )
  def test_a_list_that_does_not_fit_is_named(self, content, problem):
    self.path.write_text(content)
    with self.assertRaisesRegex(ValueError, f"train.lst.*{problem}"):
      read_names(self.path, {1: 0, 2: 1})


def _label(content: bytes, value: float) -> bytes:
  """The first record, with one label of this value in its header."""
  return content[:8] + struct.pack("<If", 0, value) + content[16:]


if __name__ == "__main__":
  absltest.main()
