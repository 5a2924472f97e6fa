"""Files of a store on this machine's disk, as many as have room.

Readers of ArrayRecord want files of a disk. A file is copied when it is needed,
and checked against its checksum; copies that nobody has used for longest make
room for others. Processes of a machine may share a folder: a copy is renamed
into place whole, and what one removes another that has it open goes on reading.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import re
import tempfile
import threading
import time

from disentangle3d.output_files import new_file
from disentangle3d.stores import download, in_store
from disentangle3d.training.dataset import SplitFile, check_checksum
from disentangle3d.types import UserError

_GIB = 1 << 30
# What `staged` calls its copies, and `new_file` those that are not whole; other
# files in the folder are not ours.
_COPY = re.compile(r"\.?[0-9a-f]{16}-.+")
# A copy that nobody has written to for so long is a killed process's.
_LEFT_S = 3600


class Staging:
  """A folder of copies that are used least recently first removed."""

  def __init__(
    self,
    folder: str | os.PathLike[str] | None = None,
    *,
    most_bytes: int = 100 * _GIB,
  ):
    """Copies nothing yet.

    Args:
      folder: Of the disk; made where it is not there. None: one that goes with
        this process.
      most_bytes: What all copies in it may take.
    """
    if folder is None:
      self._own = tempfile.TemporaryDirectory()
      folder = self._own.name
    self._folder = pathlib.Path(folder)
    self._most_bytes = most_bytes
    self._lock = threading.Lock()
    self._in_use: list[str] = []

  @contextlib.contextmanager
  def staged(self, file: SplitFile) -> Iterator[pathlib.Path]:
    """The copy of a file, which stays for the block at least.

    Raises:
      UserError: It is larger than all copies may be, or is not the file that
        the manifest names.
    """
    if not in_store(file.path):
      yield file.path
      return
    copy = self._folder / f"{file.sha256[:16]}-{file.path.name}"
    with self._lock:
      self._in_use.append(copy.name)
      try:
        os.utime(copy)
      except FileNotFoundError:
        self._copy(file, copy)
    try:
      yield copy
    finally:
      with self._lock:
        self._in_use.remove(copy.name)

  def _copy(self, file: SplitFile, copy: pathlib.Path) -> None:
    self._folder.mkdir(parents=True, exist_ok=True)
    size = file.path.stat().st_size
    if size > self._most_bytes:
      raise UserError(
        f"{file.path}: expected at most {self._most_bytes} bytes to copy"
        f" ({self._folder}), got {size}; give staging more room"
      )
    self._make_room(size)
    with new_file(copy) as partial:
      download(file.path, partial)
      check_checksum(partial, {"sha256": file.sha256}, verify=True)

  def _make_room(self, size: int) -> None:
    """Removes copies until another of a size has room."""
    copies = []
    for place in self._folder.iterdir():
      if not _COPY.fullmatch(place.name):
        continue
      with contextlib.suppress(FileNotFoundError):
        about = place.stat()
        being_written = time.time() - about.st_mtime < _LEFT_S
        if place.name.startswith(".") and being_written:
          continue
        copies.append((about.st_mtime_ns, about.st_size, place))
    taken = sum(one for _, one, _ in copies)
    for _, one, place in sorted(copies):
      if taken + size <= self._most_bytes:
        return
      if place.name not in self._in_use:
        place.unlink(missing_ok=True)
        taken -= one
