"""Text out of a file that may be anything, with errors that name it."""

from collections.abc import Sequence
import os

import numpy as np

from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError


def read_text(path: str | os.PathLike[str]) -> str:
  """Reads a UTF-8 file, with or without a byte order mark.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is not UTF-8; names file and byte offset.
  """
  path = existing_file(path)
  try:
    return path.read_bytes().decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise UserError(
      f"{path}, byte {error.start}: expected UTF-8 text, {error.reason}"
    ) from error


def parse_numbers(words: Sequence[str], expected: int, here: str) -> np.ndarray:
  """One line's finite numbers, `[expected]` float64, in float32's range.

  Args:
    words: The line's words.
    expected: How many there must be.
    here: File and line, for the error.

  Raises:
    UserError: There are more or fewer, or one is not a finite number.
  """
  if len(words) != expected:
    raise UserError(f"{here}: expected {expected} numbers, got {len(words)}")
  try:
    numbers = np.array([float(word) for word in words])
  except ValueError as error:
    raise UserError(f"{here}: expected {expected} numbers, {error}") from error
  if not (np.abs(numbers) <= np.finfo(np.float32).max).all():
    raise UserError(
      f"{here}: expected finite numbers, got {' '.join(words)[:60]!r}"
    )
  return numbers
