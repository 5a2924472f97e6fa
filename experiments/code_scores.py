"""How well a network's codes tell people apart, on photos never trained on."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, UInt8
import numpy as np

from disentangle3d.evaluation.pairs import Pairs, make_pairs, pair_scores
from disentangle3d.evaluation.verification import VerificationResult, verify
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


def encode_photos(
  network: Export, images: UInt8[np.ndarray, "P 112 96 3"]
) -> Latents:
  """Codes of any number of photos, on the host; one program for all."""
  run = jax.jit(
    lambda params, batch: encode(params, batch, model=network.model)
  )
  parts = []
  for start in range(0, len(images), _BATCH):
    rows = np.minimum(np.arange(start, start + _BATCH), len(images) - 1)
    codes = run(network.params, jnp.asarray(images[rows]))
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
  pairs = make_pairs(
    people,
    folds=plan.folds,
    pairs_per_fold=plan.pairs_per_fold,
    seed=plan.seed,
  )
  scores = pair_scores(codes, pairs)
  return CodeScores(scores, pairs, verify(scores, pairs.same, folds=plan.folds))
