"""How well codes tell people apart, by their cosines."""

import dataclasses

from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.pair_plans import PairPlan, draw_pairs
from disentangle3d.evaluation.pairs import Pairs
from disentangle3d.evaluation.presets import preset_scores, verify_codes
from disentangle3d.evaluation.verification import VerificationResult


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


def score_codes(
  codes: Float[Array | np.ndarray, "P D"],
  people: Int[Array | np.ndarray, "P"],
  plan: PairPlan,
) -> CodeScores:
  """Verifies by the cosine of codes.

  Args:
    codes: One a photo.
    people: Who is in each photo.
    plan: How to draw pairs.

  Returns:
    Scores and what they are worth.

  Raises:
    ValueError: There are too few people or photos for the plan.
  """
  return score_pairs(codes, draw_pairs(people, plan))


def score_pairs(
  codes: Float[Array | np.ndarray, "P D"],
  pairs: Pairs,
  *,
  mirrored: Float[Array | np.ndarray, "P D"] | None = None,
) -> CodeScores:
  """Verifies given pairs by the cosine of codes, as the paper does.

  Args:
    codes: One a photo.
    pairs: What to compare.
    mirrored: Codes of the mirrored photos, to be joined with `codes`.

  Returns:
    Scores and what they are worth.

  Raises:
    ValueError: The folds do not add up, or a code is not finite.
  """
  return CodeScores(
    preset_scores(codes, pairs, mirrored=mirrored),
    pairs,
    verify_codes(codes, pairs, mirrored=mirrored),
  )
