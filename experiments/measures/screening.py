"""Whose faces of a set look like somebody that networks were trained on.

Training sets without names may hold people of a test set; a trained trunk tells
who it could be.
"""

from collections.abc import Mapping
import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np

from disentangle3d.evaluation.pairs import Pairs, unit_rows
from disentangle3d.evaluation.verification import VerificationResult, verify
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.export import Network
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from disentangle3d.types import UserError
from experiments.measures.codes import encode_trunk
from experiments.measures.verification import FaceResults
from experiments.sets.faces import FaceSet

_PHOTOS_A_PERSON = 3
_ROWS_A_TURN = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class KnownPeople:
  """Those that networks were trained on, as a trunk sees them.

  Attributes:
    trunk: The network whose trunk it is.
    means: The mean feature of each, at unit length, `[K, F]`.
    bound: From which cosine on a photo is taken for one of them.
  """

  trunk: Network
  means: Float[np.ndarray, "K F"]
  bound: float

  def alike(self, faces: FaceSet) -> Bool[np.ndarray, "U"]:
    """Which units of a set are nearer to one of them than the bound."""
    features = unit_rows(faces.pool(encode_trunk(self.trunk, faces.images)))
    return (features @ self.means.T).max(1) >= self.bound


def known_people(dataset: str, trunk: Network, bound: float) -> KnownPeople:
  """The people of the split `train`, by at most three photos each.

  Args:
    dataset: Of build_dataset.
    trunk: Whose trunk's feature tells people apart.
    bound: See `KnownPeople`.

  Raises:
    UserFileNotFoundError: A file of the dataset is missing.
    UserError: The dataset is damaged.
  """
  reader = RecordReader(open_dataset(dataset, "train", verify=False))
  starts = range(0, len(reader), _ROWS_A_TURN)
  turns = [range(s, min(s + _ROWS_A_TURN, len(reader))) for s in starts]
  labels = np.concatenate([reader.read_targets(rows)[0] for rows in turns])
  rows = first_rows(labels, _PHOTOS_A_PERSON)
  crops = np.stack(
    [decode_image(one["image"]) for one in reader.read_records(rows.tolist())]
  )
  features = unit_rows(encode_trunk(trunk, crops))
  people, owner = np.unique(labels[rows], return_inverse=True)
  sums = np.zeros((len(people), features.shape[1]), np.float32)
  np.add.at(sums, owner, features)
  return KnownPeople(trunk, unit_rows(sums), bound)


def first_rows(labels: Int[np.ndarray, "N"], most: int) -> Int[np.ndarray, "M"]:
  """The first rows of each label, at most so many; ascending."""
  order = np.argsort(labels, kind="stable")
  ordered = labels[order]
  place = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
  return np.sort(order[place < most])


def verify_some(
  results: FaceResults, kept: Int[np.ndarray, "Q"]
) -> Mapping[str, VerificationResult]:
  """Each row of a set again, over some of its pairs.

  Args:
    results: Of the whole set.
    kept: Places of the pairs, of `kept_pairs`.
  """
  pairs = results.faces.pairs
  return {
    name: verify(scored.scores[kept], pairs.same[kept], folds=pairs.fold[kept])
    for name, scored in results.rows.items()
  }


def kept_pairs(
  pairs: Pairs, alike: Bool[np.ndarray, "U"]
) -> Int[np.ndarray, "Q"]:
  """Places of pairs without some units, the first of each fold and kind.

  Args:
    pairs: Of the whole set.
    alike: Units to leave out.

  Returns:
    Ascending places, equally many a fold of each kind.

  Raises:
    UserError: Of a fold no genuine or no impostor pair is left.
  """
  clean = ~(alike[pairs.first] | alike[pairs.second])
  folds = range(int(pairs.fold.max()) + 1)
  genuine, impostor = (
    [
      np.flatnonzero(clean & (pairs.same == same) & (pairs.fold == fold))
      for fold in folds
    ]
    for same in (True, False)
  )
  counts = min(map(len, genuine)), min(map(len, impostor))
  if not all(counts):
    raise UserError(
      "--alike: expected a bound that leaves pairs of both kinds in each fold,"
      f" got {counts[0]} genuine and {counts[1]} impostor pairs in the least"
    )
  parts = [one[: counts[0]] for one in genuine]
  parts += [one[: counts[1]] for one in impostor]
  return np.sort(np.concatenate(parts))
