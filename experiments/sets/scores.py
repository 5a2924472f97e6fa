"""Scores of other methods, a file each."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.stages.flag_words import parse_all_named
from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError


def read_scores(named: Sequence[str]) -> Mapping[str, np.ndarray]:
  """Other systems' scores, of `--scores=NAME=PATH` or `PATH` flags.

  Raises:
    UserError: A name or a path is empty, a name comes twice, or a file holds
      no row of finite numbers.
    UserFileNotFoundError: There is no such file.
  """
  scores = {}
  for name, path in parse_all_named("scores", named).items():
    existing_file(path)
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
