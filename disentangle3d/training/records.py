"""What one dataset record holds, and its bytes (msgpack, no pickle).

A record is one 112x96 crop with the labels training needs and the points it
was fitted to; pixels and landmarks are the crop's (x right, y down).
"""

from collections.abc import Mapping
import io
from typing import Any

import flax.serialization
from jaxtyping import UInt8
import numpy as np
from PIL import Image, UnidentifiedImageError

from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

# Letters as in `types`; I and E are the 3DMM's.
_ARRAYS: Mapping[str, tuple[int | str, ...]] = {
  "identity_coefficients": ("I",),
  "expression_coefficients": ("E",),
  "landmarks": (68, 2),
  "visibility": (68,),
  "camera_scale": (),
  "camera_rotation": (3, 3),
  "camera_translation": (2,),
  "crop_from_photo": (2, 3),
}
_SCALARS = {"image": bytes, "label": int, "subject": str, "image_id": str}
# Where a synthetic photo came from; `render_photos` remakes the truth from it.
_OPTIONAL = {"world_seed": int, "world_index": int}
_KNOWN = {*_ARRAYS, *_SCALARS, *_OPTIONAL}


def encode_record(record: Mapping[str, Any]) -> bytes:
  """One record as bytes.

  Args:
    record: `image` (PNG bytes, see `encode_image`), `label` (int), `subject`
      and `image_id` (str), `identity_coefficients` `[I]`,
      `expression_coefficients` `[E]` (standard deviations), `landmarks`
      `[68, 2]`, `visibility` `[68]`, `camera_scale` `[]`, `camera_rotation`
      `[3, 3]`, `camera_translation` `[2]`, `crop_from_photo` `[2, 3]`, and for
      synthetic photos `world_seed` and `world_index` (int). Arrays are stored
      as float32.

  Returns:
    The bytes that `decode_record` reads.

  Raises:
    UserError: A key is missing, unknown, or an array has another shape or is
      not finite.
    TypeError: A scalar has another type.
  """
  missing = sorted({*_ARRAYS, *_SCALARS} - record.keys())
  unknown = sorted(record.keys() - _KNOWN)
  if missing or unknown:
    raise UserError(
      f"record: expected the keys {', '.join(sorted(_KNOWN))}; missing"
      f" {', '.join(missing) or 'none'}, unknown {', '.join(unknown) or 'none'}"
    )
  packed: dict[str, Any] = {}
  for name, shape in _ARRAYS.items():
    packed[name] = _checked_array(name, record[name], shape)
  for name, kind in (_SCALARS | _OPTIONAL).items():
    if name not in record:
      continue
    value = record[name]
    if kind is int and isinstance(value, np.integer):
      value = int(value)
    if not isinstance(value, kind) or isinstance(value, bool):
      raise TypeError(
        f"record[{name!r}]: expected {kind.__name__}, got"
        f" {type(value).__name__}"
      )
    packed[name] = value
  return flax.serialization.msgpack_serialize(packed)


def _checked_array(
  name: str, value: Any, shape: tuple[int | str, ...]
) -> np.ndarray:
  array = np.asarray(value, np.float32)
  fits = len(array.shape) == len(shape) and all(
    isinstance(want, str) or want == got
    for want, got in zip(shape, array.shape, strict=True)
  )
  if not fits:
    raise UserError(
      f"record[{name!r}]: expected shape {list(shape)}, got {list(array.shape)}"
    )
  if not np.isfinite(array).all():
    raise UserError(f"record[{name!r}]: expected finite numbers")
  return array


def decode_record(data: bytes) -> dict[str, Any]:
  """The record that `encode_record` made.

  Raises:
    UserError: The bytes are no such record.
  """
  try:
    record = flax.serialization.msgpack_restore(data)
  except (ValueError, TypeError) as error:
    raise UserError(
      f"record: expected a msgpack record, got {len(data)} other bytes"
      f" ({error})"
    ) from error
  if not isinstance(record, dict) or not {*_ARRAYS, *_SCALARS} <= record.keys():
    raise UserError(
      f"record: expected a record with {', '.join(sorted(_ARRAYS))}, got"
      f" another msgpack object of {len(data)} bytes"
    )
  return record


def encode_image(image: UInt8[np.ndarray, "112 96 3"]) -> bytes:
  """A crop as PNG.

  Args:
    image: `[112, 96, 3]`, RGB.

  Raises:
    UserError: The shape differs.
    TypeError: `image` is not uint8.
  """
  image = np.asarray(image)
  if image.shape != (IMAGE_HEIGHT, IMAGE_WIDTH, 3):
    raise UserError(
      f"image: expected shape [{IMAGE_HEIGHT}, {IMAGE_WIDTH}, 3], got"
      f" {list(image.shape)}"
    )
  if image.dtype != np.uint8:
    raise TypeError(f"image: expected uint8, got {image.dtype}")
  buffer = io.BytesIO()
  # Level 1 is 5 % larger than the default and several times as fast.
  Image.fromarray(image).save(buffer, "PNG", compress_level=1)
  return buffer.getvalue()


def decode_image(png: bytes) -> UInt8[np.ndarray, "112 96 3"]:
  """The crop in a PNG, `[112, 96, 3]`, RGB.

  Raises:
    UserError: The bytes are no image of that size.
  """
  try:
    with Image.open(io.BytesIO(png)) as file:
      size, image = file.size, np.asarray(file.convert("RGB"))
  except UnidentifiedImageError as error:
    # Its text is the address of a buffer.
    raise UserError(
      f"image: expected PNG bytes, got {len(png)} bytes that are none"
    ) from error
  except (OSError, SyntaxError) as error:
    raise UserError(
      f"image: expected PNG bytes, got {len(png)} bytes that are none ({error})"
    ) from error
  if size != (IMAGE_WIDTH, IMAGE_HEIGHT):
    raise UserError(
      f"image: expected {IMAGE_HEIGHT} x {IMAGE_WIDTH} pixels (height x"
      f" width), got {size[1]} x {size[0]}"
    )
  return image
