"""Files as `torch.save` lays them out, written here without PyTorch."""

import io
import pathlib
import pickle
import struct
import zipfile

import numpy as np

# bfloat16 has no type in NumPy: its bits are written as <u2.
_CLASSES = {
  "<f4": "FloatStorage",
  "<f8": "DoubleStorage",
  "<i8": "LongStorage",
  "<u2": "BFloat16Storage",
}
MAGIC = 0x1950A86A20F9469CFC6C


def _text(value: str) -> bytes:
  encoded = value.encode()
  return b"X" + struct.pack("<I", len(encoded)) + encoded


def _int(value: int) -> bytes:
  return b"J" + struct.pack("<i", value)


def _ints(values) -> bytes:
  return b"(" + b"".join(_int(value) for value in values) + b"t"


_EMPTY_DICT = b"ccollections\nOrderedDict\n)R"


def _tensor(array: np.ndarray, key: str, *, legacy: bool) -> bytes:
  storage = _text("storage")
  storage += b"ctorch\n%s\n" % _CLASSES[array.dtype.str].encode()
  storage += _text(key) + _text("cpu") + _int(array.size)
  if legacy:
    storage += b"N"
  strides = [stride // array.itemsize for stride in array.strides]
  return (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + (b"(" + storage + b"tQ")
    + _int(0)
    + _ints(array.shape)
    + _ints(strides)
    + b"\x89"
    + _EMPTY_DICT
    + b"tR"
  )


def pickled_state_dict(arrays, *, legacy: bool = False) -> bytes:
  """The pickle of an OrderedDict of tensors, storages numbered from 0.

  Its values may be such mappings, or bytes, which are put in as they are.
  """
  return b"\x80\x02" + _entries(arrays, iter(range(999)), legacy) + b"."


def all_arrays(saved) -> list[np.ndarray]:
  """The arrays of a checkpoint, in the order of their storages."""
  if isinstance(saved, np.ndarray):
    return [saved]
  if isinstance(saved, bytes):
    return []
  return [array for value in saved.values() for array in all_arrays(value)]


def _entries(saved, numbers, legacy: bool) -> bytes:
  if isinstance(saved, bytes):
    return saved
  if isinstance(saved, np.ndarray):
    return _tensor(saved, str(next(numbers)), legacy=legacy)
  entries = b"".join(
    _text(name) + _entries(value, numbers, legacy)
    for name, value in saved.items()
  )
  return _EMPTY_DICT + b"(" + entries + b"u"


def write_archive(
  path: pathlib.Path, arrays, *, pickled: bytes | None = None
) -> None:
  """The zip layout of PyTorch 1.6 and newer."""
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("net/data.pkl", pickled or pickled_state_dict(arrays))
    archive.writestr("net/byteorder", b"little")
    archive.writestr("net/version", b"3\n")
    for number, array in enumerate(all_arrays(arrays)):
      archive.writestr(
        f"net/data/{number}", np.ascontiguousarray(array).tobytes()
      )


def write_stream(path: pathlib.Path, arrays) -> None:
  """The older layout, as the port's own file has it."""
  content = io.BytesIO()
  for head in (MAGIC, 1001, {"little_endian": True}):
    pickle.dump(head, content, protocol=2)
  content.write(pickled_state_dict(arrays, legacy=True))
  flat = all_arrays(arrays)
  pickle.dump([str(i) for i in range(len(flat))], content, protocol=2)
  for array in flat:
    content.write(struct.pack("<q", array.size))
    content.write(np.ascontiguousarray(array).tobytes())
  path.write_bytes(content.getvalue())
