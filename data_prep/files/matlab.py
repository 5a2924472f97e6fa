"""Reads named variables of MATLAB 5 to 7 files: numbers, texts, cells of both.

Not with scipy.io.loadmat, which believes what a file says: it makes a cell
array of any size before it looks for the cells (200 bytes ask for 7 GB), and
some thousand cells in one another end the process with a segmentation fault.
whosmat cannot tell beforehand, as it does not see what cells hold. Here no
array is made before its bytes are there.

A file is 128 bytes of header and a row of elements: type u32, length u32, that
many bytes, padded to a multiple of 8 (up to 4 bytes may share the 8 of type
and length). An element of type 14 is a variable: flags, dimensions and name,
each an element, then its content; one of type 15 is another, compressed.
"""

from collections.abc import Sequence
import dataclasses
import math
import os
import struct
from typing import Any, Literal
import zlib

from jaxtyping import Float
import numpy as np

from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError

_HEADER_BYTES = 128
_ORDERS: dict[bytes, Literal["<", ">"]] = {b"IM": "<", b"MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {
  **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
  **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_CELL, _CHAR, _OBJECT = 1, 4, 17
_NUMERIC = range(6, 16)
_COMPLEX = 0x08
_MOST_BYTES = 1 << 28
_MOST_NESTED = 4


def read_mat(
  path: str | os.PathLike[str], names: Sequence[str]
) -> dict[str, Any]:
  """Reads some variables of a file.

  Args:
    path: The file.
    names: Which variables; the others are passed over.

  Returns:
    By name: an array of the dimensions MATLAB shows, float64; a str; or for a
    cell array the list of its contents, column after column. What the file has
    not is not in it.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no such file, is broken, or one of the variables is of
      another kind; names file, variable, byte offset and problem.
  """
  path = existing_file(path)
  content = path.read_bytes()
  order = _ORDERS.get(content[126:_HEADER_BYTES])
  is_hdf5 = content.startswith((b"MATLAB 7.3", b"\x89HDF"))
  if order is None or is_hdf5 or content[:4] == bytes(4):
    kind = "one of version 7.3 (save it with -v7)" if is_hdf5 else "none"
    raise UserError(f"{path}: expected a MATLAB 5 to 7 file, got {kind}")
  found: dict[str, Any] = {}
  file = _Part(content, order, f"{path}, byte", _HEADER_BYTES, len(content))
  while file.at < file.end:
    variable = _variable(file.next())
    head = _read_head(variable)
    if head.name in names:
      found[head.name] = _read_value(variable, head)
  return found


def read_arrays(
  path: str | os.PathLike[str], names: Sequence[str]
) -> dict[str, Float[np.ndarray, "..."]]:
  """Reads variables that must be there and be finite numbers.

  Args:
    path: The file.
    names: Which variables.

  Returns:
    By name, an array of the dimensions MATLAB shows, float64.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: As `read_mat`; or a variable is missing or not of finite
      numbers, named.
  """
  found = read_mat(path, names)
  missing = [name for name in names if name not in found]
  if missing:
    raise UserError(
      f"{path}: expected the variables {', '.join(names)}, got a file without"
      f" {', '.join(missing)}"
    )
  for name, value in found.items():
    if not isinstance(value, np.ndarray) or not np.isfinite(value).all():
      raise UserError(f"{path}: {name}: expected finite numbers, got others")
  return found


@dataclasses.dataclass
class _Part:
  """Bytes that hold elements one after the other, or one element's own.

  Attributes:
    content: All bytes.
    order: Of bytes in a number.
    where: Names `content`, for errors.
    at: The byte that is read next.
    end: The byte behind the last.
    kind: The element's type; 0 for a whole file.
  """

  content: bytes
  order: str
  where: str
  at: int
  end: int
  kind: int = 0

  def error(self, problem: str) -> UserError:
    return UserError(f"{self.where} {self.at}: {problem}")

  def next(self) -> "_Part":
    """The next element; goes on behind it."""
    start = self.at + 8
    if start > self.end:
      raise self.error("expected an element, got the end")
    kind, length = struct.unpack_from(f"{self.order}2I", self.content, self.at)
    if kind >> 16:  # a short one
      kind, length = kind & 0xFFFF, kind >> 16
      if length > 4:
        raise self.error(f"expected up to 4 bytes, got {length}")
      start, after = start - 4, start
    elif start + length > self.end:
      raise self.error(
        f"expected {length} bytes, got {self.end - start} to the end"
      )
    else:
      padding = 0 if kind == _COMPRESSED else -length % 8
      after = min(start + length + padding, self.end)
    self.at = after
    return dataclasses.replace(self, at=start, end=start + length, kind=kind)

  def raw(self) -> bytes:
    return self.content[self.at : self.end]

  def numbers(self) -> np.ndarray:
    """The numbers of an element, `[n]`, in the file's type."""
    if self.kind not in _NUMBERS:
      raise self.error(f"expected numbers, got type {self.kind}")
    dtype = np.dtype(self.order + _NUMBERS[self.kind])
    if (self.end - self.at) % dtype.itemsize:
      raise self.error(
        f"expected numbers of {dtype.itemsize} bytes, got {self.end - self.at}"
      )
    return np.frombuffer(self.raw(), dtype)


def _variable(part: _Part) -> _Part:
  """A variable's element, unpacked where it is compressed."""
  if part.kind == _COMPRESSED:
    try:
      unpacker = zlib.decompressobj()
      content = unpacker.decompress(part.raw(), _MOST_BYTES)
    except zlib.error as error:
      raise part.error(f"compressed variable: {error}") from error
    if not unpacker.eof:
      raise part.error(
        f"compressed variable: expected its end within {_MOST_BYTES} bytes, got"
        f" {len(content)} without"
      )
    where = f"{part.where} {part.at}, unpacked byte"
    part = _Part(content, part.order, where, 0, len(content)).next()
  if part.kind != _MATRIX:
    raise part.error(f"expected a variable, got type {part.kind}")
  return part


@dataclasses.dataclass
class _Head:
  """What stands before a variable's content."""

  kind: int
  is_complex: bool
  shape: tuple[int, ...]
  name: str


def _read_head(part: _Part) -> _Head:
  flags = part.next().numbers()
  if flags.dtype.itemsize != 4 or len(flags) != 2:
    raise part.error("expected a variable's flags")
  if int(flags[0]) & 0xFF == _OBJECT:
    # A table, a string, a date: it has no dimensions.
    name = part.next().raw().decode("latin-1")
    return _Head(kind=_OBJECT, is_complex=False, shape=(), name=name)
  shape = part.next().numbers()
  if len(shape) < 2 or shape.dtype.kind not in "iu" or (shape < 0).any():
    raise part.error("expected a variable's dimensions")
  return _Head(
    kind=int(flags[0]) & 0xFF,
    is_complex=bool(int(flags[0]) >> 8 & _COMPLEX),
    shape=tuple(int(size) for size in shape),
    name=part.next().raw().decode("latin-1"),
  )


def _read_value(part: _Part, head: _Head, depth: int = 0) -> Any:
  count = math.prod(head.shape)
  if head.kind in _NUMERIC and not head.is_complex:
    element = part.next()
    numbers = element.numbers()
    if len(numbers) != count:
      raise element.error(
        f"{head.name}: expected {count} numbers, got {len(numbers)}"
      )
    return numbers.astype(np.float64).reshape(head.shape, order="F")
  if head.kind == _CHAR:
    return _read_text(part.next(), head)
  if head.kind == _CELL and depth < _MOST_NESTED:
    if count * 8 > part.end - part.at:
      raise part.error(
        f"{head.name}: expected {count} cells, got {part.end - part.at} bytes"
      )
    return [_read_cell(part.next(), head, depth) for _ in range(count)]
  raise part.error(
    f"{head.name}: expected real numbers, a text or a cell array, got class"
    f" {head.kind}"
  )


def _read_cell(part: _Part, head: _Head, depth: int) -> Any:
  if part.kind != _MATRIX:
    raise part.error(f"{head.name}: expected a cell, got type {part.kind}")
  if part.at == part.end:  # how MATLAB writes an empty one
    return np.zeros((0, 0))
  return _read_value(part, _read_head(part), depth + 1)


def _read_text(part: _Part, head: _Head) -> str:
  if head.shape[0] > 1:
    raise part.error(
      f"{head.name}: expected one line of text, got {head.shape[0]}"
    )
  if part.kind not in _TEXTS:
    raise part.error(f"{head.name}: expected a text, got type {part.kind}")
  encoding = _TEXTS[part.kind]
  if encoding == "utf-16":
    encoding += "-le" if part.order == "<" else "-be"
  try:
    return part.raw().decode(encoding)
  except UnicodeDecodeError as error:
    raise part.error(f"{head.name}: {error}") from error
