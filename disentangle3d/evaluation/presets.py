"""How published work compares a pair: features, scores, threshold (host).

- `paper`: cosine of the codes; the threshold that is best on the other folds,
  half-way between scores.
- `sphereface`: the code and its mirror photo's side by side, minus the mean
  of the other folds' photos, cosine; the mean of all best of 20,001 thresholds
  in [-1, 1].
- `arcface`: the sum of the code and its mirror photo's at unit length, squared
  Euclidean distance; the first best of the thresholds 0, 0.01, ... 3.99.

`sphereface` and `arcface` without mirrored codes use the code alone.
"""

from collections.abc import Callable
import dataclasses

from jaxtyping import Array, Bool, Float
import numpy as np

from disentangle3d.evaluation.pairs import Pairs, pair_scores, unit_rows
from disentangle3d.evaluation.verification import (
  VerificationResult,
  best_threshold,
  split_folds,
  verify,
)
from disentangle3d.types import UserError, check_array, choose

_SPHEREFACE_THRESHOLDS = np.linspace(-1, 1, 20_001)
_ARCFACE_DISTANCES = np.arange(400) / 100


@dataclasses.dataclass(frozen=True)
class VerificationPreset:
  """How scores and thresholds come about.

  Attributes:
    name: As tables print it.
    join: `(codes, mirrored codes)` to features, `[N, D]`.
    centred: Whether the mean feature of the other folds' photos is taken off.
    choose_threshold: See `verify`.
  """

  name: str
  join: Callable[[np.ndarray, np.ndarray], np.ndarray]
  centred: bool
  choose_threshold: Callable[[np.ndarray, np.ndarray], float]


def verify_codes(
  codes: Float[Array | np.ndarray, "N D"],
  pairs: Pairs,
  *,
  mirrored: Float[Array | np.ndarray, "N D"] | None = None,
  refused: Bool[Array | np.ndarray, "N"] | None = None,
  preset: str | VerificationPreset = "paper",
) -> VerificationResult:
  """Verifies by codes as the preset does.

  Args:
    codes: One a photo, `[N, D]`.
    pairs: With their folds.
    mirrored: The codes of the mirrored photos, `[N, D]`; None has none.
    refused: Photos whose pairs get the lowest score, -1, `[N]`; None for none.
    preset: A name in `PRESETS`, or a preset.

  Returns:
    `VerificationResult`, percent.

  Raises:
    ValueError: The preset is not known, a shape differs, a code is not
      finite, or the folds do not add up.
    TypeError: A dtype differs.
  """
  scores = preset_scores(
    codes, pairs, mirrored=mirrored, refused=refused, preset=preset
  )
  return verify(
    scores,
    pairs.same,
    folds=pairs.fold,
    choose_threshold=choose("preset", preset, PRESETS).choose_threshold,
  )


def preset_scores(
  codes: Float[Array | np.ndarray, "N D"],
  pairs: Pairs,
  *,
  mirrored: Float[Array | np.ndarray, "N D"] | None = None,
  refused: Bool[Array | np.ndarray, "N"] | None = None,
  preset: str | VerificationPreset = "paper",
) -> Float[np.ndarray, "P"] | Float[np.ndarray, "F P"]:
  """The cosines that a preset judges by, `[P]`, or `[folds, P]` if centred.

  Raises:
    ValueError, TypeError: As `verify_codes`.
  """
  preset = choose("preset", preset, PRESETS)
  sizes = check_array("codes", codes, "N D")
  features = np.asarray(codes, np.float64)
  if mirrored is not None:
    check_array("mirrored", mirrored, "N D", sizes=sizes)
    features = preset.join(features, np.asarray(mirrored, np.float64))
  if not np.isfinite(features).all():
    raise UserError("codes: expected finite numbers, got NaN or inf")
  if not preset.centred:
    return _refuse(pair_scores(features, pairs), pairs, refused)
  parts = split_folds(pairs.same, pairs.fold)
  rows = []
  for part in parts:
    others = np.setdiff1d(np.arange(len(pairs.same)), part)
    both = np.concatenate([pairs.first[others], pairs.second[others]])
    rows.append(pair_scores(features - features[both].mean(0), pairs))
  return _refuse(np.stack(rows), pairs, refused)


def sphereface_threshold(
  scores: Float[np.ndarray, "P"], same: Bool[np.ndarray, "P"]
) -> float:
  """The mean of all the best of 20,001 thresholds in [-1, 1]."""
  right = _rightly_decided(scores, same, _SPHEREFACE_THRESHOLDS)
  return float(_SPHEREFACE_THRESHOLDS[right == right.max()].mean())


def arcface_threshold(
  scores: Float[np.ndarray, "P"], same: Bool[np.ndarray, "P"]
) -> float:
  """The first best squared distance of 0, 0.01, ..., as a cosine."""
  # A pair is accepted where its distance 2 - 2 cos is *below* the threshold.
  cosines = np.nextafter(1 - _ARCFACE_DISTANCES / 2, np.inf)
  right = _rightly_decided(scores, same, cosines)
  return float(cosines[np.argmax(right)])


def _rightly_decided(
  scores: np.ndarray, same: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
  """How many pairs each threshold decides rightly."""
  genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
  accepted = len(genuine) - np.searchsorted(genuine, thresholds)
  return accepted + np.searchsorted(impostor, thresholds)


def _refuse(
  scores: np.ndarray, pairs: Pairs, refused: Array | np.ndarray | None
) -> np.ndarray:
  """The lowest cosine where one of a pair is refused."""
  if refused is None:
    return scores
  either = np.asarray(refused)[np.stack([pairs.first, pairs.second])].any(0)
  return np.where(either, -1.0, scores)


def _side_by_side(codes: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
  return np.concatenate([codes, mirrored], 1)


def _sum(codes: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
  return codes + mirrored


def _unit_sum(codes: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
  return unit_rows(codes) + unit_rows(mirrored)


PRESETS = {
  preset.name: preset
  for preset in (
    VerificationPreset("paper", _unit_sum, False, best_threshold),
    VerificationPreset("sphereface", _side_by_side, True, sphereface_threshold),
    VerificationPreset("arcface", _sum, False, arcface_threshold),
  )
}
