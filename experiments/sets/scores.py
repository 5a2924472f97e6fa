"""Scores of other methods, a file each."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.stages.flag_values import parse_all_named
from disentangle3d.types import UserError
from experiments.sets.numbers import read_numbers


def read_scores(named: Sequence[str]) -> Mapping[str, np.ndarray]:
  """Other systems' scores, of `--scores=NAME=PATH` or `PATH` flags.

  Raises:
    UserError: A name or a path is empty, a name comes twice, or a file holds
      no row of finite numbers.
    UserFileNotFoundError: There is no such file.
  """
  scores = {}
  for name, path in parse_all_named("scores", named).items():
    numbers = read_numbers(path)
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
