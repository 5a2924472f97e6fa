"""How well a network's codes tell people apart, on photos never trained on."""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, UInt8
import numpy as np

from disentangle3d.evaluation.pairs import Pairs, make_pairs
from disentangle3d.evaluation.presets import preset_scores, verify_codes
from disentangle3d.evaluation.verification import VerificationResult
from disentangle3d.inference import encode
from disentangle3d.training.export import Export
from disentangle3d.types import Latents

_BATCH = 50


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


class Images(Protocol):
  """Crops by number: an array, or something that reads them when asked."""

  def __len__(self) -> int:
    """P."""

  def __getitem__(
    self, rows: Int[np.ndarray, "B"]
  ) -> UInt8[np.ndarray, "B 112 96 3"]:
    """The crops of some rows."""


def encode_photos(
  network: Export, images: Images, *, mirrored: bool = False
) -> Latents:
  """Codes of any number of photos, on the host; one program for all.

  Args:
    network: Whose codes.
    images: The crops.
    mirrored: Of the crops turned left to right.
  """
  run = jax.jit(
    lambda params, batch: encode(params, batch, model=network.model)
  )
  params = jax.tree.map(jnp.asarray, network.params)
  parts = []
  for start in range(0, len(images), _BATCH):
    rows = np.minimum(np.arange(start, start + _BATCH), len(images) - 1)
    batch = images[rows]
    batch = batch[:, :, ::-1] if mirrored else batch
    codes = run(params, jnp.asarray(batch))
    parts.append(jax.tree.map(np.asarray, codes))
  joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
  return jax.tree.map(lambda leaf: leaf[: len(images)], joined)


def score_codes(
  codes: Float[np.ndarray, "P D"],
  people: Int[np.ndarray, "P"],
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


def draw_pairs(people: Int[np.ndarray, "P"], plan: PairPlan) -> Pairs:
  """The pairs of a plan.

  Raises:
    ValueError: There are too few people or photos for the plan.
  """
  return make_pairs(
    people,
    folds=plan.folds,
    pairs_per_fold=plan.pairs_per_fold,
    seed=plan.seed,
  )


def score_pairs(
  codes: Float[np.ndarray, "P D"],
  pairs: Pairs,
  *,
  mirrored: Float[np.ndarray, "P D"] | None = None,
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


def plan_pairs(people: Int[np.ndarray, "P"]) -> PairPlan:
  """As many folds as leave two people in each, at most ten.

  Raises:
    ValueError: There are fewer than four people.
  """
  count = len(np.unique(people))
  folds = min(10, count // 2)
  if folds < 2:
    raise ValueError(
      "heldout: expected at least four people to verify, got"
      f" {count}; build the dataset with more --heldout_people"
    )
  photos = len(people) / count
  genuine = int(count / folds * photos * (photos - 1) / 2)
  return PairPlan(folds=folds, pairs_per_fold=2 * min(300, genuine // 2))


def usual_plan(
  people: Int[np.ndarray, "P"], usual: PairPlan = PairPlan()
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
