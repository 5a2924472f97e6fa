"""Two systems' scores in one: normalised on the other folds, then summed."""

from collections.abc import Callable

from jaxtyping import Array, Bool, Float, Int
import numpy as np

from disentangle3d.evaluation.verification import split_folds
from disentangle3d.types import check_array, choose

# Scores to learn from, to the scale and offset that normalise.
Normalisation = Callable[[np.ndarray], tuple[float, float]]


def fuse_scores(
  scores: Float[Array | np.ndarray, "P"],
  other_scores: Float[Array | np.ndarray, "P"],
  same: Bool[np.ndarray, "P"],
  *,
  folds: int | Int[np.ndarray, "P"] = 10,
  normalisation: str | Normalisation = "z_score",
  weight: float = 0.5,
) -> Float[np.ndarray, "D P"]:
  """Score-level fusion (the paper's "fusion with SphereFace").

  Args:
    scores: One system's similarities, `[P]`.
    other_scores: Another's, of the same pairs, `[P]`, in any unit.
    same: True for genuine pairs, `[P]`.
    folds: As in `verify`.
    normalisation: A name in `NORMALISATIONS`, or a function.
    weight: Of the first system; the other has 1 - weight.

  Returns:
    `[D, P]` for `verify`: row d is normalised on all folds but d.

  Raises:
    ValueError: The lengths disagree, a score is not finite, the folds do not
      add up, the normalisation is not known, all scores of a system are
      equal, or the weight is outside [0, 1].
    TypeError: A dtype differs.
  """
  if not 0 <= weight <= 1:
    raise ValueError(f"weight: expected a number in [0, 1], got {weight}")
  learn = choose("normalisation", normalisation, NORMALISATIONS)
  sizes = check_array("same", same, "P", dtype="any")
  systems = []
  for name, values in (("scores", scores), ("other_scores", other_scores)):
    check_array(name, values, "P", sizes=sizes)
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
      raise ValueError(f"{name}: expected finite numbers, got NaN or inf")
    systems.append((name, numbers))
  rows = []
  for part in split_folds(np.asarray(same), folds):
    others = np.setdiff1d(np.arange(len(same)), part)
    normalised = []
    for name, numbers in systems:
      factor, offset = learn(numbers[others])
      if not (np.isfinite(factor) and factor > 0):
        raise ValueError(
          f"{name}: expected scores that differ, got the same for all pairs"
        )
      normalised.append(factor * (numbers - offset))
    rows.append(weight * normalised[0] + (1 - weight) * normalised[1])
  return np.stack(rows)


def z_score(scores: Float[np.ndarray, "P"]) -> tuple[float, float]:
  """To mean 0 and standard deviation 1."""
  deviation = float(scores.std())
  return 1 / deviation if deviation > 0 else np.inf, float(scores.mean())


def min_max(scores: Float[np.ndarray, "P"]) -> tuple[float, float]:
  """To 0 for the least and 1 for the greatest."""
  width = float(np.ptp(scores))
  return 1 / width if width > 0 else np.inf, float(scores.min())


NORMALISATIONS: dict[str, Normalisation] = {
  "z_score": z_score,
  "min_max": min_max,
}
