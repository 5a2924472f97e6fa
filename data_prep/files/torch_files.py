"""State dicts out of the files that `torch.save` writes, without PyTorch.

Both layouts are read: the zip archive (PyTorch 1.6 and newer) and the older
stream of pickles, by `restricted_pickle`, which runs nothing: classes that are
not PyTorch's own become objects that do nothing.
"""

import collections
from collections.abc import Callable, Mapping
import dataclasses
import io
import math
import os
import pathlib
from typing import Any
import zipfile

import numpy as np

from data_prep.files.restricted_pickle import Inert, StandIns, load_next_pickle
from data_prep.files.state_dicts import find_state_dict
from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError

# PyTorch's own, at the head of the older layout.
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DTYPES = {
  "FloatStorage": "<f4",
  "DoubleStorage": "<f8",
  "HalfStorage": "<f2",
  "LongStorage": "<i8",
  "IntStorage": "<i4",
  "ShortStorage": "<i2",
  "CharStorage": "<i1",
  "ByteStorage": "<u1",
  "BoolStorage": "?",
  # NumPy has no such type; widened when it is read.
  "BFloat16Storage": "<u2",
}


def read_state_dict(
  path: str | os.PathLike[str], *, entry: str | None = None
) -> dict[str, np.ndarray]:
  """The arrays of a state dict, by name; see `find_state_dict`.

  Args:
    path: What `torch.save` wrote.
    entry: Which of a checkpoint's mappings; None takes the one with the most
      tensors.

  Returns:
    Name to array, in the file's shapes and precision; bfloat16 as float32.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is damaged, holds no state dict, or two; names the
      file and the problem.
  """
  path = existing_file(path)
  pickles = _Pickles()
  try:
    if zipfile.is_zipfile(path):
      saved = _read_archive(path, pickles)
    else:
      saved = _read_stream(path.read_bytes(), pickles)
  except _Refused as error:
    raise UserError(f"{path}: {error}") from error
  # The unpickler raises whatever the bytes make it raise.
  except Exception as error:
    raise UserError(
      f"{path}: expected a file of torch.save, got one that cannot be read"
      f" ({type(error).__name__}: {error})"
    ) from error
  try:
    return find_state_dict(saved, entry=entry)
  except UserError as error:
    raise UserError(f"{path}: {error}{pickles.told()}") from error


class _Refused(Exception):
  """What a state dict does not need; says what."""


class _Stranger(Inert, dict[Any, Any]):
  """In place of any class of others; may be a mapping, a list, a key."""

  __hash__ = object.__hash__  # type: ignore[assignment]  # May be a key.

  def __init__(self, *arguments: Any):
    Inert.__init__(self, *arguments)
    dict.__init__(self)

  def append(self, value: Any) -> None:
    """Drops an entry."""

  def extend(self, values: Any) -> None:
    """Drops entries."""


class _StateDict(Inert, collections.OrderedDict[Any, Any]):
  """In place of OrderedDict; its state, `_metadata`, says nothing here."""

  def __init__(self, *arguments: Any):
    Inert.__init__(self, *arguments)
    collections.OrderedDict.__init__(self, *arguments)


class _StorageKind(Inert):
  """In place of `torch.FloatStorage` and the like."""

  dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
  """A flat piece of memory that tensors are cut from."""

  kind: type[_StorageKind]
  key: str
  count: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensor:
  """A view of a storage, whose bytes may not have been read yet."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def array(self, content: bytes) -> np.ndarray:
    """The tensor's own copy, out of its storage's bytes."""
    storage = self.storage
    flat = np.frombuffer(content, storage.kind.dtype)
    if len(flat) != storage.count:
      raise _Refused(
        f"expected {storage.count} numbers in storage {storage.key}, got"
        f" {len(flat)}"
      )
    numbers = (self.offset, *self.shape, *self.strides)
    if len(self.shape) != len(self.strides) or any(
      not isinstance(n, int) or n < 0 for n in numbers
    ):
      raise _Refused(f"a tensor of shape {self.shape}, strides {self.strides}")
    count = math.prod(self.shape)
    reach = sum(
      (n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)
    )
    if count > len(flat) or (count and self.offset + reach >= len(flat)):
      raise _Refused(f"a tensor {list(self.shape)} beyond its storage")
    view = np.lib.stride_tricks.as_strided(
      flat[self.offset :],
      self.shape,
      [flat.itemsize * stride for stride in self.strides],
    )
    if storage.kind.__name__ == "BFloat16Storage":
      # The upper half of a float32.
      return (view.astype(np.uint32) << 16).view(np.float32)
    return np.array(view)


def _rebuild_tensor(
  storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any
) -> _Tensor:
  return _Tensor(storage, offset, tuple(shape), tuple(strides))


_STAND_INS: StandIns = {
  **{
    f"torch.{name}": type(name, (_StorageKind,), {"dtype": np.dtype(code)})
    for name, code in _DTYPES.items()
  },
  "collections.OrderedDict": _StateDict,
  "torch._utils._rebuild_tensor": _rebuild_tensor,
  "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
  "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
}


class _Pickles:
  """Reads a file's pickles.

  Attributes:
    storages: Those referred to, by key.
    strangers: Stand-ins of others' classes, by name.
  """

  def __init__(self) -> None:
    self.storages: dict[str, _Storage] = {}
    self.strangers: dict[str, type[_Stranger]] = {}

  def load(self, stream: io.BytesIO) -> Any:
    """The next pickle of a stream."""
    try:
      return load_next_pickle(
        stream,
        where="its pickle",
        stand_ins=_STAND_INS,
        encoding="ascii",
        persistent_load=self._storage,
        others=self._stranger,
      )
    except ValueError as error:
      raise _Refused(str(error)) from error

  def told(self) -> str:
    """Whose objects were passed over, for an error."""
    if not self.strangers:
      return ""
    return f" (objects of {', '.join(self.strangers)} are passed over)"

  def _stranger(self, name: str) -> type[_Stranger]:
    return self.strangers.setdefault(name, type(name, (_Stranger,), {}))

  def _storage(self, pid: Any) -> _Storage:
    """What an id in the pickle stands for."""
    # ("storage", class, key, device, count), in the older layout with a view
    # after it, which PyTorch has not written since 0.4.
    kind, storage_kind, key, _, count = pid[:5]
    if kind != "storage" or any(view is not None for view in pid[5:]):
      raise UserError(f"a reference to {str(pid)[:80]}")
    if not issubclass(storage_kind, _StorageKind):
      raise UserError(
        f"a {storage_kind.__name__}, expected one of {', '.join(_DTYPES)}"
      )
    storage = _Storage(storage_kind, str(key), int(count))
    return self.storages.setdefault(storage.key, storage)


def _read_archive(path: pathlib.Path, pickles: _Pickles) -> Any:
  with zipfile.ZipFile(path) as archive:
    (pickled,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
    root = pickled.removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
      raise _Refused("expected little-endian numbers")

    def read(storage: _Storage) -> bytes:
      info = archive.getinfo(f"{root}data/{storage.key}")
      if info.compress_type != zipfile.ZIP_STORED:
        raise _Refused(f"expected {info.filename} to be stored as it is")
      return archive.read(info)

    saved = pickles.load(io.BytesIO(archive.read(pickled)))
    return _with_arrays(saved, read)


def _read_stream(content: bytes, pickles: _Pickles) -> Any:
  stream = io.BytesIO(content)
  magic = pickles.load(stream)
  if magic != _MAGIC:
    raise _Refused(f"expected PyTorch's magic number, got {str(magic)[:40]}")
  version = pickles.load(stream)
  if version != _VERSION:
    raise _Refused(f"expected version {_VERSION}, got {str(version)[:40]}")
  pickles.load(stream)  # Of the machine that wrote it.
  saved = pickles.load(stream)
  known = dict(pickles.storages)
  storages: dict[str, bytes] = {}
  for key in map(str, pickles.load(stream)):
    count = int.from_bytes(stream.read(8), "little")
    if key not in known or count != known[key].count:
      raise _Refused(f"storage {key} that no tensor of this size is cut from")
    storages[key] = stream.read(count * known[key].kind.dtype.itemsize)
  return _with_arrays(saved, lambda storage: storages[storage.key])


def _with_arrays(saved: Any, read: Callable[[_Storage], bytes]) -> Any:
  if isinstance(saved, _Tensor):
    return saved.array(read(saved.storage))
  if isinstance(saved, Mapping):
    return {name: _with_arrays(value, read) for name, value in saved.items()}
  if isinstance(saved, list | tuple):
    return [_with_arrays(value, read) for value in saved]
  return saved
