"""Writes pickles as Python 2's cPickle did (protocol 2), by hand.

Only what the published models hold: text, integers, tuples, dicts, NumPy
arrays and objects of libraries that need not be installed.
"""

import dataclasses
import struct
from typing import Any

import numpy as np


@dataclasses.dataclass
class Array:
  array: np.ndarray


@dataclasses.dataclass
class Object:
  """A new-style object whose state is a dict."""

  module: str
  name: str
  state: dict[str, Any]


def dumps(value: Any) -> bytes:
  return b"\x80\x02" + _value(value) + b"."


def _value(value: Any) -> bytes:
  match value:
    case None:
      return b"N"
    case bool():
      return b"\x88" if value else b"\x89"
    case int():
      return b"J" + struct.pack("<i", value)
    case str() | bytes():
      text = value.encode("latin1") if isinstance(value, str) else value
      if len(text) < 256:
        return b"U" + bytes([len(text)]) + text
      return b"T" + struct.pack("<i", len(text)) + text
    case tuple():
      return b"(" + b"".join(map(_value, value)) + b"t"
    case dict():
      items = (_value(k) + _value(v) for k, v in value.items())
      return b"}(" + b"".join(items) + b"u"
    case Array():
      return _array(np.asarray(value.array))
    case Object():
      made = f"c{value.module}\n{value.name}\n".encode() + b")\x81"
      return made + _value(value.state) + b"b"
    case _:
      raise TypeError(type(value))


def _array(array: np.ndarray) -> bytes:
  fortran = array.flags.f_contiguous and not array.flags.c_contiguous
  dtype = (
    b"cnumpy\ndtype\n"
    + _value((array.dtype.str[1:], 0, 1))
    + b"R"
    + _value((3, array.dtype.str[0], None, None, None, -1, -1, 0))
    + b"b"
  )
  content = _value(array.tobytes("F" if fortran else "C"))
  state = _value(1) + _value(array.shape) + dtype + _value(fortran) + content
  return (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    + _value((0,))
    + _value("b")
    + b"tR("
    + state
    + b"tb"
  )
