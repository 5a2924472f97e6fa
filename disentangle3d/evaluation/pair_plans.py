"""How pairs of photographs are drawn for verification."""

import dataclasses

from jaxtyping import Array, Int
import numpy as np

from disentangle3d.evaluation.pairs import Pairs, make_pairs
from disentangle3d.types import UserError

# Two folds with two people in each.
LEAST_PEOPLE = 4


@dataclasses.dataclass(frozen=True)
class PairPlan:
  """How pairs are drawn; the same for every row of a table.

  Attributes:
    folds: Number of person-disjoint folds.
    pairs_per_fold: Half of them genuine.
    seed: Of the draw.
  """

  folds: int = 10
  pairs_per_fold: int = 300
  seed: int = 0


def draw_pairs(people: Int[Array | np.ndarray, "P"], plan: PairPlan) -> Pairs:
  """The pairs of a plan.

  Raises:
    ValueError: There are too few people or photos for the plan.
  """
  return make_pairs(
    people, folds=plan.folds, pairs_per_fold=plan.pairs_per_fold, seed=plan.seed
  )


def plan_pairs(people: Int[Array | np.ndarray, "P"]) -> PairPlan:
  """As many folds as leave two people in each, at most ten.

  Raises:
    UserError: There are fewer than four people.
  """
  count = len(np.unique(people))
  folds = min(10, count // 2)
  if count < LEAST_PEOPLE:
    raise UserError(
      "heldout: expected at least four people to verify, got"
      f" {count}; build the dataset with more --heldout_people"
    )
  photos = len(people) / count
  genuine = int(count / folds * photos * (photos - 1) / 2)
  return PairPlan(folds=folds, pairs_per_fold=2 * min(300, genuine // 2))


def usual_plan(
  people: Int[Array | np.ndarray, "P"], *, usual: PairPlan = PairPlan()
) -> PairPlan:
  """A plan where the smallest fold has the genuine pairs, else `plan_pairs`'s.

  Args:
    people: Who is in each photo.
    usual: The plan that is wanted.

  Raises:
    ValueError: There are fewer than four people.
  """
  _, photos = np.unique(people, return_counts=True)
  smallest = len(photos) // usual.folds
  # Whoever has fewest photos may be in it.
  genuine = int(np.sum(np.sort(photos * (photos - 1) // 2)[:smallest]))
  if smallest and genuine >= usual.pairs_per_fold // 2:
    return usual
  return plan_pairs(people)
