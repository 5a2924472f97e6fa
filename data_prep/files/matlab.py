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
_CELL, _CHAR = 1, 4
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
  reader = _Reader(content, order, f"{path}, byte")
  reader.at = _HEADER_BYTES
  while reader.at < len(content):
    variable = _unpacked(reader, reader.element(), names)
    if variable is not None:
      name, value = variable
      found[name] = value
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
class _Element:
  """One element: its type, where its bytes begin, and how many they are."""

  kind: int
  start: int
  length: int


class _Reader:
  """Elements one after the other out of bytes in memory."""

  def __init__(
    self, content: bytes, order: Literal["<", ">"], where: str
  ) -> None:
    self.content = content
    self.order = order
    self.where = where
    self.at = 0

  def error(self, problem: str, at: int | None = None) -> UserError:
    place = self.at if at is None else at
    return UserError(f"{self.where} {place}: {problem}")

  def element(self, end: int | None = None) -> _Element:
    """The next one, which must lie before `end`; goes on behind it."""
    end = len(self.content) if end is None else end
    start = self.at
    if start + 8 > end:
      raise self.error("expected an element, got the end")
    kind, length = struct.unpack_from(f"{self.order}2I", self.content, start)
    if kind >> 16:  # a short one
      found = _Element(kind & 0xFFFF, start + 4, kind >> 16)
      self.at = start + 8
      if found.length > 4:
        raise self.error(f"expected up to 4 bytes, got {found.length}", start)
      return found
    found = _Element(kind, start + 8, length)
    if start + 8 + length > end:
      raise self.error(
        f"expected {length} bytes, got {end - start - 8} to the end", start
      )
    padding = 0 if kind == _COMPRESSED else -length % 8
    self.at = min(found.start + length + padding, end)
    return found

  def bytes(self, element: _Element) -> bytes:
    return self.content[element.start : element.start + element.length]

  def numbers(self, element: _Element) -> np.ndarray:
    """The numbers of an element, `[n]`, in the file's type."""
    if element.kind not in _NUMBERS:
      raise self.error(
        f"expected numbers, got type {element.kind}", element.start
      )
    dtype = np.dtype(_NUMBERS[element.kind]).newbyteorder(self.order)
    if element.length % dtype.itemsize:
      raise self.error(
        f"expected numbers of {dtype.itemsize} bytes, got {element.length}",
        element.start,
      )
    return np.frombuffer(self.bytes(element), dtype)


def _unpacked(
  reader: _Reader, element: _Element, names: Sequence[str]
) -> tuple[str, Any] | None:
  """One variable's name and value, if it is asked for."""
  if element.kind == _MATRIX:
    head = _read_head(reader, element)
    if head.name in names:
      return head.name, _read_value(reader, element, head)
    return None
  if element.kind != _COMPRESSED:
    raise reader.error(
      f"expected a variable, got type {element.kind}", element.start
    )
  try:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(reader.bytes(element), _MOST_BYTES)
  except zlib.error as error:
    raise reader.error(
      f"compressed variable: {error}", element.start
    ) from error
  if not unpacker.eof:
    raise reader.error(
      f"compressed variable: expected its end within {_MOST_BYTES} bytes, got"
      f" {len(content)} without",
      element.start,
    )
  where = f"{reader.where} {element.start}, unpacked byte"
  inner = _Reader(content, reader.order, where)
  variable = inner.element()
  if variable.kind != _MATRIX:
    raise inner.error(f"expected a variable, got type {variable.kind}", 0)
  return _unpacked(inner, variable, names)


@dataclasses.dataclass
class _Head:
  """What stands before a variable's content; `at` is where that begins."""

  kind: int
  is_complex: bool
  shape: tuple[int, ...]
  name: str
  at: int


def _read_head(reader: _Reader, element: _Element) -> _Head:
  after = reader.at
  end = element.start + element.length
  reader.at = element.start
  flags = reader.numbers(reader.element(end))
  if flags.dtype.itemsize != 4 or len(flags) != 2:
    raise reader.error("expected a variable's flags", element.start)
  shape = reader.numbers(reader.element(end))
  if len(shape) < 2 or shape.dtype.kind not in "iu" or (shape < 0).any():
    raise reader.error("expected a variable's dimensions", element.start)
  name = reader.bytes(reader.element(end)).decode("latin-1")
  head = _Head(
    kind=int(flags[0]) & 0xFF,
    is_complex=bool(int(flags[0]) >> 8 & _COMPLEX),
    shape=tuple(int(size) for size in shape),
    name=name,
    at=reader.at,
  )
  reader.at = after
  return head


def _read_value(
  reader: _Reader, element: _Element, head: _Head, depth: int = 0
) -> Any:
  end = element.start + element.length
  after, reader.at = reader.at, head.at
  value: Any
  count = 1
  for size in head.shape:
    count *= size
  if head.kind in _NUMERIC and not head.is_complex:
    numbers = reader.numbers(reader.element(end))
    if len(numbers) != count:
      raise reader.error(
        f"{head.name}: expected {count} numbers, got {len(numbers)}", head.at
      )
    value = numbers.astype(np.float64).reshape(head.shape, order="F")
  elif head.kind == _CHAR:
    value = _read_text(reader, reader.element(end), head)
  elif head.kind == _CELL and depth < _MOST_NESTED:
    if count * 8 > end - head.at:
      raise reader.error(
        f"{head.name}: expected {count} cells, got {end - head.at} bytes",
        head.at,
      )
    value = []
    for _ in range(count):
      cell = reader.element(end)
      if cell.kind != _MATRIX:
        raise reader.error(
          f"{head.name}: expected a cell, got type {cell.kind}", cell.start
        )
      if not cell.length:  # how MATLAB writes an empty one
        value.append(np.zeros((0, 0)))
        continue
      cell_head = _read_head(reader, cell)
      value.append(_read_value(reader, cell, cell_head, depth + 1))
  else:
    raise reader.error(
      f"{head.name}: expected real numbers, a text or a cell array, got class"
      f" {head.kind}",
      head.at,
    )
  reader.at = after
  return value


def _read_text(reader: _Reader, element: _Element, head: _Head) -> str:
  if head.shape[0] > 1:
    raise reader.error(
      f"{head.name}: expected one line of text, got {head.shape[0]}", head.at
    )
  if element.kind not in _TEXTS:
    raise reader.error(
      f"{head.name}: expected a text, got type {element.kind}", element.start
    )
  encoding = _TEXTS[element.kind]
  if encoding == "utf-16":
    encoding += "-le" if reader.order == "<" else "-be"
  try:
    return reader.bytes(element).decode(encoding)
  except UnicodeDecodeError as error:
    raise reader.error(f"{head.name}: {error}", element.start) from error
