"""Arrays out of pickles: inert stand-ins for NumPy, SciPy, chumpy and torch.

No array is made while the pickle runs. Its parts are kept as they were
written, and `as_array` puts them together afterwards, with sizes checked.
"""

from collections.abc import Callable
import math
import pathlib
import re
from typing import Any, Literal

import numpy as np

from data_prep.files.restricted_pickle import Inert, StandIns, load_pickle
from disentangle3d.types import UserError

# Booleans, integers, floats, Python objects and bytes.
_TYPE_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|O8?|\?|S[1-9]\d{0,8})")


class PickledArray(Inert):
  """What `numpy.ndarray` pickles as: its state is version, shape, ..."""


class PickledDtype(Inert):
  """What `numpy.dtype` pickles as."""


class PickledBuffer(Inert):
  """An array of pickle protocol 5: bytes, dtype, shape, order, perhaps axes."""


class PickledScalar(Inert):
  """A NumPy scalar: dtype, bytes."""


class SparseMatrix(Inert):
  """A SciPy matrix; never put together."""


class ChumpyArray(Inert):
  """`chumpy.Ch`: an array under the name x."""


class ChumpySelection(Inert):
  """`chumpy.reordering.Select`: some elements of another array."""


class OtherObject(Inert):
  """Anything else of a library that such files name, by its own class."""


def _new(kind: Any, *_: Any) -> Inert:
  """`copy_reg._reconstructor`, and what makes an array before its state."""
  if not (isinstance(kind, type) and issubclass(kind, Inert)):
    raise TypeError("expected an object of a known library")
  return kind()


def _numpy() -> dict[str, Callable[..., Any]]:
  stand_ins: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": PickledArray,
    "numpy.dtype": PickledDtype,
  }
  for core in ("numpy.core", "numpy._core"):
    stand_ins[f"{core}.multiarray._reconstruct"] = _new
    stand_ins[f"{core}.multiarray.scalar"] = PickledScalar
    stand_ins[f"{core}.numeric._frombuffer"] = PickledBuffer
  return stand_ins


ARRAYS: StandIns = _numpy()
# What Python 2 wrote of chumpy, SciPy and torch objects.
RESEARCH_OBJECTS: StandIns = {
  **ARRAYS,
  "chumpy.ch.Ch": ChumpyArray,
  "chumpy.reordering.Select": ChumpySelection,
  "chumpy.*": OtherObject,
  "scipy.*": SparseMatrix,
  "torch.*": OtherObject,
  "copy_reg._reconstructor": _new,
  "copyreg._reconstructor": _new,
  "__builtin__.object": Inert,
  "builtins.object": Inert,
  "__builtin__.set": set,
  "builtins.set": set,
  "collections.OrderedDict": dict,
}


def read_pickled_objects(path: pathlib.Path) -> dict[str, Any]:
  """A pickled dict of such objects, as Python 2 or 3 wrote it.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no such pickle; names the file.
  """
  content = load_pickle(
    path.read_bytes(),
    where=str(path),
    stand_ins=RESEARCH_OBJECTS,
    encoding="latin1",
  )
  if not isinstance(content, dict):
    raise UserError(
      f"{path}: expected a pickled dict, got a {type(content).__name__}"
    )
  return {str(key): value for key, value in content.items()}


def as_array(value: Any, where: str) -> np.ndarray:
  """The array that was pickled.

  Args:
    value: An object that came out of a pickle.
    where: File and key, for messages.

  Returns:
    An array of numbers, objects or bytes; read-only.

  Raises:
    UserError: The object is no array, or its parts disagree.
  """
  try:
    return _as_array(value)
  except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
    raise UserError(f"{where}: expected an array, got {error}") from error


def _as_array(value: Any) -> np.ndarray:
  match value:
    case PickledArray(state=(_, shape, dtype, fortran, content)):
      return _whole(content, dtype, shape, "F" if fortran else "C")
    case PickledArray(state=(shape, dtype, fortran, content)):
      return _whole(content, dtype, shape, "F" if fortran else "C")
    case PickledBuffer(arguments=(content, dtype, shape, "C" | "F" as order)):
      return _whole(content, dtype, shape, "F" if order == "F" else "C")
    case PickledBuffer(arguments=(content, dtype, shape, "K", tuple(axes))):
      # Neither order: NumPy 2 says how the axes were turned.
      return _whole(content, dtype, shape, "C").transpose(axes)
    case PickledScalar(arguments=(dtype, content)):
      return _whole(content, dtype, (), "C")
    case ChumpyArray(state={"x": array}):
      return _as_array(array)
    case ChumpySelection(
      state={"a": array, "idxs": indices, "preferred_shape": shape}
    ):
      return _as_array(array).reshape(-1)[_as_array(indices)].reshape(shape)
    case int() | float() | list() | tuple():
      return np.array(value)
    case Inert():
      raise UserError(f"a {type(value).__name__} with other contents")
    case _:
      raise UserError(f"a {type(value).__name__}")


def _whole(
  content: Any, dtype: Any, shape: Any, order: Literal["C", "F"]
) -> np.ndarray:
  kind = _dtype(dtype)
  sizes_fit = isinstance(shape, tuple) and all(
    isinstance(n, int) and n >= 0 for n in shape
  )
  if not sizes_fit:
    raise UserError(f"a shape {str(shape)[:40]}")
  count = math.prod(shape)
  if kind.hasobject:
    if not isinstance(content, list) or len(content) != count:
      raise UserError(f"other than {count} objects for shape {shape}")
    whole = np.empty(count, object)
    whole[:] = content
    return whole.reshape(shape, order=order)
  # Python 2's strings, read as latin1.
  content = content.encode("latin1") if isinstance(content, str) else content
  if not isinstance(content, bytes | bytearray):
    raise UserError(f"a {type(content).__name__} for its bytes")
  if len(content) != count * kind.itemsize:
    raise UserError(
      f"{len(content)} bytes for shape {list(shape)} of {kind.name}"
    )
  return np.frombuffer(content, kind).reshape(shape, order=order)


def _dtype(value: Any) -> np.dtype:
  if not isinstance(value, PickledDtype) or not value.arguments:
    raise UserError(f"a {type(value).__name__} for its dtype")
  code = value.arguments[0]
  order = value.state[1] if isinstance(value.state, tuple) else "="
  text = code.decode("latin1") if isinstance(code, bytes) else str(code)
  order = order.decode("latin1") if isinstance(order, bytes) else str(order)
  if not _TYPE_CODE.fullmatch(text) or order not in ("<", ">", "|", "="):
    raise UserError(f"dtype {text[:20]!r}")
  kind = np.dtype(object if "O" in text else text)
  if order in ("|", "="):
    return kind
  return kind.newbyteorder("<" if order == "<" else ">")
