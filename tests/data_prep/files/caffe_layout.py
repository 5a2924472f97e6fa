"""Caffe models in protobuf's wire format, written here without protobuf."""

import struct

import numpy as np


def _varint(value: int) -> bytes:
  out = b""
  while value > 0x7F:
    out += bytes([value & 0x7F | 0x80])
    value >>= 7
  return out + bytes([value])


def _bytes_field(number: int, content: bytes) -> bytes:
  return _varint(number << 3 | 2) + _varint(len(content)) + content


def _blob(array: np.ndarray, *, old: bool, packed: bool) -> bytes:
  flat = np.asarray(array, "<f4").ravel()
  if packed:
    data = _bytes_field(5, flat.tobytes())
  else:
    tag = _varint(5 << 3 | 5)
    data = b"".join(tag + struct.pack("<f", number) for number in flat)
  if old:
    shape = (1,) * (4 - array.ndim) + array.shape
    return data + b"".join(
      _varint(number << 3) + _varint(size)
      for number, size in enumerate(shape, start=1)
    )
  dims = b"".join(_varint(size) for size in array.shape)
  return data + _bytes_field(7, _bytes_field(1, dims))


def caffemodel(layers, *, old: bool = False, packed: bool = True) -> bytes:
  """A net of layers with blobs, and one without.

  Args:
    layers: Name to blobs.
    old: In the fields of V1LayerParameter, shapes padded to four dimensions.
    packed: Whether a blob's numbers stand in one piece.
  """
  layer, name, blobs = (2, 4, 6) if old else (100, 1, 7)
  content = _bytes_field(1, b"a net")
  content += _bytes_field(layer, _bytes_field(name, b"data"))
  for title, arrays in layers.items():
    inner = _bytes_field(name, title.encode())
    if not old:
      inner += _bytes_field(2, b"Convolution") + _varint(10 << 3) + _varint(1)
    for array in arrays:
      inner += _bytes_field(blobs, _blob(array, old=old, packed=packed))
    content += _bytes_field(layer, inner)
  return content
