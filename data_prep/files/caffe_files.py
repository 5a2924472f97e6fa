"""The weights in a Caffe model (`.caffemodel`), without Caffe or protobuf.

A caffemodel is a `NetParameter` in protobuf's wire format. Of it a name and
the blobs of each layer are read, from the fields of today's `LayerParameter`
and of the older `V1LayerParameter`. The `.prototxt` beside it repeats the
names and has no weights.
"""

from collections.abc import Iterator
import math
import os

import numpy as np

from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError

# Numbers of fields in caffe.proto.
_LAYER, _V1_LAYER = 100, 2
_NAME = {_LAYER: 1, _V1_LAYER: 4}
_BLOBS = {_LAYER: 7, _V1_LAYER: 6}
_LEGACY_SHAPE = (1, 2, 3, 4)
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_DIM = 1
# Protobuf's wire types.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Value = int | memoryview


def read_caffemodel(
  path: str | os.PathLike[str],
) -> dict[str, list[np.ndarray]]:
  """The blobs of each layer that has some.

  Args:
    path: The `.caffemodel`.

  Returns:
    Layer name to its blobs in order (weights, then biases), float32, in
    Caffe's layout: convolutions `[out, in, height, width]`.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is no such model or is damaged; names file and
      problem.
  """
  path = existing_file(path)
  layers: dict[str, list[np.ndarray]] = {}
  try:
    for field, value in _fields(memoryview(path.read_bytes())):
      if field in _NAME and isinstance(value, memoryview):
        name, blobs = _read_layer(value, field)
        if blobs:
          layers[name] = blobs
  except (ValueError, IndexError) as error:
    raise UserError(
      f"{path}: expected a Caffe model, got a file that cannot be read as one"
      f" ({error})"
    ) from error
  if not layers:
    raise UserError(f"{path}: expected a Caffe model, got no layer with blobs")
  return layers


def _read_layer(message: memoryview, kind: int) -> tuple[str, list[np.ndarray]]:
  name, blobs = "", []
  for field, value in _fields(message):
    if isinstance(value, memoryview):
      if field == _NAME[kind]:
        name = bytes(value).decode("utf-8")
      elif field == _BLOBS[kind]:
        blobs.append(_read_blob(value))
  return name, blobs


def _read_blob(message: memoryview) -> np.ndarray:
  shape: list[int] = []
  legacy: list[int] = []
  parts = []
  for field, value in _fields(message):
    if field in (_DATA, _DOUBLE_DATA):
      width = 4 if field == _DATA else 8
      if isinstance(value, int) or len(value) % width:
        raise UserError("a blob whose numbers are cut off")
      parts.append(np.frombuffer(value, f"<f{width}").astype(np.float32))
    elif field == _SHAPE and isinstance(value, memoryview):
      shape = _read_shape(value)
    elif field in _LEGACY_SHAPE and isinstance(value, int):
      legacy.append(value)
  flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
  shape = shape or legacy
  if math.prod(shape) != len(flat):
    raise UserError(f"a blob {shape} with {len(flat)} numbers")
  return flat.reshape(shape)


def _read_shape(message: memoryview) -> list[int]:
  dims: list[int] = []
  for field, value in _fields(message):
    if field == _DIM and isinstance(value, int):
      dims.append(value)
    elif field == _DIM and isinstance(value, memoryview):
      at = 0
      while at < len(value):
        dim, at = _varint(value, at)
        dims.append(dim)
  return dims


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
  """Number and value of each field: an integer, or its bytes."""
  at = 0
  while at < len(message):
    tag, at = _varint(message, at)
    field, wire = tag >> 3, tag & 7
    if wire == _VARINT:
      number, at = _varint(message, at)
      yield field, number
      continue
    size = {_FIXED32: 4, _FIXED64: 8}.get(wire)
    if wire == _BYTES:
      size, at = _varint(message, at)
    if size is None or at + size > len(message):
      raise UserError(f"field {field} at byte {at} is cut off")
    yield field, message[at : at + size]
    at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
  """The number at a place, and the place after it."""
  number = 0
  for shift in range(0, 70, 7):
    byte = message[at]
    at += 1
    number |= (byte & 0x7F) << shift
    if byte < 0x80:
      return number, at
  raise UserError(f"no number at byte {at}")
