"""Numbers in a file: NumPy's own format, or text."""

import os
import pathlib

from jaxtyping import Float
import numpy as np

from disentangle3d.types import UserError, UserFileNotFoundError


def read_numbers(path: str | os.PathLike[str]) -> Float[np.ndarray, "..."]:
  """The numbers of a `.npy`, or of a text file, in float64.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It holds something else.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise UserFileNotFoundError(f"{path}: no such file")
  try:
    if path.suffix == ".npy":
      numbers = np.load(path, allow_pickle=False)
    else:
      numbers = np.loadtxt(path, ndmin=1)
    return np.asarray(numbers, np.float64)
  except (ValueError, OSError, EOFError) as error:
    raise UserError(f"{path}: expected numbers ({error})") from error
