"""Pairs of photos for verification, in folds that share no person."""

import dataclasses

from jaxtyping import Array, Bool, Float, Int
import numpy as np

from disentangle3d.types import UserError, check_array


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Pairs of photos, fold after fold, genuine before impostor in each.

  Attributes:
    first: Index of one photo of each pair, `[P]`.
    second: Index of the other, `[P]`.
    same: True where both show the same person, `[P]`.
    fold: Fold of each pair, `[P]`, 0 0 ... 1 1 ...; no person is in two.
  """

  first: Int[np.ndarray, "P"]
  second: Int[np.ndarray, "P"]
  same: Bool[np.ndarray, "P"]
  fold: Int[np.ndarray, "P"]


def make_pairs(
  labels: Int[Array | np.ndarray, "N"],
  *,
  folds: int = 10,
  pairs_per_fold: int = 600,
  seed: int = 0,
) -> Pairs:
  """Draws as many genuine as impostor pairs in each person-disjoint fold.

  People are dealt to the folds so that each fold can make about equally many
  genuine pairs. Genuine pairs are spread evenly over a fold's people;
  impostor pairs are drawn evenly from all there are. No pair comes twice.

  Args:
    labels: The person of each photo, `[N]`.
    folds: Number of folds.
    pairs_per_fold: Even; half of them are genuine.
    seed: The same seed gives the same pairs.

  Returns:
    `folds * pairs_per_fold` pairs, in the order that `verify` expects.

  Raises:
    UserError: `pairs_per_fold` is odd, there are fewer than two people a
      fold, or a fold cannot make so many pairs; says how many it can.
    TypeError: `labels` is not an integer array.
  """
  check_array("labels", labels, "N", dtype="integer")
  if folds < 1:
    raise UserError(f"folds: expected at least 1, got {folds}")
  if pairs_per_fold < 2 or pairs_per_fold % 2:
    raise UserError(
      f"pairs_per_fold: expected an even number from 2, got {pairs_per_fold}"
    )
  rng = np.random.default_rng(seed)
  person = np.unique(np.asarray(labels), return_inverse=True)[1]
  fold_of_person = _deal_people(np.bincount(person), folds, rng)
  half = pairs_per_fold // 2
  chosen = []
  for fold in range(folds):
    photos = np.flatnonzero(fold_of_person[person] == fold)
    genuine = _genuine_pairs(photos, person, rng)
    if len(genuine) < half:
      raise UserError(
        f"labels: expected at least {half} genuine pairs in fold {fold}, got"
        f" {len(genuine)} from its {len(photos)} photos; use fewer pairs or"
        " folds"
      )
    chosen += [genuine[:half], _impostor_pairs(photos, person, half, fold, rng)]
  first, second = np.concatenate(chosen).T
  return Pairs(
    first=first,
    second=second,
    same=person[first] == person[second],
    fold=np.repeat(np.arange(folds), pairs_per_fold),
  )


def pair_scores(
  embeddings: Float[Array | np.ndarray, "N D"], pairs: Pairs
) -> Float[np.ndarray, "P"]:
  """Cosine similarity of the embeddings of each pair.

  Args:
    embeddings: One row a photo, `[N, D]`; the length does not matter, a zero
      row has a cosine of 0 with everything.
    pairs: Indices of photos below N.

  Returns:
    `[P]` float64 in [-1, 1].

  Raises:
    UserError: `embeddings` is not a matrix, or has fewer rows than the
      pairs name.
    TypeError: `embeddings` is not floating.
  """
  sizes = check_array("embeddings", embeddings, "N D")
  needed = int(max(pairs.first.max(), pairs.second.max())) + 1
  if sizes["N"] < needed:
    raise UserError(
      f"embeddings: expected at least {needed} rows, as pairs name them, got"
      f" {sizes['N']}"
    )
  unit = unit_rows(embeddings)
  cosine = np.einsum("pd,pd->p", unit[pairs.first], unit[pairs.second])
  return np.clip(cosine, -1.0, 1.0)


def unit_rows(
  codes: Float[Array | np.ndarray, "N D"],
) -> Float[np.ndarray, "N D"]:
  """Rows at unit length, float64; a zero row stays zero."""
  rows = np.asarray(codes, np.float64)
  length = np.linalg.norm(rows, axis=1, keepdims=True)
  return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _deal_people(
  photos: np.ndarray, folds: int, rng: np.random.Generator
) -> np.ndarray:
  """The fold of each person, from their numbers of photos."""
  if len(photos) < 2 * folds:
    raise UserError(
      f"labels: expected at least {2 * folds} people for {folds} folds, got"
      f" {len(photos)}"
    )
  by_photos = np.lexsort((rng.random(len(photos)), -photos))
  fold = np.empty(len(photos), np.int64)
  # To and fro, so that fold 0 is not always given the larger share.
  there = np.arange(folds)
  turns = np.tile(np.append(there, there[::-1]), len(photos) // folds + 1)
  fold[by_photos] = turns[: len(photos)]
  return fold


def _genuine_pairs(
  photos: np.ndarray, person: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """All genuine pairs of a fold: everyone's first, then everyone's second."""
  pairs, turns = [], []
  for one in np.unique(person[photos]):
    mine = photos[person[photos] == one]
    of_one = np.stack(np.triu_indices(len(mine), 1), 1)
    pairs.append(mine[rng.permutation(of_one)])
    turns.append(np.arange(len(of_one)))
  joined, turn = np.concatenate(pairs), np.concatenate(turns)
  return joined[np.lexsort((rng.random(len(turn)), turn))]


def _impostor_pairs(
  photos: np.ndarray,
  person: np.ndarray,
  wanted: int,
  fold: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """Distinct impostor pairs of a fold, without listing all there are."""
  counts = np.bincount(person[photos])
  possible = (len(photos) ** 2 - int(np.sum(counts**2))) // 2
  if possible < wanted:
    raise UserError(
      f"labels: expected at least {wanted} impostor pairs in fold {fold}, got"
      f" {possible} from its {len(photos)} photos; use fewer pairs or folds"
    )
  found = np.zeros((0, 2), np.int64)
  while len(found) < wanted:
    drawn = np.sort(rng.integers(0, len(photos), (2 * wanted + 16, 2)), axis=1)
    drawn = photos[drawn]
    drawn = drawn[person[drawn[:, 0]] != person[drawn[:, 1]]]
    found = np.concatenate([found, drawn])
    order = np.sort(np.unique(found, axis=0, return_index=True)[1])
    found = found[order]
  return found[:wanted]
