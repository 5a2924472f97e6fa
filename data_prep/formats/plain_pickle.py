"""Reads pickles of nothing but lists, tuples, bytes and bools.

Unpickling runs what a file says. Here the opcodes that these four need are
read (protocols 0 to 5, of Python 2 and 3) and all others are refused: nothing
is imported, called or constructed by name, and nothing is larger in memory
than in the file.
"""

import codecs
from collections.abc import Callable
import os
import pathlib
import struct
from typing import Any

_BYTES = {b"B": "<I", b"C": "<B", b"\x8e": "<Q", b"T": "<I", b"U": "<B"}
_TEXT = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q"}
_SKIPPED = {b"\x80": 1, b"\x95": 8}  # the protocol; a frame's length
_PUT = {b"q": "<B", b"r": "<I"}
_GET = {b"h": "<B", b"j": "<I"}
_TUPLE = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
_BOOL = {b"\x88": True, b"\x89": False}
_MARK = object()


def read_plain_pickle(path: str | os.PathLike[str]) -> Any:
  """What a file's pickle holds.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It is no pickle, or one of something else; names file, byte
      offset and problem.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file")
  reader = _Reader(path.read_bytes())
  try:
    return reader.read()
  except (ValueError, LookupError) as error:
    raise ValueError(
      f"{path}, byte {reader.opcode_at}: expected a pickle of lists, bytes and"
      f" bools, {error}"
    ) from error


class _Reader:
  """A pickle's stack and memo; raises ValueError or LookupError."""

  def __init__(self, content: bytes) -> None:
    self.opcode_at = 0
    self._content = content
    self._at = 0
    self._stack: list[Any] = []
    self._memo: dict[int, Any] = {}

  def read(self) -> Any:
    while True:
      self.opcode_at = self._at
      opcode = self._take(1)
      if opcode == b".":
        return self._pop()
      self._run(opcode)

  def _run(self, opcode: bytes) -> None:
    stack = self._stack
    if opcode in _SKIPPED:
      self._take(_SKIPPED[opcode])
    elif opcode in _BYTES:
      stack.append(self._take(self._number(_BYTES[opcode])))
    elif opcode in _TEXT:
      text = self._take(self._number(_TEXT[opcode]))
      stack.append(text.decode("utf-8", "surrogatepass"))
    elif opcode in _BOOL:
      stack.append(_BOOL[opcode])
    elif opcode == b"(":
      stack.append(_MARK)
    elif opcode == b"]":
      stack.append([])
    elif opcode in (b"l", b"t"):
      items = self._pop_to_mark()
      stack.append(items if opcode == b"l" else tuple(items))
    elif opcode in _TUPLE:
      items = [self._pop() for _ in range(_TUPLE[opcode])]
      stack.append(tuple(reversed(items)))
    elif opcode in (b"a", b"e"):
      items = [self._pop()] if opcode == b"a" else self._pop_to_mark()
      if not stack or not isinstance(stack[-1], list):
        raise ValueError("got items for what is no list")
      stack[-1].extend(items)
    elif opcode == b"\x94":
      self._memo[len(self._memo)] = self._top()
    elif opcode in _PUT:
      self._memo[self._number(_PUT[opcode])] = self._top()
    elif opcode == b"p":
      self._memo[int(self._line())] = self._top()
    elif opcode in _GET:
      stack.append(self._memo[self._number(_GET[opcode])])
    elif opcode == b"g":
      stack.append(self._memo[int(self._line())])
    else:
      self._run_old(opcode)

  def _run_old(self, opcode: bytes) -> None:
    """What protocols below 3 write for bytes, and 0 and 1 for bools."""
    if opcode == b"I":
      line = self._line()
      if line not in (b"00", b"01"):
        raise ValueError(f"got a number, {line[:20].decode('latin-1')}")
      self._stack.append(line == b"01")
    elif opcode == b"S":
      line = self._line()
      if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
        raise ValueError("got a string without quotes")
      self._stack.append(codecs.escape_decode(line[1:-1])[0])
    elif opcode == b"V":
      self._stack.append(self._line().decode("raw-unicode-escape"))
    elif opcode == b"c":
      name = (self._line() + b" " + self._line()).decode("latin-1")
      if name not in _FUNCTIONS:
        raise ValueError(f"got {name[:60]!r}")
      self._stack.append(_FUNCTIONS[name])
    elif opcode == b"R":
      arguments, function = self._pop(), self._pop()
      if function not in _FUNCTIONS.values() or (
        not isinstance(arguments, tuple)
      ):
        raise ValueError("got a call")
      self._stack.append(function(arguments))
    else:
      raise ValueError(f"got the opcode {opcode!r}")

  def _take(self, count: int) -> bytes:
    taken = self._content[self._at : self._at + count]
    if len(taken) < count:
      raise ValueError(f"got {len(taken)} bytes instead of {count} at its end")
    self._at += count
    return taken

  def _number(self, layout: str) -> int:
    return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

  def _line(self) -> bytes:
    end = self._content.find(b"\n", self._at)
    if end < 0:
      raise ValueError("got a line without an end")
    line = self._content[self._at : end]
    self._at = end + 1
    return line

  def _top(self) -> Any:
    if not self._stack:
      raise ValueError("got nothing where a value is needed")
    return self._stack[-1]

  def _pop(self) -> Any:
    self._top()
    return self._stack.pop()

  def _pop_to_mark(self) -> list[Any]:
    items = []
    while (item := self._pop()) is not _MARK:
      items.append(item)
    return items[::-1]


def _encode(arguments: tuple[Any, ...]) -> bytes:
  """How Python 3 writes bytes for Python 2: as text, each character a byte."""
  if (
    len(arguments) != 2
    or arguments[1] != "latin1"
    or (not isinstance(arguments[0], str))
  ):
    raise ValueError("got a call of _codecs.encode for something else")
  return arguments[0].encode("latin-1")


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
  """The same for b""."""
  if arguments:
    raise ValueError("got a call of bytes for something else")
  return b""


_FUNCTIONS: dict[str, Callable[[tuple[Any, ...]], bytes]] = {
  "_codecs encode": _encode,
  "__builtin__ bytes": _no_bytes,
  "builtins bytes": _no_bytes,
}
