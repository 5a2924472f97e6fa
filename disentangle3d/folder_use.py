"""Folders that are written over time, by one process at once."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import re
import socket
import time

from disentangle3d.output_files import check_folder
from disentangle3d.stores import in_store
from disentangle3d.types import UserError

try:
  import fcntl
except ModuleNotFoundError:  # Windows
  fcntl = None  # type: ignore[assignment]

_MARK = re.compile(r"\.in-use-(\d+)-of-(\d+)")
# Who starts another part looks at the marks of all for a moment.
_TRIES, _BETWEEN_S = 5, 0.1


@contextlib.contextmanager
def sole_use(
  folder: str | os.PathLike[str], *, part: int = 0, parts: int = 1
) -> Iterator[bool]:
  """Keeps a folder from being written by two processes at once.

  A mark in the folder says who writes there. The system holds it (flock), also
  over NFS, and lets go of it however the process ends: the mark of one that was
  killed is in nobody's way. Where a file system has no such locks, nobody is
  kept out; nor is anybody from a store.

  Args:
    folder: Made with its parents; taken away at the end if it is still empty.
    part: Which part of it is written, from 0.
    parts: Of how many; the others' may be written meanwhile.

  Yields:
    Whether nobody writes another part.

  Raises:
    UserError: Another process writes there, or the folder cannot be written
      to; says who, or why.
  """
  if in_store(folder):
    yield True
    return
  folder = pathlib.Path(os.path.abspath(folder))
  check_folder(folder)
  made = [place for place in (folder, *folder.parents) if not place.exists()]
  mark = folder / f".in-use-{part}-of-{parts}"
  try:
    folder.mkdir(parents=True, exist_ok=True)
    file = _take(mark)
  except OSError as error:
    _remove_empty(made)
    raise UserError(
      f"{folder}: cannot be written to ({error.strerror}); mend that, or give"
      " another folder"
    ) from error
  try:
    yield not _others(folder, part, parts)
  finally:
    # A mark without a name is not taken by those who have it open.
    mark.unlink(missing_ok=True)
    os.close(file)
    _remove_empty(made)


def is_mark(name: str) -> bool:
  """Whether a file of this name only says who writes to its folder."""
  return _MARK.fullmatch(name) is not None


def _take(mark: pathlib.Path) -> int:
  """The descriptor of a mark, which is this process's until it is closed."""
  for _ in range(_TRIES):
    file = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
    if _locked(file) and _is_named(file, mark):
      os.truncate(file, 0)
      since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
      owner = f"process {os.getpid()} on host {socket.gethostname()}"
      os.write(file, f"{owner} since {since}".encode())
      return file
    told = _read(file)
    os.close(file)
    time.sleep(_BETWEEN_S)
  raise _in_use(mark.parent, told)


def _others(folder: pathlib.Path, part: int, parts: int) -> list[str]:
  """Who writes other parts; one of another cut must not be written."""
  found = []
  for mark in folder.iterdir():
    cut = _MARK.fullmatch(mark.name)
    if cut is None or (int(cut[1]), int(cut[2])) == (part, parts):
      continue
    with contextlib.suppress(FileNotFoundError), mark.open("r+b") as file:
      if _locked(file.fileno()):
        continue
      found.append(_read(file.fileno()))
      if int(cut[2]) != parts:
        raise _in_use(folder, found[-1])
  return found


def _locked(file: int) -> bool:
  """Takes the lock of an open file; whether nobody else has it."""
  if fcntl is None:
    return True
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:  # This file system has no locks.
    return True
  return True


def _is_named(file: int, mark: pathlib.Path) -> bool:
  """Whether an open mark is there still: its owner takes it away at the end."""
  try:
    return os.path.samestat(os.fstat(file), os.stat(mark))
  except FileNotFoundError:
    return False


def _read(file: int) -> str:
  os.lseek(file, 0, os.SEEK_SET)
  return os.read(file, 400).decode("utf-8", "replace") or "another process"


def _in_use(folder: pathlib.Path, owner: str) -> UserError:
  return UserError(
    f"{folder}: in use by {owner}; wait for its end, or give another folder"
  )


def _remove_empty(folders: list[pathlib.Path]) -> None:
  """Takes away folders, inner ones first, that have nothing in them."""
  for folder in folders:
    try:
      folder.rmdir()
    except OSError:
      return
