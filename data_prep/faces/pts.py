"""Reads `.pts`, the landmark file of iBUG 300-W and of most 68-point sets.

    version: 1
    n_points: 68
    {
    30.5 71.25
    ...
    }

The file counts pixels from 1, as MATLAB does; here they are counted from 0.
"""

import os

from jaxtyping import Float
import numpy as np

from data_prep.files.text_files import parse_numbers, read_text
from disentangle3d.types import NUM_LANDMARKS, UserError


def read_pts(
  path: str | os.PathLike[str], *, num_points: int | None = NUM_LANDMARKS
) -> Float[np.ndarray, "P 2"]:
  """Reads the points of one photo.

  Args:
    path: The file.
    num_points: How many points it must have; None takes any number.

  Returns:
    The points, `[P, 2]` float32, photo pixels, x right, y down, 0-based.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is malformed or has another number of points; names
      file, line and problem.
  """
  numbered = [
    (number, line.split())
    for number, line in enumerate(read_text(path).splitlines(), start=1)
    if line.strip() and not line.lstrip().startswith("//")
  ]
  declared = None
  while numbered and numbered[0][1] != ["{"]:
    number, words = numbered.pop(0)
    name, _, value = " ".join(words).partition(":")
    if name.strip().lower() == "n_points":
      declared = _parse_count(value, f"{path}, line {number}")
    elif name.strip().lower() != "version":
      raise UserError(
        f"{path}, line {number}: expected version, n_points or a brace, got"
        f" {' '.join(words)[:40]!r}"
      )
  lines = numbered[1:-1]
  if len(numbered) < 2 or numbered[-1][1] != ["}"]:
    raise UserError(
      f"{path}: expected the points between braces, found no"
      f" {'closing' if numbered else 'opening'} one"
    )
  if declared is not None and declared != len(lines):
    raise UserError(
      f"{path}: expected {declared} points, as n_points says, got {len(lines)}"
    )
  points = [
    parse_numbers(words, 2, f"{path}, line {number}") for number, words in lines
  ]
  if num_points is not None and num_points != len(lines):
    raise UserError(f"{path}: expected {num_points} points, got {len(lines)}")
  return (np.array(points).reshape(-1, 2) - 1).astype(np.float32)


def _parse_count(text: str, here: str) -> int:
  if not text.strip().isdecimal():
    raise UserError(
      f"{here}: expected a count after n_points, got {text.strip()[:40]!r}"
    )
  return int(text)


PTS_DETECTOR = "annotation (.pts)"
