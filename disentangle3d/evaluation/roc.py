"""Receiver operating characteristics, with ties handled (host, NumPy).

A pair is accepted where its score is at least the threshold. far is the share
of impostor pairs accepted, tar the share of genuine pairs accepted.
"""

import dataclasses

from jaxtyping import Bool, Float
import numpy as np


@dataclasses.dataclass(frozen=True)
class RocCurve:
  """The operating points of one set of scores, from strict to lenient.

  Attributes:
    far: Share of impostor pairs accepted, `[T]`, from 0 to 1.
    tar: Share of genuine pairs accepted, `[T]`, from 0 to 1.
    threshold: Accept from this score up, `[T]`, falling; the first is inf.
  """

  far: Float[np.ndarray, "T"]
  tar: Float[np.ndarray, "T"]
  threshold: Float[np.ndarray, "T"]


def roc_curve(
  scores: Float[np.ndarray, "P"], same: Bool[np.ndarray, "P"]
) -> RocCurve:
  """One operating point a distinct score; equal scores fall together.

  Args:
    scores: Similarities, `[P]`, finite.
    same: True for genuine pairs, `[P]`; both kinds must occur.

  Returns:
    The curve, from (0, 0) to (1, 1).
  """
  threshold, group = np.unique(-scores, return_inverse=True)
  genuine = np.bincount(group, same, len(threshold))
  impostor = np.bincount(group, ~same, len(threshold))
  return RocCurve(
    far=np.append(0.0, np.cumsum(impostor) / impostor.sum()),
    tar=np.append(0.0, np.cumsum(genuine) / genuine.sum()),
    threshold=np.append(np.inf, -threshold),
  )


def area_under_curve(curve: RocCurve) -> float:
  """AUC in [0, 1]: the chance that a genuine score exceeds an impostor's."""
  return float(np.trapezoid(curve.tar, curve.far))


def equal_error_rate(curve: RocCurve) -> float:
  """Where far = 1 - tar on the curve drawn with straight lines, in [0, 1]."""
  excess = curve.far - (1 - curve.tar)
  # excess rises from -1 to 1 without falling: find where it crosses 0.
  after = int(np.argmax(excess >= 0))
  before = after - 1
  share = -excess[before] / (excess[after] - excess[before])
  return float(
    curve.far[before] + share * (curve.far[after] - curve.far[before])
  )


def tar_at_far(curve: RocCurve, far: float) -> float:
  """The highest tar at a far, linear between operating points, in [0, 1]."""
  before = int(np.searchsorted(curve.far, far, side="right")) - 1
  if before + 1 == len(curve.far):
    return float(curve.tar[-1])
  width = curve.far[before + 1] - curve.far[before]
  share = (far - curve.far[before]) / width
  return float(
    curve.tar[before] + share * (curve.tar[before + 1] - curve.tar[before])
  )


def weighted_auc(
  group: np.ndarray, genuine: np.ndarray, impostor: np.ndarray
) -> np.ndarray:
  """AUC of many weightings of the same pairs, in [0, 1].

  Args:
    group: Rank of each pair's score from the lowest, ties equal, `[P]` int.
    genuine: Weight of each pair as a genuine one, `[N, P]`.
    impostor: Weight of each pair as an impostor one, `[N, P]`.

  Returns:
    `[N]`; NaN where a row has no genuine or no impostor weight.
  """
  order = np.argsort(group, kind="stable")
  start = np.flatnonzero(np.diff(group[order], prepend=-1))
  per_rank = [
    np.add.reduceat(weight[:, order], start, axis=1)
    for weight in (genuine, impostor)
  ]
  below = np.cumsum(per_rank[1], 1) - 0.5 * per_rank[1]
  won = np.sum(per_rank[0] * below, 1)
  possible = per_rank[0].sum(1) * per_rank[1].sum(1)
  return np.divide(
    won, possible, out=np.full(len(won), np.nan), where=possible > 0
  )
