"""Reads numeric variables of MATLAB files (version 5, by SciPy)."""

from collections.abc import Sequence
import math
import pathlib

import numpy as np
import scipy.io

_NUMERIC = {
  *("double", "single", "logical"),
  *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
# Deflate makes at most 1,032 bytes of one; a number has at most 8.
_MOST_NUMBERS_A_BYTE = 1_032


def read_matlab(
  path: pathlib.Path, names: Sequence[str]
) -> dict[str, np.ndarray]:
  """The variables of these names; others are not looked at.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It cannot be read, a variable is missing or not of finite
      numbers; names file and variable.
  """
  size = path.stat().st_size
  try:
    with path.open("rb") as file:
      found = {n: (s, k) for n, s, k in scipy.io.whosmat(file)}
    _check_contents(path, names, found, size)
    with path.open("rb") as file:
      content = scipy.io.loadmat(file, variable_names=list(names))
    arrays = {name: np.asarray(content[name]) for name in names}
  except _Wrong as error:
    raise ValueError(str(error)) from None
  except NotImplementedError as error:
    raise ValueError(
      f"{path}: expected a MATLAB file of version 5 to 7, got one of version"
      " 7.3 (in MATLAB: save with '-v7')"
    ) from error
  # SciPy raises whatever damaged bytes make it raise.
  except Exception as error:
    raise ValueError(
      f"{path}: expected a MATLAB file, got one that cannot be read"
      f" ({type(error).__name__}: {error})"
    ) from error
  for name, array in arrays.items():
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
      raise ValueError(f"{path}: {name}: expected finite numbers, got others")
  return arrays


class _Wrong(Exception):
  """What we found wrong ourselves."""


def _check_contents(
  path: pathlib.Path,
  names: Sequence[str],
  found: dict[str, tuple[tuple[int, ...], str]],
  size: int,
) -> None:
  missing = [name for name in names if name not in found]
  if missing:
    raise _Wrong(
      f"{path}: expected the variables {', '.join(names)}, got a file without"
      f" {', '.join(missing)}"
    )
  for name in names:
    shape, kind = found[name]
    if kind not in _NUMERIC:
      raise _Wrong(f"{path}: {name}: expected numbers, got a {kind} array")
    if min(shape, default=0) < 0 or (
      math.prod(shape) > _MOST_NUMBERS_A_BYTE * size
    ):
      raise _Wrong(
        f"{path}: {name}: expected a size that fits in a file of {size} bytes,"
        f" got {list(shape)}"
      )
