"""Reads insightface's verification sets (`lfw.bin`, `cfp_fp.bin`, ...).

Such a file is a pickle of a list of 2 P encoded images and a list of P bools.
"""

import dataclasses
import os

from jaxtyping import Bool
import numpy as np

from data_prep.files.restricted_pickle import load_pickle
from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError


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
    UserError: It is no pickle of two such lists, or holds anything else;
      names file and problem.
  """
  path = existing_file(path)
  content = load_pickle(path.read_bytes(), where=str(path))
  if not isinstance(content, (tuple, list)) or len(content) != 2:
    raise UserError(f"{path}: expected images and bools, got something else")
  for name, items, kind in (
    ("images", content[0], bytes),
    ("bools", content[1], bool),
  ):
    if not isinstance(items, (tuple, list)) or not all(
      isinstance(item, kind) for item in items
    ):
      raise UserError(f"{path}: expected a list of {name}, got something else")
  images, same = content
  if not images or len(images) != 2 * len(same):
    raise UserError(
      f"{path}: expected two images a pair, got {len(images)} images and"
      f" {len(same)} pairs"
    )
  return VerificationSet(tuple(images), np.array(same))
