"""Reads lists of five points a photo, as published for LFW.

    Aaron_Eckhart/Aaron_Eckhart_0001.jpg 107 107 147 111 124 143 103 157 139 161

A photo's path, then x and y of the eyes, the nose tip and the mouth corners, in
the photo's pixels, apart by tabs or blanks; used as 0-based coordinates. Lists
with the person's number between path and points (CASIA's) are read too.
"""

import os
import re

from jaxtyping import Float
import numpy as np

from data_prep.files.text_files import parse_numbers, read_text
from disentangle3d.types import UserError

_NUMBERS = 10
_PERSON = re.compile(r"\s+\d+$")


def read_five_points(
  path: str | os.PathLike[str],
) -> dict[str, Float[np.ndarray, "5 2"]]:
  """Reads the list.

  Returns:
    Five points by photo, `[5, 2]` float32.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: A line is malformed or a photo comes twice, or there is no
      line; names file, line and problem.
  """
  found: dict[str, np.ndarray] = {}
  for number, line in enumerate(read_text(path).splitlines(), start=1):
    # Paths may have blanks in them.
    words = line.rsplit(maxsplit=_NUMBERS)
    if not words:
      continue
    here = f"{path}, line {number}"
    if len(words) != _NUMBERS + 1:
      raise UserError(
        f"{here}: expected a path and {_NUMBERS} numbers, got"
        f" {len(line.split())} words"
      )
    name = _PERSON.sub("", words[0].strip())
    if name in found:
      raise UserError(f"{here}: expected each photo once, got {name} again")
    numbers = parse_numbers(words[1:], _NUMBERS, here)
    found[name] = np.array(numbers, np.float32).reshape(5, 2)
  if not found:
    raise UserError(
      f"{path}: expected a list of five points, got an empty file"
    )
  return found
