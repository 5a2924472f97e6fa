"""Output that is either whole or not there."""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import os
import pathlib
import secrets
import shutil
import tempfile
from typing import Any

import numpy as np

from disentangle3d.stores import StorePath, absolute, as_path, in_store
from disentangle3d.types import UserError

_MOST_BYTES = 220


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """A file to write, which gets its name only when the block ends well.

  Args:
    path: Its name; a file of this name is replaced.

  Yields:
    The name to write under: in the same folder, or of a store's file on the
    disk, from where it is uploaded.
  """
  path = as_path(path)
  if isinstance(path, StorePath):
    with tempfile.TemporaryDirectory() as scratch:
      yield pathlib.Path(scratch) / path.name
      path.upload(pathlib.Path(scratch) / path.name)
    return
  partial = _partial(path)
  try:
    with named_errors(path):
      yield partial
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


@contextlib.contextmanager
def named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
  """Adds what is written to what the system says of a write, as a full disk.

  Args:
    path: The file or folder.
  """
  try:
    yield
  except OSError as error:
    number = error.errno
    # NumPy gives no number where a write falls short.
    if "requested and" in str(error):
      number = errno.ENOSPC
    if number is None or error.filename is not None:
      raise
    raise OSError(number, os.strerror(number), os.fspath(path)) from error


def replace_file(path: str | os.PathLike[str], content: bytes | str) -> None:
  """Writes a file, text as UTF-8, under another name, then renames it."""
  with new_file(path) as partial:
    partial.write_bytes(
      readable(content).encode() if isinstance(content, str) else content
    )


def readable(text: str) -> str:
  r"""A text that UTF-8 can say, which the name of a file need not be.

  Python keeps the bytes of such a name as lone surrogates.

  Args:
    text: E.g. `Jos\udce9`, as Python has a name in Latin-1.

  Returns:
    The same, but for those bytes, which are written out: `Jos\xe9`.
  """
  try:
    text.encode()
  except UnicodeEncodeError:
    return text.encode("utf-8", "surrogateescape").decode(
      "utf-8", "backslashreplace"
    )
  return text


def replace_npz(
  path: str | os.PathLike[str], arrays: Mapping[str, Any]
) -> None:
  """Writes arrays by name (no pickle) under another name, then renames it."""
  with new_file(path) as partial, partial.open("wb") as file:
    np.savez(file, **dict(arrays))


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """A folder to fill, which gets its name only when the block ends well.

  The folder handed out is a sibling of `path`, so that relative paths out of
  it stay right. Where the block raises, nothing is left.

  Args:
    path: The folder to make, with its parents; may exist if it is empty.

  Yields:
    The folder to write to.

  Raises:
    UserError: `path` is a file, or a folder with something in it.
  """
  path = pathlib.Path(os.path.abspath(path))
  if path.exists() and not (path.is_dir() and not any(path.iterdir())):
    raise UserError(
      f"{path}: expected a new or an empty folder to write to, got"
      f" {'one with files in it' if path.is_dir() else 'a file'}"
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = _partial(path)
  partial.mkdir()
  try:
    with named_errors(path):
      yield partial
    if path.is_dir():
      path.rmdir()
    partial.replace(path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def check_folder(path: str | os.PathLike[str]) -> None:
  """Checks that a path can become a folder; a store's always can.

  Raises:
    UserError: It is a file, would be in one or where nobody may write, or is
      no UTF-8, which the libraries that write checkpoints and records want.
  """
  if in_store(path):
    return
  path = pathlib.Path(os.path.abspath(path))
  if readable(str(path)) != str(path):
    raise UserError(
      f"{readable(str(path))}: expected a folder whose path is UTF-8 to write"
      " to, got other bytes; rename it, or give another"
    )
  for place in (path, *path.parents):
    if place.is_dir():
      if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
          f"{place}: cannot be written to (no permission); mend that, or give"
          " another folder"
        )
      return
    if place.exists():
      raise UserError(f"{place}: expected a folder to write to, got a file")


def check_space(path: str | os.PathLike[str], need_bytes: int) -> None:
  """Checks that a disk has room for what will be written; a store has.

  Args:
    path: Where to, which may be still to come.
    need_bytes: What that takes at least.

  Raises:
    UserError: There is less.
  """
  if in_store(path):
    return
  path = pathlib.Path(os.path.abspath(path))
  there = next(place for place in (path, *path.parents) if place.exists())
  free = shutil.disk_usage(there).free
  if free < need_bytes:
    raise UserError(
      f"{path}: expected {need_bytes / 1e6:,.1f} MB or more of free space, got"
      f" {free / 1e6:,.1f} MB; make room, or give another folder"
    )


def check_output_file(path: str | os.PathLike[str]) -> None:
  """Checks that a path can become a file, over one that is there.

  Raises:
    UserError: It is a folder, or see `check_folder` of the folder above.
  """
  path = absolute(path)
  if path.is_dir():
    raise UserError(f"{path}: expected a file to write to, got a folder")
  check_folder(path.parent)


def drop_half_line(path: pathlib.Path) -> None:
  """Cuts off what a kill or a full disk left of a text file's last line."""
  if path.is_file():
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
      os.truncate(path, content.rfind(b"\n") + 1)


def _partial(path: pathlib.Path) -> pathlib.Path:
  # Machines that share a folder may have processes of the same number.
  # A name may have 255 bytes with what is added.
  name = os.fsdecode(os.fsencode(path.name)[:_MOST_BYTES])
  return path.with_name(f".{name}.{secrets.token_hex(8)}.partial")
