"""Examples of two sets as those of one."""

from collections.abc import Iterable

import jax
from jaxtyping import Float, Int
import numpy as np

from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.input_pipeline import ExampleReader, class_targets


class CentredReader:
  """Examples whose people's mean identity coefficients are 0."""

  def __init__(self, reader: ExampleReader):
    """Reads the labels of all; every person counts once."""
    self._reader = reader
    labels, identity = class_targets(reader)
    people, photos = np.unique(labels, return_inverse=True)
    total = np.zeros((len(people), identity.shape[1]))
    np.add.at(total, photos, identity)
    self._mean = np.mean(total / np.bincount(photos)[:, None], 0)

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._reader)

  def read(self, indices: Iterable[int]) -> TrainBatch:
    """See `Examples`."""
    batch = self._reader.read(indices)
    return batch.replace(
      identity_coefficients=self._centred(batch.identity_coefficients)
    )

  def read_targets(
    self, indices: Iterable[int]
  ) -> tuple[np.ndarray, np.ndarray]:
    """See `ExampleReader`."""
    labels, identity = self._reader.read_targets(indices)
    return labels, self._centred(identity)

  def _centred(self, identity: Float[np.ndarray, "n I"]) -> np.ndarray:
    return (identity - self._mean).astype(np.float32)


class JoinedReader:
  """One set's examples, and behind them another's, so many times each."""

  def __init__(
    self,
    one: ExampleReader,
    other: ExampleReader,
    *,
    first_label: int,
    repeat: int = 1,
  ):
    """Reads nothing yet.

    Args:
      one: K people's.
      other: Of the same arrays; nobody of the first's is in it.
      first_label: K: what the label 0 of `other` becomes.
      repeat: How often each of the other's examples counts.
    """
    self._one, self._other = one, other
    self._first_label, self._repeat = first_label, repeat

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._one) + self._repeat * len(self._other)

  def read(self, indices: Iterable[int]) -> TrainBatch:
    """See `Examples`."""
    order, parts = self._parted(indices)
    batches = []
    for reader, rows, first_label in parts:
      batch = reader.read(rows)
      batches.append(batch.replace(label=batch.label + first_label))
    nowhere = batches[0].position
    batches = [batch.replace(position=None) for batch in batches]
    joined = jax.tree.map(lambda *x: np.concatenate(x)[order], *batches)
    return joined.replace(position=nowhere)

  def read_targets(
    self, indices: Iterable[int]
  ) -> tuple[np.ndarray, np.ndarray]:
    """See `ExampleReader`."""
    order, parts = self._parted(indices)
    labels, identity = [], []
    for reader, rows, first_label in parts:
      label, coefficients = reader.read_targets(rows)
      labels.append(label + first_label)
      identity.append(coefficients)
    return np.concatenate(labels)[order], np.concatenate(identity)[order]

  def _parted(
    self, indices: Iterable[int]
  ) -> tuple[Int[np.ndarray, "n"], list[tuple[ExampleReader, np.ndarray, int]]]:
    """Readers, their rows and first labels; the places behind one another."""
    wanted = np.fromiter(indices, np.int64)
    others = wanted >= len(self._one)
    order = np.argsort(np.argsort(others, kind="stable"), kind="stable")
    theirs = (wanted[others] - len(self._one)) // self._repeat
    parts = [
      (self._one, wanted[~others], 0),
      (self._other, theirs, self._first_label),
    ]
    return order, [part for part in parts if part[1].size]
