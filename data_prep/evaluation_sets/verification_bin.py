"""Reads insightface's verification sets (`lfw.bin`, `cfp_fp.bin`, ...).

Such a file is a pickle of 2 P encoded images and P bools, both as lists or
arrays; people who pack their own have images as arrays of bytes, and 0 and 1.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

from jaxtyping import Bool
import numpy as np

from data_prep.files.pickled_arrays import ARRAYS, as_array
from data_prep.files.restricted_pickle import Inert, StandIns, load_pickle
from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError

_STAND_INS: StandIns = {
  **ARRAYS,
  "builtins.bytearray": lambda *parts: b"".join(parts),
  "__builtin__.bytearray": lambda *parts: b"".join(parts),
}


@dataclasses.dataclass(frozen=True, eq=False)
class VerificationSet:
  """Pairs of aligned photos.

  Attributes:
    images: Encoded (JPEG), `[2 P]`; pair p is images 2 p and 2 p + 1.
    same: True where both show the same person, `[P]`; by convention ten folds
      of equal length one after the other.
  """

  images: tuple[bytes, ...]
  same: Bool[np.ndarray, "P"]


def read_verification_bin(path: str | os.PathLike[str]) -> VerificationSet:
  """Reads one set; `decoding.decode_photo` makes RGB of its images.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no pickle of such images and bools, or holds anything
      else; names file and problem.
  """
  path = existing_file(path)
  content = load_pickle(
    path.read_bytes(), where=str(path), stand_ins=_STAND_INS
  )
  if not isinstance(content, (tuple, list)) or len(content) != 2:
    raise UserError(f"{path}: expected images and bools, got something else")
  images = tuple(
    _encoded(item, f"{path}: image {number}")
    for number, item in enumerate(_items(content[0], f"{path}: images"))
  )
  same = [
    _same(item, f"{path}: pair {number}")
    for number, item in enumerate(_items(content[1], f"{path}: bools"))
  ]
  if not images or len(images) != 2 * len(same):
    raise UserError(
      f"{path}: expected two images a pair, got {len(images)} images and"
      f" {len(same)} pairs"
    )
  return VerificationSet(images, np.array(same))


def _items(value: Any, where: str) -> Sequence[Any]:
  """A list, tuple or array, item by item."""
  if isinstance(value, (tuple, list)):
    return value
  if not isinstance(value, Inert):
    raise UserError(
      f"{where}: expected a list or an array, got a {type(value).__name__}"
    )
  array = as_array(value, where)
  if not array.ndim:
    raise UserError(f"{where}: expected a list or an array, got a number")
  return list(array)


def _encoded(item: Any, where: str) -> bytes:
  """An image's bytes; what `cv2.imencode` gives is an array of them."""
  if item is None:  # Some say so that there was no face.
    return b""
  if isinstance(item, bytes | bytearray):
    return bytes(item)
  expected = f"{where}: expected the bytes of an image"
  if not isinstance(item, (Inert, np.ndarray)):
    raise UserError(f"{expected}, got a {type(item).__name__}")
  array = item if isinstance(item, np.ndarray) else as_array(item, where)
  if array.dtype != np.uint8 or array.size != max(array.shape, default=0):
    raise UserError(
      f"{expected}, got an array {list(array.shape)} of {array.dtype}"
    )
  return array.tobytes()


def _same(item: Any, where: str) -> bool:
  """A label: bool, 0 or 1, or NumPy's of these."""
  number = as_array(item, where) if isinstance(item, Inert) else item
  try:
    if number in (0, 1):
      return bool(number)
  except ValueError:  # an array of several
    pass
  raise UserError(f"{where}: expected a bool, 0 or 1, got {str(number)[:20]!r}")
