"""How well codes tell people apart, by their cosines."""

import dataclasses

from jaxtyping import Array, Bool, Float, Int
import numpy as np

from disentangle3d.evaluation.bootstrap import Interval
from disentangle3d.evaluation.pairs import Pairs
from disentangle3d.evaluation.presets import preset_scores, verify_codes
from disentangle3d.evaluation.verification import (
  VerificationResult,
  bootstrap_auc_difference,
)


@dataclasses.dataclass(frozen=True, eq=False)
class CodeScores:
  """Verification by one kind of code.

  Attributes:
    scores: Cosine of each pair, `[P]`.
    pairs: Which photos were compared.
    result: Accuracy, 100%-EER, AUC, TAR at FAR 10 % and 1 %.
  """

  scores: Float[np.ndarray, "P"]
  pairs: Pairs
  result: VerificationResult


def score_pairs(
  codes: Float[Array | np.ndarray, "P D"],
  pairs: Pairs,
  *,
  mirrored: Float[Array | np.ndarray, "P D"] | None = None,
  refused: Bool[Array | np.ndarray, "P"] | None = None,
) -> CodeScores:
  """Verifies given pairs by the cosine of codes, as the paper does.

  Args:
    codes: One a photo.
    pairs: What to compare.
    mirrored: Codes of the mirrored photos, to be joined with `codes`.
    refused: Photos whose pairs get the lowest score, -1; None for none.

  Returns:
    Scores and what they are worth.

  Raises:
    ValueError: The folds do not add up, or a code is not finite.
  """
  return CodeScores(
    preset_scores(codes, pairs, mirrored=mirrored, refused=refused),
    pairs,
    verify_codes(codes, pairs, mirrored=mirrored, refused=refused),
  )


def auc_difference(
  first: CodeScores, second: CodeScores, people: Int[Array | np.ndarray, "N"]
) -> Interval:
  """AUC of one code minus another's on the same pairs, people drawn again.

  Args:
    first: Scores of the one.
    second: Scores of the other.
    people: Who is in each photo.

  Returns:
    See `bootstrap_auc_difference`; percentage points.

  Raises:
    ValueError: The pairs are not as many.
  """
  return bootstrap_auc_difference(
    first.scores, second.scores, first.pairs, people
  )
