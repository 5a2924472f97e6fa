"""Reads `.npz` and `.npy` files, array by array, objects by stand-ins only.

Sizes are checked before anything is allocated, and object arrays, which are
pickles, go through `pickled_arrays`.
"""

from collections.abc import Iterator, Mapping
import contextlib
import math
import pathlib
from typing import IO, Any, NamedTuple
import zipfile

import numpy as np

from data_prep.files.pickled_arrays import RESEARCH_OBJECTS, as_array
from data_prep.files.restricted_pickle import load_pickle
from disentangle3d.types import UserError

# Deflate makes at most 1,032 bytes of one.
_MOST_EXPANSION = 1_032
_BLOCK_BYTES = 64 * 2**20


class _Header(NamedTuple):
  shape: tuple[int, ...]
  fortran: bool
  dtype: np.dtype


class NpzFile:
  """An open `.npz`; use `open_npz`.

  Attributes:
    where: The file's name, for messages.
    names: The arrays in it.
  """

  def __init__(self, path: pathlib.Path, archive: zipfile.ZipFile):
    self.where = str(path)
    self._archive = archive
    self._size = path.stat().st_size
    self._members = {
      info.filename.removesuffix(".npy"): info
      for info in archive.infolist()
      if info.filename.endswith(".npy")
    }
    self.names = tuple(self._members)

  def array(self, name: str) -> np.ndarray:
    """A whole array; of an object array, what was pickled.

    Raises:
      UserError: There is none of this name, or it is damaged.
    """
    with self._opened(name) as (stream, where, size):
      return _read_array(stream, size, where)

  def row_blocks(self, name: str) -> Iterator[np.ndarray]:
    """A numeric array in blocks of rows, for one that is large.

    Raises:
      UserError: There is none of this name, it is damaged, has no rows or is
        stored column by column.
    """
    with self._opened(name) as (stream, where, size):
      header = _read_header(stream, size, where)
      if header.fortran or not header.shape or header.dtype.hasobject:
        raise UserError(f"{where}: expected numbers stored row by row")
      row = math.prod(header.shape[1:])
      bytes_ = max(row * header.dtype.itemsize, 1)
      step = max(_BLOCK_BYTES // bytes_, 1)
      for first in range(0, header.shape[0], step):
        count = min(step, header.shape[0] - first)
        content = _read_exactly(stream, count * bytes_ * (row > 0), where)
        yield _finite(
          np.frombuffer(content, header.dtype).reshape(
            count, *header.shape[1:]
          ),
          where,
        )

  @contextlib.contextmanager
  def _opened(self, name: str) -> Iterator[tuple[IO[bytes], str, int]]:
    where = f"{self.where}: {name}"
    if name not in self._members:
      raise UserError(f"{where}: expected an array of this name, got none")
    info = self._members[name]
    packed = min(info.compress_size, self._size)
    if info.file_size > _MOST_EXPANSION * packed:
      raise UserError(
        f"{where}: expected a size that fits in {packed} bytes, got"
        f" {info.file_size}"
      )
    with _errors(where), self._archive.open(info) as stream:
      yield stream, where, info.file_size


@contextlib.contextmanager
def open_npz(path: pathlib.Path) -> Iterator[NpzFile]:
  """Opens an `.npz`.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no zip file; names it.
  """
  with path.open("rb") as file:
    with _errors(str(path)):
      archive = zipfile.ZipFile(file)
    with archive:
      yield NpzFile(path, archive)


def read_npy_dict(path: pathlib.Path) -> dict[str, Any]:
  """The dict that an `.npy` file holds (`np.save` of a dict).

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It holds something else; names it.
  """
  where = str(path)
  with path.open("rb") as file, _errors(where):
    content = _read_array(file, path.stat().st_size, where)
  found = content.reshape(-1)[0] if content.size == 1 else None
  if not isinstance(found, Mapping):
    raise UserError(f"{where}: expected one dict in the array, got another")
  return {str(key): value for key, value in found.items()}


def _read_array(stream: IO[bytes], size: int, where: str) -> np.ndarray:
  header = _read_header(stream, size, where)
  if header.dtype.hasobject:
    return as_array(
      load_pickle(
        _read_exactly(stream, None, where),
        where=where,
        stand_ins=RESEARCH_OBJECTS,
        encoding="latin1",
      ),
      where,
    )
  count = math.prod(header.shape) * header.dtype.itemsize
  array = np.frombuffer(_read_exactly(stream, count, where), header.dtype)
  return _finite(
    array.reshape(header.shape, order="F" if header.fortran else "C"), where
  )


def _read_header(stream: IO[bytes], size: int, where: str) -> _Header:
  version = np.lib.format.read_magic(stream)
  reader = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if reader is None:
    raise UserError(f"{where}: expected .npy version 1 or 2, got {version}")
  header = _Header(*reader(stream))
  numbers = math.prod(header.shape) * header.dtype.itemsize
  known = header.dtype.hasobject or header.dtype.kind in "biufSU"
  if not known or min(header.shape, default=0) < 0:
    raise UserError(f"{where}: expected numbers, got {header.dtype}")
  if not header.dtype.hasobject and numbers > size:
    raise UserError(
      f"{where}: expected {numbers} bytes for {list(header.shape)} of"
      f" {header.dtype}, got {size} at most"
    )
  return header


def _read_exactly(stream: IO[bytes], count: int | None, where: str) -> bytes:
  content = stream.read() if count is None else stream.read(count)
  if count is not None and len(content) != count:
    raise UserError(
      f"{where}: expected {count} bytes of numbers, got {len(content)}"
    )
  return content


def _finite(array: np.ndarray, where: str) -> np.ndarray:
  if array.dtype.kind == "f" and not np.isfinite(array).all():
    raise UserError(f"{where}: expected finite numbers, got NaN or inf")
  return array


@contextlib.contextmanager
def _errors(where: str) -> Iterator[None]:
  """Turns whatever damaged bytes raise into a UserError that names them."""
  try:
    yield
  except ValueError as error:
    if str(error).startswith(where):
      raise
    raise _damaged(where, error) from error
  # zipfile and NumPy raise whatever damaged bytes make them raise.
  except Exception as error:
    raise _damaged(where, error) from error


def _damaged(where: str, error: Exception) -> UserError:
  return UserError(
    f"{where}: expected NumPy arrays, got a file that cannot be read as such"
    f" ({type(error).__name__}: {error})"
  )
