import io
import pathlib
import tarfile
import tempfile
import zipfile

from absl.testing import absltest, parameterized

from data_prep.files.archives import TarArchive, ZipArchive

MEMBERS = {"s1/1.pgm": b"one" * 999, "s1/2.pgm": b"", "b.txt": b"\0" * 5000}


def write_zip(path: pathlib.Path, members=MEMBERS, **options) -> None:
  with zipfile.ZipFile(path, "w", **options) as file:
    for name, content in members.items():
      file.writestr(name, content)


def write_tar(path: pathlib.Path, members=MEMBERS, mode="w") -> None:
  with tarfile.open(path, mode) as file:
    for name, content in members.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      file.addfile(member, io.BytesIO(content))


class _Case(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)


class ZipArchiveTest(_Case):
  def setUp(self):
    super().setUp()
    self.path = self.folder / "set.zip"

  @parameterized.named_parameters(
    ("stored", {}), ("deflated", {"compression": zipfile.ZIP_DEFLATED})
  )
  def test_members_come_back(self, options):
    write_zip(self.path, {"dir/": b"", **MEMBERS}, **options)
    archive = ZipArchive(self.path)
    self.assertEqual(archive.names(), list(MEMBERS))
    for name in reversed(MEMBERS):
      self.assertEqual(archive.read(name), MEMBERS[name])

  def test_what_windows_programs_write_is_read(self):
    write_zip(self.path, {"s1\\1.pgm": b"one", "./s2//1.pgm": b"two"})
    archive = ZipArchive(self.path)
    self.assertEqual(archive.names(), ["s1/1.pgm", "s2/1.pgm"])
    self.assertEqual(archive.read("s1/1.pgm"), b"one")

  @parameterized.parameters(
    "../1.png", "a/../../1.png", "/etc/1.png", "C:\\1.png", "..\\1.png"
  )
  def test_a_name_that_leads_out_is_refused(self, name):
    write_zip(self.path, {"a.png": b"12", name: b""})
    with self.assertRaisesRegex(
      ValueError, r"set.zip, byte 37: expected members inside the archive"
    ):
      ZipArchive(self.path)

  def test_broken_members_are_named(self):
    write_zip(self.path, compression=zipfile.ZIP_DEFLATED)
    whole = self.path.read_bytes()
    directory = whole.index(b"PK\1\2")
    for offset, byte, problem in (
      (0, b"X", "Bad magic number"),
      (50, b"\xff", "Bad CRC-32|invalid|expected 2997 bytes"),
      (directory + 8, b"\1", "encrypted, password required"),
      (directory + 10, b"\x0c", "got method 12"),
      (directory + 16, b"\0\0\0\0", "Bad CRC-32"),
      (directory + 24, b"\1", "Bad CRC-32"),
      (directory + 24, b"\0\x10\0\0", "expected 4096 bytes, got 2997"),
      (directory + 27, b"\x7f", "expected at most 268435456 bytes"),
    ):
      content = bytearray(whole)
      content[offset : offset + len(byte)] = byte
      self.path.write_bytes(bytes(content))
      archive = ZipArchive(self.path)
      with self.assertRaisesRegex(
        ValueError, f"set.zip::s1/1.pgm: broken member: byte 0.*({problem})"
      ):
        archive.read("s1/1.pgm")
      self.assertEqual(archive.read("b.txt"), MEMBERS["b.txt"])

  def test_what_is_no_zip_is_named(self):
    write_zip(self.path)
    whole = self.path.read_bytes()
    for content in (b"", b"text", whole[:-30], whole[: len(whole) // 2]):
      self.path.write_bytes(content)
      with self.assertRaisesRegex(ValueError, "set.zip: expected a zip file"):
        ZipArchive(self.path)

  def test_what_is_missing_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "set.zip: no such file"):
      ZipArchive(self.path)
    write_zip(self.path)
    with self.assertRaisesRegex(FileNotFoundError, "::s9: no such member"):
      ZipArchive(self.path).read("s9")


class TarArchiveTest(_Case):
  @parameterized.named_parameters(
    ("plain", "set.tar", "w", False),
    ("gzip", "set.tar.gz", "w:gz", True),
    ("bzip2", "set.tar.bz2", "w:bz2", True),
    ("xz", "set.tar.xz", "w:xz", True),
    ("compressed_whatever_its_name", "set.tar", "w:gz", True),
  )
  def test_members_come_back_in_any_order(self, name, mode, in_order):
    write_tar(self.folder / name, mode=mode)
    archive = TarArchive(self.folder / name)
    self.assertEqual(archive.in_order, in_order)
    self.assertEqual(archive.names(), list(MEMBERS))
    for name in (*reversed(MEMBERS), *MEMBERS):
      self.assertEqual(archive.read(name), MEMBERS[name])

  def test_links_and_devices_are_passed_over(self):
    path = self.folder / "set.tar"
    with tarfile.open(path, "w") as file:
      for name, kind in (
        ("link.png", tarfile.SYMTYPE),
        ("hard.png", tarfile.LNKTYPE),
        ("pipe.png", tarfile.FIFOTYPE),
        ("folder.png", tarfile.DIRTYPE),
        ("./real.png", tarfile.REGTYPE),
      ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    self.assertEqual(TarArchive(path).names(), ["real.png"])

  @parameterized.parameters("../1.png", "/etc/1.png", "a/../../1.png")
  def test_a_name_that_leads_out_is_refused(self, name):
    path = self.folder / "set.tar"
    write_tar(path, {"a.png": b"12", name: b""})
    with self.assertRaisesRegex(
      ValueError, "set.tar, byte 1024: expected members inside the archive"
    ):
      TarArchive(path)

  @parameterized.named_parameters(
    ("in_a_header", 3600, "byte 3584: .*expected a member's header or the end"),
    ("in_a_member", 5000, "byte .*unexpected end of data"),
    ("before_all", 100, "byte 0: expected a tar file"),
    ("empty", 0, "byte 0: expected a tar file.*empty"),
  )
  def test_a_tar_that_is_cut_off_is_named(self, length, problem):
    path = self.folder / "set.tar"
    write_tar(path)
    path.write_bytes(path.read_bytes()[:length])
    with self.assertRaisesRegex(ValueError, f"set.tar, {problem}"):
      TarArchive(path)

  def test_a_header_that_is_damaged_is_no_end(self):
    path = self.folder / "set.tar"
    write_tar(path)
    content = bytearray(path.read_bytes())
    content[3584] = ord("X")  # the second name, so that its checksum differs
    path.write_bytes(bytes(content))
    with self.assertRaisesRegex(ValueError, "byte 3584: .*member's header"):
      TarArchive(path)

  def test_a_compressed_tar_that_is_cut_off_is_named(self):
    path = self.folder / "set.tar.gz"
    write_tar(path, mode="w:gz")
    path.write_bytes(path.read_bytes()[:-20])
    with self.assertRaisesRegex(
      ValueError, "set.tar.gz, byte .*expected a tar"
    ):
      TarArchive(path)

  def test_a_lying_length_is_not_read_into_memory(self):
    path = self.folder / "set.tar"
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with self.assertRaisesRegex(ValueError, "at most 268435456 bytes, got 429"):
      TarArchive(path)
    member = tarfile.TarInfo("a.png")
    member.size = 1 << 29
    with path.open("wb") as file:
      file.write(member.tobuf(tarfile.GNU_FORMAT))
      file.truncate((1 << 29) + 512)  # a file with a hole
    with self.assertRaisesRegex(ValueError, "a.png: .*at most 268435456 bytes"):
      TarArchive(path).read("a.png")

  def test_a_member_that_vanished_is_named(self):
    path = self.folder / "set.tar"
    write_tar(path)
    archive = TarArchive(path)
    path.write_bytes(path.read_bytes()[:600])
    with self.assertRaisesRegex(
      ValueError, "pgm: broken .*expected 2997 bytes"
    ):
      archive.read("s1/1.pgm")
    with self.assertRaisesRegex(FileNotFoundError, "::s9: no such member"):
      archive.read("s9")


if __name__ == "__main__":
  absltest.main()
