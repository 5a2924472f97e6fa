"""Scores of other methods, a file each."""

from collections.abc import Mapping, Sequence
import pathlib

import numpy as np

from disentangle3d.types import UserError, UserFileNotFoundError


def read_scores(named: Sequence[str]) -> Mapping[str, np.ndarray]:
  """Other systems' scores, of `--scores=NAME=FILE` flags.

  Raises:
    UserError: A value is not NAME=FILE, or a file holds no row of finite
      numbers.
    UserFileNotFoundError: There is no such file.
  """
  scores = {}
  for value in named:
    name, separator, path = value.partition("=")
    if not (name and separator and path):
      raise UserError(f"--scores: expected NAME=FILE, got {value!r}")
    if not pathlib.Path(path).is_file():
      raise UserFileNotFoundError(f"{path}: no such file")
    try:
      if path.endswith(".npy"):
        numbers = np.load(path, allow_pickle=False)
      else:
        numbers = np.loadtxt(path, ndmin=1)
      numbers = np.asarray(numbers, np.float64)
    except (ValueError, OSError, EOFError) as error:
      raise UserError(f"{path}: expected numbers ({error})") from error
    broken = np.flatnonzero(~np.isfinite(numbers.ravel()))
    if numbers.ndim != 1 or broken.size:
      what = (
        f"{numbers.ravel()[broken[0]]} at {broken[0]}" if broken.size else ""
      )
      raise UserError(
        f"{path}: expected a row of finite numbers, got"
        f" {what or list(numbers.shape)}"
      )
    scores[name] = numbers
  return scores
