"""Whether identity is in the identity code, and only there (host, NumPy).

The paper shows it in pictures. Here: how much of a code's variance is between
people, how far a code drifts with yaw or expression, what a linear classifier
reads out of it, and what happens when one person's identity is joined to
another's residual.
"""

import dataclasses

from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.pairs import unit_rows
from disentangle3d.types import check_array


@dataclasses.dataclass(frozen=True, eq=False)
class Drift:
  """How far codes of the same person move from where they were.

  Attributes:
    bins: The conditions, `[C]`.
    distance: Mean of 1 - cosine between a photo's code and the mean code of
      the same person's photos in the reference condition, `[C]`; NaN where
      there is none.
    photos: How many photos each mean is over, `[C]`.
    strangers: The same distance between different people, in the reference
      condition: what the others are to be compared with.
  """

  bins: Int[np.ndarray, "C"]
  distance: Float[np.ndarray, "C"]
  photos: Int[np.ndarray, "C"]
  strangers: float


@dataclasses.dataclass(frozen=True, eq=False)
class Classification:
  """How well a linear classifier reads classes out of codes, percent.

  Attributes:
    accuracy: Photos classified rightly, by classifiers that saw no photo of
      their person.
    balanced_accuracy: Mean over the classes of the share of them that is.
    chance: What always saying the most frequent class would reach.
    confusion: Photos of class i called class j, `[C, C]`.
    classes: Their names, `[C]`.
  """

  accuracy: float
  balanced_accuracy: float
  chance: float
  confusion: Int[np.ndarray, "C C"]
  classes: Int[np.ndarray, "C"]


def variance_ratio(
  codes: Float[Array | np.ndarray, "N D"], people: Int[Array | np.ndarray, "N"]
) -> float:
  """Variance between people over variance within them, summed over a code.

  The components of variance of a one-way analysis: the spread of the means
  that photos' own noise explains is taken off, so that the ratio does not
  depend on how many photos a person has. 0 says that a code knows nothing of
  the person.

  Args:
    codes: `[N, D]`.
    people: `[N]`; at least two, one of them with two photos.

  Returns:
    The ratio, at least 0; inf where people's photos have equal codes, NaN
    where all codes are equal.

  Raises:
    ValueError: The lengths disagree, a code is not finite, or there are too
      few people or photos.
    TypeError: A dtype differs.
  """
  rows, owner, counts = _grouped(codes, people)
  total, number = len(rows), len(counts)
  if number < 2 or total == number:
    raise ValueError(
      "people: expected two or more, one of them with two photos, got"
      f" {number} people in {total} photos"
    )
  means = _means(rows, owner, counts)
  within = np.sum((rows - means[owner]) ** 2) / (total - number)
  spread = np.sum(counts[:, None] * (means - rows.mean(0)) ** 2)
  photos = (total - np.sum(counts**2) / total) / (number - 1)
  between = max((spread / (number - 1) - within) / photos, 0.0)
  if within == 0:
    return float("inf") if between > 0 else float("nan")
  return float(between / within)


def identity_drift(
  codes: Float[Array | np.ndarray, "N D"],
  people: Int[Array | np.ndarray, "N"],
  condition: Int[Array | np.ndarray, "N"],
  *,
  reference: int = 0,
) -> Drift:
  """How far a code moves as yaw or expression changes, the person being one.

  Args:
    codes: `[N, D]`.
    people: `[N]`.
    condition: Yaw bin or expression class of each photo, `[N]`.
    reference: The condition that is compared with (frontal, neutral). Its
      own photos are compared with the person's other ones there.

  Returns:
    `Drift`.

  Raises:
    ValueError: The lengths disagree, a code is not finite, or fewer than two
      people have a photo in the reference condition.
    TypeError: A dtype differs.
  """
  rows, owner, counts = _grouped(codes, people)
  check_array(
    "condition", condition, "N", dtype="integer", sizes={"N": len(rows)}
  )
  state = np.asarray(condition)
  rows = unit_rows(rows)
  there = state == reference
  total = np.zeros((len(counts), rows.shape[1]))
  np.add.at(total, owner[there], rows[there])
  number = np.bincount(owner[there], minlength=len(counts))
  if np.sum(number > 0) < 2:
    raise ValueError(
      f"condition: expected two or more people with photos in {reference}, got"
      f" {int(np.sum(number > 0))}"
    )
  # A reference photo is not compared with itself.
  others = total[owner] - np.where(there[:, None], rows, 0)
  left = number[owner] - there
  distance = 1 - np.sum(rows * unit_rows(others), 1)
  bins = np.unique(state)
  means = np.full(len(bins), np.nan)
  photos = np.zeros(len(bins), np.int64)
  for place, one in enumerate(bins):
    counted = (state == one) & (left > 0)
    photos[place] = counted.sum()
    if counted.any():
      means[place] = distance[counted].mean()
  centres = unit_rows(total[number > 0])
  cosines = centres @ centres.T
  pairs = len(centres) * (len(centres) - 1)
  strangers = 1 - (cosines.sum() - np.trace(cosines)) / pairs
  return Drift(bins, means, photos, float(strangers))


def classify_linearly(
  codes: Float[Array | np.ndarray, "N D"],
  classes: Int[Array | np.ndarray, "N"],
  people: Int[Array | np.ndarray, "N"],
  *,
  folds: int = 5,
  ridge: float = 1.0,
  seed: int = 0,
) -> Classification:
  """Reads classes (expressions) out of codes; nobody is in two folds.

  Ridge regression on one-hot targets in closed form, codes standardised on
  the training people; the class with the greatest output is taken.

  Args:
    codes: `[N, D]`.
    classes: `[N]`.
    people: `[N]`.
    folds: People are dealt to so many, at random.
    ridge: Weight of the squared coefficients.
    seed: Of the dealing.

  Returns:
    `Classification`, over all photos, each classified once.

  Raises:
    ValueError: The lengths disagree, a code is not finite, there is a single
      class, or there are fewer people than folds.
    TypeError: A dtype differs.
  """
  rows, owner, counts = _grouped(codes, people)
  check_array("classes", classes, "N", dtype="integer", sizes={"N": len(rows)})
  names, label = np.unique(np.asarray(classes), return_inverse=True)
  if len(names) < 2:
    raise ValueError(f"classes: expected two or more, got {names.tolist()}")
  if not 2 <= folds <= len(counts):
    raise ValueError(
      f"folds: expected 2 to {len(counts)}, the number of people, got {folds}"
    )
  dealt = np.random.default_rng(seed).permutation(len(counts)) % folds
  called = np.zeros(len(rows), np.int64)
  for fold in range(folds):
    own = dealt[owner] == fold
    called[own] = _ridge_classes(
      rows[~own], np.eye(len(names))[label[~own]], rows[own], ridge
    )
  confusion = np.zeros((len(names), len(names)), np.int64)
  np.add.at(confusion, (label, called), 1)
  of_class = confusion.sum(1)
  return Classification(
    accuracy=100 * float(np.mean(called == label)),
    balanced_accuracy=100 * float(np.mean(np.diag(confusion) / of_class)),
    chance=100 * float(of_class.max() / len(rows)),
    confusion=confusion,
    classes=names,
  )


def swap_partners(
  people: Int[Array | np.ndarray, "N"], *, seed: int = 0
) -> Int[np.ndarray, "N"]:
  """For each photo one of somebody else; every photo is a partner once.

  Args:
    people: `[N]`; nobody may have more than half of the photos.
    seed: The same seed gives the same partners.

  Returns:
    Indices, `[N]`, a permutation.

  Raises:
    ValueError: Somebody has more than half of the photos.
    TypeError: `people` is not of integers.
  """
  check_array("people", people, "N", dtype="integer")
  owner = np.unique(np.asarray(people), return_inverse=True)[1]
  most = int(np.bincount(owner).max())
  if 2 * most > len(owner):
    raise ValueError(
      f"people: expected nobody in more than half of {len(owner)} photos, got"
      f" one in {most}"
    )
  rng = np.random.default_rng(seed)
  # Grouped by person, a shift by the largest group leaves every group.
  order = np.lexsort((rng.random(len(owner)), owner))
  partners = np.empty(len(owner), np.int64)
  partners[order] = np.roll(order, -most)
  return partners


def swap_shapes(
  shape: Float[Array | np.ndarray, "N V 3"],
  identity_shape: Float[Array | np.ndarray, "N V 3"],
  partners: Int[np.ndarray, "N"],
) -> Float[np.ndarray, "N V 3"]:
  """The identity of each photo with the residual of its partner's.

  Components add, so this is what the decoders make of the two codes; of true
  shapes it is the true combination.

  Args:
    shape: `[N, V, 3]`, mm.
    identity_shape: `[N, V, 3]`, mm.
    partners: `[N]`, from `swap_partners`.

  Returns:
    `[N, V, 3]`, mm.

  Raises:
    ValueError: The shapes disagree.
    TypeError: A dtype differs.
  """
  sizes = check_array("shape", shape, "N V 3")
  check_array("identity_shape", identity_shape, "N V 3", sizes=sizes)
  check_array("partners", partners, "N", dtype="integer", sizes=sizes)
  whole, own = np.asarray(shape), np.asarray(identity_shape)
  return own + whole[partners] - own[partners]


def _grouped(
  codes: Array | np.ndarray, people: Array | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Codes in float64, the person of each from 0, the people's photo counts."""
  sizes = check_array("codes", codes, "N D")
  check_array("people", people, "N", dtype="integer", sizes=sizes)
  rows = np.asarray(codes, np.float64)
  if not np.isfinite(rows).all():
    raise ValueError("codes: expected finite numbers, got NaN or inf")
  _, owner, counts = np.unique(
    np.asarray(people), return_inverse=True, return_counts=True
  )
  return rows, owner, counts


def _means(
  rows: np.ndarray, owner: np.ndarray, counts: np.ndarray
) -> np.ndarray:
  total = np.zeros((len(counts), rows.shape[1]))
  np.add.at(total, owner, rows)
  return total / counts[:, None]


def _ridge_classes(
  rows: np.ndarray, targets: np.ndarray, asked: np.ndarray, ridge: float
) -> np.ndarray:
  mean, deviation = rows.mean(0), rows.std(0)
  deviation = np.where(deviation > 0, deviation, 1.0)
  x = (rows - mean) / deviation
  offset = targets.mean(0)
  normal = x.T @ x + ridge * np.eye(x.shape[1])
  weights = np.linalg.solve(normal, x.T @ (targets - offset))
  return np.argmax((asked - mean) / deviation @ weights + offset, 1)
