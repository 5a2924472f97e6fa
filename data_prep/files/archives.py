"""Reads the members of zip and tar files without unpacking them.

Nothing is written, no link is followed, and a member's name is only ever a key
in a dictionary. Threads may share an archive. A compressed tar can only be read
forwards, so its members are best read in the order of `names`.
"""

import bz2
from collections.abc import Callable, Sequence
import gzip
import io
import lzma
import os
import pathlib
import struct
import tarfile
import threading
from typing import IO, Any
import zipfile
import zlib

from disentangle3d.input_files import existing_file
from disentangle3d.stores import in_store, read_range
from disentangle3d.types import UserError, UserFileNotFoundError

# No photo is larger, so nothing larger is read or unpacked in one piece.
_MOST_BYTES = 1 << 28
_COMPRESSED_TAR: dict[bytes, Callable[..., Any]] = {
  b"\x1f\x8b": gzip.open,
  b"BZ": bz2.open,
  b"\xfd7": lzma.open,
}
# What Python's readers raise on files that are not what they claim to be.
_BROKEN = (
  zipfile.BadZipFile,
  tarfile.TarError,
  zlib.error,
  lzma.LZMAError,
  struct.error,
  EOFError,
  OSError,
  OverflowError,
  RuntimeError,
  IndexError,
  ValueError,
)


class ZipArchive:
  """The members of one zip file.

  Attributes:
    in_order: Whether members should be read in the order of `names`.
    links: Members that are no files but point to some.
  """

  in_order = False
  links: Sequence[str] = ()

  def __init__(self, path: str | os.PathLike[str]) -> None:
    """Reads the directory.

    Raises:
      UserFileNotFoundError: There is no such file.
      UserError: It is no zip file, or a member's name leads out of it.
    """
    self.path = existing_file(path)
    try:
      self._file = zipfile.ZipFile(
        self.path.open("rb") if in_store(self.path) else self.path
      )
    except _BROKEN as error:
      raise UserError(
        f"{self.path}: expected a zip file, got one that cannot be read"
        f" ({error})"
      ) from error
    self._members = {
      _safe_name(member.filename, self.path, member.header_offset): member
      for member in self._file.infolist()
      if not member.filename.endswith(("/", "\\"))
    }

  def names(self) -> list[str]:
    """The members' names."""
    return list(self._members)

  def read(self, name: str) -> bytes:
    """One member's content.

    Raises:
      UserFileNotFoundError: There is no such member.
      UserError: The member is broken, encrypted or too large; names file,
        member, byte offset and problem.
    """
    member = _find(self._members, name, self.path)
    here = f"{self.path}::{name}: broken member: byte {member.header_offset}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise UserError(
        f"{here}: expected a stored or a deflated one, got method"
        f" {member.compress_type}"
      )
    size = member.file_size
    if max(size, member.compress_size) > _MOST_BYTES:
      raise UserError(
        f"{here}: expected at most {_MOST_BYTES} bytes, got {size}"
      )
    try:
      with self._file.open(member) as file:
        content = file.read(size)
    except _BROKEN as error:
      raise UserError(f"{here}: {error}") from error
    if len(content) != size:
      raise UserError(f"{here}: expected {size} bytes, got {len(content)}")
    return content


class TarArchive:
  """The regular files of one tar file, plain or under gzip, bzip2 or xz.

  Attributes:
    in_order: Whether members should be read in the order of `names`.
    links: Members that are no files but point to some.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    """Reads all headers, for which a compressed file is unpacked once.

    Raises:
      UserFileNotFoundError: There is no such file.
      UserError: It is no tar file, is cut off, or a member's name leads out
        of it; names file and byte offset.
    """
    self.path = existing_file(path)
    with self.path.open("rb") as file:
      self._open = _COMPRESSED_TAR.get(file.read(2))
    self._stream: IO[bytes] | None = None
    self._lock = threading.Lock()
    found: list[tarfile.TarInfo] = []
    offset = 0
    try:
      with _Bounded(self._opened()) as stream:
        with tarfile.open(fileobj=stream, mode="r:") as file:
          for member in file:
            found.append(member)
            offset = file.offset
        _check_end(stream, offset)
    except _BROKEN as error:
      raise UserError(
        f"{self.path}, byte {offset}: expected a tar file, got one that cannot"
        f" be read ({error})"
      ) from error
    self.in_order = self._open is not None
    self.links: Sequence[str] = [
      member.name for member in found if member.issym() or member.islnk()
    ]
    self._members = {
      _safe_name(member.name, self.path, member.offset): (
        member.offset_data,
        member.size,
      )
      for member in found
      if member.isreg() and not member.issparse()
    }

  def names(self) -> list[str]:
    """The members' names, in the file's order."""
    return list(self._members)

  def read(self, name: str) -> bytes:
    """One member's content.

    Raises:
      UserFileNotFoundError: There is no such member.
      UserError: The member is broken or too large; names file, member, byte
        offset and problem.
    """
    offset, size = _find(self._members, name, self.path)
    here = f"{self.path}::{name}: broken member: byte {offset}"
    if size > _MOST_BYTES:
      raise UserError(
        f"{here}: expected at most {_MOST_BYTES} bytes, got {size}"
      )
    try:
      if self._open is None:
        content = read_range(self.path, offset, size)
      else:
        with self._lock:
          if self._stream is None:
            self._stream = self._opened()
          self._stream.seek(offset)
          content = self._stream.read(size)
    except _BROKEN as error:
      raise UserError(f"{here}: {error}") from error
    if len(content) != size:
      raise UserError(f"{here}: expected {size} bytes, got {len(content)}")
    return content

  def __del__(self) -> None:
    stream = getattr(self, "_stream", None)
    if stream is not None:
      stream.close()

  def _opened(self) -> IO[bytes]:
    opener: Callable[..., Any] = self._open or open
    if not in_store(self.path):
      return opener(self.path, "rb")
    file = self.path.open("rb")
    return opener(file, "rb") if self._open else file


class _Bounded(io.RawIOBase):
  """Keeps a lying length from being read into memory in one piece."""

  def __init__(self, file: IO[bytes]) -> None:
    self._file = file

  def read(self, size: int = -1) -> bytes:
    if not 0 <= size <= _MOST_BYTES:
      raise UserError(f"expected at most {_MOST_BYTES} bytes, got {size}")
    return self._file.read(size)

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    return self._file.seek(offset, whence)

  def tell(self) -> int:
    return self._file.tell()

  def close(self) -> None:
    self._file.close()
    super().close()


def _check_end(stream: _Bounded, offset: int) -> None:
  """Raises where a tar does not end as one: tarfile itself just stops."""
  stream.seek(offset)
  block = stream.read(tarfile.BLOCKSIZE)
  if block.strip(b"\0") or len(block) not in (0, tarfile.BLOCKSIZE):
    raise UserError("expected a member's header or the end")


def _find(members: dict[str, Any], name: str, path: pathlib.Path) -> Any:
  if name not in members:
    raise UserFileNotFoundError(f"{path}::{name}: no such member")
  return members[name]


def _safe_name(name: str, path: pathlib.Path, offset: int) -> str:
  """A member's name, `a/b.png`; refuses what would lead out of the archive."""
  plain = pathlib.PurePosixPath(name.replace("\\", "/"))
  windows = pathlib.PureWindowsPath(name)
  if plain.is_absolute() or windows.drive or ".." in plain.parts:
    raise UserError(
      f"{path}, byte {offset}: expected members inside the archive, got"
      f" {name[:60]!r}"
    )
  return plain.as_posix()
