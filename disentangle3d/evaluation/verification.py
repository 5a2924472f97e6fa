"""Face verification over folds: accuracy, 100%-EER, AUC, TAR at a FAR.

The protocol of LFW view 2 and of YTF as the paper reports them (Table 3):
folds of equal size, contiguous, not shuffled; accuracy by the threshold that
is best on the other folds; the other measures on each fold's own ROC curve,
linear between its points. All numbers are in percent; host, NumPy.
"""

from collections.abc import Callable
import dataclasses

from jaxtyping import Array, Bool, Float, Int
import numpy as np

from disentangle3d.evaluation.bootstrap import (
  Interval,
  draw_counts,
  percentile_interval,
)
from disentangle3d.evaluation.pairs import Pairs
from disentangle3d.evaluation.roc import (
  RocCurve,
  area_under_curve,
  equal_error_rate,
  roc_curve,
  tar_at_far,
  weighted_auc,
)
from disentangle3d.types import check_array


@dataclasses.dataclass(frozen=True)
class FoldStatistic:
  """One measure over the folds.

  Attributes:
    mean: Mean of the folds, percent; NaN where a fold cannot give it.
    std: Standard deviation of the folds (divided by their number minus one).
    folds: The measure of each fold, `[folds]`.
  """

  mean: float
  std: float
  folds: Float[np.ndarray, "D"]


@dataclasses.dataclass(frozen=True)
class VerificationResult:
  """What `verify` measures; every statistic is in percent.

  Attributes:
    accuracy: Pairs decided rightly.
    eer_complement: 100%-EER: 100 minus the equal error rate.
    auc: Area under the ROC curve.
    tar_at_far_10: Genuine pairs accepted where 10 % of impostors are.
    tar_at_far_1: The same at 1 %; NaN (a dash in tables) where a fold has
      fewer than 100 impostor pairs, for there is no such operating point.
    thresholds: The threshold each fold was judged by, `[folds]`.
    roc: The curve of all pairs together, for figures.
  """

  accuracy: FoldStatistic
  eer_complement: FoldStatistic
  auc: FoldStatistic
  tar_at_far_10: FoldStatistic
  tar_at_far_1: FoldStatistic
  thresholds: Float[np.ndarray, "D"]
  roc: RocCurve


def best_threshold(
  scores: Float[np.ndarray, "P"], same: Bool[np.ndarray, "P"]
) -> float:
  """The threshold with the most pairs decided rightly.

  Candidates lie half-way between neighbouring distinct scores, and beyond
  both ends; of several equally good ones the middle one is taken.
  """
  levels, group = np.unique(scores, return_inverse=True)
  middle = (levels[1:] + levels[:-1]) / 2
  candidates = np.concatenate([[levels[0] - 1], middle, [levels[-1] + 1]])
  genuine = np.bincount(group, same, len(levels))
  impostor = np.bincount(group, ~same, len(levels))
  accepted = genuine.sum() - np.append(0, np.cumsum(genuine))
  rejected = np.append(0, np.cumsum(impostor))
  right = accepted + rejected
  best = np.flatnonzero(right == right.max())
  return float(candidates[best[(len(best) - 1) // 2]])


def verify(
  scores: Float[Array | np.ndarray, "P"] | Float[Array | np.ndarray, "D P"],
  same: Bool[Array | np.ndarray, "P"],
  *,
  folds: int | Int[np.ndarray, "P"] = 10,
  choose_threshold: Callable[[np.ndarray, np.ndarray], float] = best_threshold,
) -> VerificationResult:
  """Measures how well scores tell genuine from impostor pairs.

  Args:
    scores: Similarities, `[P]`, higher for the same person; or `[D, P]`, row
      d the scores of all pairs as they are computed for judging fold d (what
      is learnt on the other folds: a mean, a normalisation).
    same: True for genuine pairs, `[P]` bool.
    folds: Number of folds D, at least 2: the pairs of a fold stand together;
      where it does not divide P, the first folds have one pair more. Or the
      fold of each pair, `[P]`, 0 to D - 1, equally many each (LFW, YTF).
    choose_threshold: `(scores, same)` of the other folds to the threshold
      that judges a fold; a pair is accepted from it up.

  Returns:
    `VerificationResult`, percent.

  Raises:
    ValueError: The lengths disagree, a score is not finite, there are fewer
      than two pairs a fold, a fold lacks genuine or impostor pairs, or given
      folds do not add up.
    TypeError: `scores` is not floating or `same` not boolean.
  """
  sizes = check_array("scores", scores, "... P")
  check_array("same", same, "P", dtype="any", sizes=sizes)
  if same.dtype != np.bool_:
    raise TypeError(f"same: expected a bool dtype, got {same.dtype}")
  truth = np.asarray(same)
  parts = split_folds(truth, folds)
  count = len(parts)
  if scores.ndim > 1:
    check_array("scores", scores, f"{count} P", sizes=sizes)
  rows = np.broadcast_to(np.asarray(scores, np.float64), (count, len(truth)))
  _check_finite(rows)

  thresholds = np.empty(count)
  measures = np.empty((5, count))
  own = np.empty(len(truth))
  for i, part in enumerate(parts):
    others = np.concatenate(parts[:i] + parts[i + 1 :])
    values = rows[i]
    own[part] = values[part]
    thresholds[i] = choose_threshold(values[others], truth[others])
    accepted = values[part] >= thresholds[i]
    curve = roc_curve(values[part], truth[part])
    impostors = int(np.sum(~truth[part]))
    measures[:, i] = (
      np.mean(accepted == truth[part]),
      1 - equal_error_rate(curve),
      area_under_curve(curve),
      tar_at_far(curve, 0.1) if impostors >= 10 else np.nan,
      tar_at_far(curve, 0.01) if impostors >= 100 else np.nan,
    )
  accuracy, eer_complement, auc, tar_10, tar_1 = 100 * measures
  return VerificationResult(
    accuracy=_over_folds(accuracy),
    eer_complement=_over_folds(eer_complement),
    auc=_over_folds(auc),
    tar_at_far_10=_over_folds(tar_10),
    tar_at_far_1=_over_folds(tar_1),
    thresholds=thresholds,
    roc=roc_curve(own, truth),
  )


def _over_folds(percent: np.ndarray) -> FoldStatistic:
  return FoldStatistic(
    mean=float(percent.mean()), std=float(percent.std(ddof=1)), folds=percent
  )


def split_folds(
  same: Bool[np.ndarray, "P"], folds: int | Int[np.ndarray, "P"]
) -> list[Int[np.ndarray, "X"]]:
  """The pairs of each fold; see `verify`.

  Raises:
    ValueError: There are fewer than two folds or two pairs a fold, a fold
      lacks genuine or impostor pairs, or given folds are not 0 to D - 1 with
      equally many pairs each.
    TypeError: Given folds are not integers.
  """
  if isinstance(folds, int):
    if folds < 2:
      raise ValueError(f"folds: expected at least 2, got {folds}")
    if len(same) < 2 * folds:
      raise ValueError(
        f"scores: expected at least {2 * folds} pairs for {folds} folds, got"
        f" {len(same)}"
      )
    parts = np.array_split(np.arange(len(same)), folds)
  else:
    parts = _given_folds(folds, len(same))
  for i, part in enumerate(parts):
    genuine = int(same[part].sum())
    if genuine in (0, len(part)):
      raise ValueError(
        f"same: expected genuine and impostor pairs in every fold, got"
        f" {genuine} genuine of {len(part)} in fold {i}"
        f" (pairs {part[0]} to {part[-1]})"
      )
  return parts


def _given_folds(
  folds: Int[np.ndarray, "P"], pairs: int
) -> list[Int[np.ndarray, "X"]]:
  check_array("folds", folds, "P", dtype="integer", sizes={"P": pairs})
  names, counts = np.unique(folds, return_counts=True)
  if len(names) < 2 or not np.array_equal(names, np.arange(len(names))):
    raise ValueError(
      "folds: expected the numbers 0 to D - 1 of two or more folds, got"
      f" {names.tolist()[:12]}"
    )
  if len(set(counts.tolist())) > 1:
    raise ValueError(
      f"folds: expected equally many pairs in each, got {counts.tolist()}"
    )
  return [np.flatnonzero(folds == name) for name in names]


def _check_finite(rows: np.ndarray) -> None:
  broken = np.argwhere(~np.isfinite(rows))
  if len(broken):
    row, pair = broken[0]
    bad = len(np.unique(broken[:, 1]))
    raise ValueError(
      f"scores: expected finite numbers, got {rows[row, pair]} for pair"
      f" {pair} ({bad} in all)"
    )


def bootstrap_auc_difference(
  scores: Float[Array | np.ndarray, "P"],
  other_scores: Float[Array | np.ndarray, "P"],
  pairs: Pairs,
  labels: Int[Array | np.ndarray, "N"],
  *,
  level: float = 0.95,
  samples: int = 1000,
  seed: int = 0,
) -> Interval:
  """AUC of `scores` minus AUC of `other_scores`, with its interval.

  Draws people, the same for both: a pair counts as often as its person is
  drawn, an impostor pair as often as the product for its two. Pairs share
  people, so drawing pairs would make the interval far too narrow.

  Args:
    scores: One feature's scores of the pairs, `[P]`.
    other_scores: Another feature's scores of the same pairs, `[P]`.
    pairs: The pairs, as `make_pairs` gives them.
    labels: The person of each photo, `[N]`.
    level: Coverage of the interval.
    samples: Number of bootstrap samples.
    seed: The same seed gives the same interval.

  Returns:
    Difference of the AUCs over all pairs, in percent, and its interval.

  Raises:
    ValueError: The lengths disagree, a score is not finite, or one kind of
      pair is missing.
    TypeError: A dtype differs.
  """
  sizes = {"P": len(pairs.same)}
  check_array("labels", labels, "N", dtype="integer")
  ranks = []
  for name, values in (("scores", scores), ("other_scores", other_scores)):
    check_array(name, values, "P", sizes=sizes)
    if not np.isfinite(np.asarray(values)).all():
      raise ValueError(f"{name}: expected finite numbers, got NaN or inf")
    ranks.append(np.unique(np.asarray(values), return_inverse=True)[1])
  if pairs.same.all() or not pairs.same.any():
    raise ValueError("pairs: expected genuine and impostor pairs, got one kind")
  names, person = np.unique(np.asarray(labels), return_inverse=True)
  first, second = person[pairs.first], person[pairs.second]

  def difference(drawn: np.ndarray) -> np.ndarray:
    genuine = drawn[:, first] * pairs.same
    impostor = drawn[:, first] * drawn[:, second] * ~pairs.same
    one, other = (weighted_auc(rank, genuine, impostor) for rank in ranks)
    return 100 * (one - other)

  estimate = difference(np.ones((1, len(names))))[0]
  resampled = np.concatenate(
    [
      difference(drawn)
      for drawn in draw_counts(len(names), samples=samples, seed=seed)
    ]
  )
  # A sample of very few people may hold no pair of one kind.
  return percentile_interval(
    float(estimate), resampled[np.isfinite(resampled)], level=level
  )
