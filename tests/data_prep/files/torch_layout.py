"""Files as `torch.save` lays them out, written here without PyTorch."""

import io
import pathlib
import pickle
import struct
import zipfile

import numpy as np

_CLASSES = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}
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
  """The pickle of an OrderedDict of tensors, storages numbered from 0."""
  entries = b"".join(
    _text(name) + _tensor(array, str(number), legacy=legacy)
    for number, (name, array) in enumerate(arrays.items())
  )
  return b"\x80\x02" + _EMPTY_DICT + b"(" + entries + b"u."


def write_archive(
  path: pathlib.Path, arrays, *, pickled: bytes | None = None
) -> None:
  """The zip layout of PyTorch 1.6 and newer."""
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("net/data.pkl", pickled or pickled_state_dict(arrays))
    archive.writestr("net/byteorder", b"little")
    archive.writestr("net/version", b"3\n")
    for number, array in enumerate(arrays.values()):
      archive.writestr(
        f"net/data/{number}", np.ascontiguousarray(array).tobytes()
      )


def write_stream(path: pathlib.Path, arrays) -> None:
  """The older layout, as the port's own file has it."""
  content = io.BytesIO()
  for head in (MAGIC, 1001, {"little_endian": True}):
    pickle.dump(head, content, protocol=2)
  content.write(pickled_state_dict(arrays, legacy=True))
  pickle.dump([str(i) for i in range(len(arrays))], content, protocol=2)
  for array in arrays.values():
    content.write(struct.pack("<q", array.size))
    content.write(np.ascontiguousarray(array).tobytes())
  path.write_bytes(content.getvalue())
