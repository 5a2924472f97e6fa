"""State dicts out of the files that `torch.save` writes, without PyTorch.

Both layouts are read: the zip archive (PyTorch 1.6 and newer) and the older
stream of pickles, by `restricted_pickle`, which runs nothing.
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
}
# Names under which training scripts keep the state dict among other things.
_WRAPPERS = ("state_dict", "model", "net", "model_state_dict")
_PARALLEL = "module."


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The arrays of a state dict, by name.

  A dict that holds the state dict under a usual name (`state_dict`, `model`,
  `net`) and the prefix `module.` of DataParallel are seen through; entries
  that are no tensors are left out.

  Args:
    path: What `torch.save` wrote.

  Returns:
    Name to array, in the file's shapes and precision.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is damaged or holds anything else; names the file
      and the problem.
  """
  path = existing_file(path)
  try:
    if zipfile.is_zipfile(path):
      saved = _read_archive(path)
    else:
      saved = _read_stream(path.read_bytes())
  except _Refused as error:
    raise UserError(f"{path}: {error}") from error
  # The unpickler raises whatever the bytes make it raise.
  except Exception as error:
    raise UserError(
      f"{path}: expected a file of torch.save, got one that cannot be read"
      f" ({type(error).__name__}: {error})"
    ) from error
  arrays = _arrays_of(saved)
  if not arrays:
    raise UserError(f"{path}: expected a state dict, got no tensor in it")
  return arrays


class _Refused(Exception):
  """What a state dict does not need; says what."""


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

  dtype: np.dtype[Any]
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
    flat = np.frombuffer(content, storage.dtype)
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
    return np.array(view)


def _storage(pid: Any) -> _Storage:
  """What an id in the pickle stands for."""
  # ("storage", class, key, device, count), in the older layout with a view
  # after it, which PyTorch has not written since 0.4.
  kind, storage_kind, key, _, count = pid[:5]
  if kind != "storage" or any(view is not None for view in pid[5:]):
    raise UserError(f"a reference to {str(pid)[:80]}")
  return _Storage(storage_kind.dtype, str(key), int(count))


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


def _read_archive(path: pathlib.Path) -> Any:
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

    saved = _unpickle(io.BytesIO(archive.read(pickled)))
    return _with_arrays(saved, read)


def _read_stream(content: bytes) -> Any:
  stream = io.BytesIO(content)
  magic = _unpickle(stream)
  if magic != _MAGIC:
    raise _Refused(f"expected PyTorch's magic number, got {str(magic)[:40]}")
  version = _unpickle(stream)
  if version != _VERSION:
    raise _Refused(f"expected version {_VERSION}, got {str(version)[:40]}")
  _unpickle(stream)  # Of the machine that wrote it.
  saved = _unpickle(stream)
  sizes = {s.key: s for s in _storages(saved)}
  storages: dict[str, bytes] = {}
  for key in map(str, _unpickle(stream)):
    count = int.from_bytes(stream.read(8), "little")
    if key not in sizes or count != sizes[key].count:
      raise _Refused(f"storage {key} that no tensor of this size is cut from")
    storages[key] = stream.read(count * sizes[key].dtype.itemsize)
  return _with_arrays(saved, lambda storage: storages[storage.key])


def _unpickle(stream: io.BytesIO) -> Any:
  """The next pickle of a stream."""
  try:
    return load_next_pickle(
      stream,
      where="its pickle",
      stand_ins=_STAND_INS,
      encoding="ascii",
      persistent_load=_storage,
    )
  except ValueError as error:
    raise _Refused(str(error)) from error


def _tensors(saved: Any) -> list[_Tensor]:
  if isinstance(saved, _Tensor):
    return [saved]
  if isinstance(saved, Mapping):
    return [tensor for value in saved.values() for tensor in _tensors(value)]
  return []


def _storages(saved: Any) -> list[_Storage]:
  return [tensor.storage for tensor in _tensors(saved)]


def _with_arrays(saved: Any, read: Callable[[_Storage], bytes]) -> Any:
  if isinstance(saved, _Tensor):
    return saved.array(read(saved.storage))
  if isinstance(saved, Mapping):
    return {name: _with_arrays(value, read) for name, value in saved.items()}
  return saved


def _arrays_of(saved: Any) -> dict[str, np.ndarray]:
  if not isinstance(saved, Mapping):
    return {}
  for name in _WRAPPERS:
    if isinstance(saved.get(name), Mapping):
      return _arrays_of(saved[name])
  return {
    str(name).removeprefix(_PARALLEL): value
    for name, value in saved.items()
    if isinstance(value, np.ndarray)
  }
