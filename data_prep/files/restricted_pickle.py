"""Reads pickles without doing what they say.

A pickle is a program: it names classes and functions and has them called.
Here nothing is imported. Each name that a format needs has a stand-in written
by us, any other name ends the reading (unless the format may hold objects of
anyone's, which then do nothing), and so do lengths and indices that lie.
"""

from collections.abc import Callable, Container, Iterator, Mapping
import io
import pickle
import pickletools
from typing import Any, NoReturn

from disentangle3d.types import UserError

# What a stand-in may be: a class derived from `Inert`, or a function.
StandIns = Mapping[str, Callable[..., Any]]

# They run code or lead out of the file; data has no use for them.
_FORBIDDEN = {
  *("PERSID", "EXT1", "EXT2", "EXT4"),
  *("INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER"),
}
# What a pickle refers to by an id; forbidden unless the caller knows ids.
_PERSISTENT = "BINPERSID"


class Inert:
  """An object that a pickle asked for: keeps what it was given, does nothing.

  Attributes:
    arguments: What it was made with.
    state: What was stored as its state, or None.
  """

  def __init__(self, *arguments: Any):
    self.arguments = arguments
    self.state: Any = None

  def __setstate__(self, state: Any) -> None:
    self.state = state


def load_pickle(
  content: bytes,
  *,
  where: str,
  stand_ins: StandIns | None = None,
  encoding: str = "bytes",
) -> Any:
  """The data of a pickle: lists, tuples, dicts, sets, numbers, texts, bytes.

  Bytes after its end are ignored; otherwise as `load_next_pickle`.
  """
  return load_next_pickle(
    io.BytesIO(content), where=where, stand_ins=stand_ins, encoding=encoding
  )


def load_next_pickle(
  stream: io.BytesIO,
  *,
  where: str,
  stand_ins: StandIns | None = None,
  encoding: str = "bytes",
  persistent_load: Callable[[Any], Any] | None = None,
  others: Callable[[str], type[Inert]] | None = None,
) -> Any:
  """The data of the pickle at a stream's position, which moves to its end.

  Args:
    stream: With the pickle.
    where: The file's name, for messages.
    stand_ins: For each allowed global, `"module.name"`, what is called in its
      place; `"package.*"` stands for everything of a package that has no entry
      of its own.
    encoding: How Python 2's `str` is read: `"bytes"`, or an encoding as
      `"latin1"`.
    persistent_load: Gives what an id in the pickle stands for; None where
      there may be no such ids.
    others: Gives a stand-in for any other global, `"module.name"`; None
      refuses them.

  Returns:
    What was pickled.

  Raises:
    UserError: The pickle is damaged, or asks for anything else; names the
      file and the position.
  """
  allowed = {**_BYTES, **(stand_ins or {})}
  forbidden = _FORBIDDEN | (set() if persistent_load else {_PERSISTENT})
  positions = _scan(stream, where, forbidden)
  unpickler = _Unpickler(stream, encoding=encoding)
  unpickler.prepare(where, allowed, iter(positions), persistent_load, others)
  try:
    return unpickler.load()
  except _Refused as error:
    raise UserError(str(error)) from None
  # The unpickler raises whatever the bytes make it raise.
  except Exception as error:
    raise UserError(
      f"{where}: expected a pickle of plain data, got one that cannot be read"
      f" (before byte {stream.tell()}, {type(error).__name__}: {error})"
    ) from error


class _Refused(Exception):
  """A name that has no stand-in."""


class _Unpickler(pickle.Unpickler):
  """Looks names up in the list of stand-ins only."""

  def prepare(
    self,
    where: str,
    allowed: StandIns,
    positions: Iterator[int],
    persistent: Callable[[Any], Any] | None,
    others: Callable[[str], type[Inert]] | None,
  ) -> None:
    self._where = where
    self._allowed = allowed
    self._positions = positions
    self._persistent = persistent
    self._others = others

  def persistent_load(self, pid: Any) -> Any:
    if self._persistent is None:
      raise _Refused(f"{self._where}: expected no ids of other objects")
    return self._persistent(pid)

  def find_class(self, module: str, name: str) -> Any:
    position = next(self._positions)
    package = module.partition(".")[0]
    found = self._allowed.get(f"{module}.{name}") or self._allowed.get(
      f"{package}.*"
    )
    if found is None and self._others:
      found = self._others(f"{module}.{name}")
    if found is None:
      raise _Refused(
        f"{self._where}: expected a pickle of plain data, got one that asks"
        f" for {module}.{name} at byte {position}"
      )
    return found if isinstance(found, type) else _Function(found)


class _Function:
  """A stand-in whose attributes a pickle cannot change."""

  __slots__ = ("_function",)

  def __init__(self, function: Callable[..., Any]):
    self._function = function

  def __call__(self, *arguments: Any) -> Any:
    return self._function(*arguments)

  def __setstate__(self, state: Any) -> NoReturn:
    raise TypeError("a function has no state")


class _PlainLines(io.BytesIO):
  r"""Its lines are ASCII and without escapes, as `pickletools` wants strings.

  Python 2 wrote `'a\xff'`. A scan needs the ends of lines only.
  """

  def readline(self, size: int | None = -1, /) -> bytes:
    return super().readline(size).translate(_PLAIN)


_PLAIN = bytes(
  byte if byte < 128 and byte != ord("\\") else ord("?") for byte in range(256)
)


def _scan(
  content: io.BytesIO, where: str, forbidden: Container[str]
) -> list[int]:
  """Checks the opcodes; returns the positions of those that name globals.

  The stream stays where it is. The opcodes run in their order, once each, so
  the n-th name looked up is the n-th in this list.
  """
  positions: list[int] = []
  start = content.tell()
  stream = _PlainLines(content.getvalue())
  stream.seek(start)
  argument: Any
  position: Any  # None only of a stream without tell
  try:
    for count, (opcode, argument, position) in enumerate(
      pickletools.genops(stream)
    ):
      start = stream.tell()
      if opcode.name in forbidden:
        raise _Refused(f"{opcode.name} at byte {position}")
      if opcode.name in ("GLOBAL", "STACK_GLOBAL"):
        positions.append(position)
      # The unpickler makes room for the greatest index.
      stores = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
      if stores and not 0 <= argument <= count + 1:
        raise _Refused(f"the memo index {argument} at byte {position}")
  except _Refused as error:
    raise UserError(
      f"{where}: expected a pickle of plain data, got one with {error}"
    ) from None
  # pickletools raises whatever the bytes make it raise.
  except Exception as error:
    raise UserError(
      f"{where}: expected a whole binary pickle, got one that is damaged at"
      f" byte {start} ({error})"
    ) from error
  return positions


def _encoded(text: str, encoding: str) -> bytes:
  if encoding != "latin1":
    raise UserError(f"expected latin1, got {encoding}")
  return text.encode("latin1")


# How Python 3 writes bytes, and no bytes, for Python 2.
_BYTES: StandIns = {
  "_codecs.encode": _encoded,
  "__builtin__.bytes": lambda: b"",
  "builtins.bytes": lambda: b"",
}
