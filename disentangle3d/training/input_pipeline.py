"""From a dataset on disk to batches on the devices.

Which examples a step takes says `example_order`. The batches of a phase are a
random-access grain dataset indexed by the step, so the step number alone says
where to go on, on any number of processes and devices: process k of P reads
the positions [kB/P, (k+1)B/P).
"""

from collections.abc import Iterable, Iterator, Sequence
import concurrent.futures
import dataclasses
import os
from typing import Any, Protocol

import grain
import jax
import numpy as np

from disentangle3d.geometry import Camera
from disentangle3d.stores import in_store
from disentangle3d.training.batches import TrainBatch as TrainBatch
from disentangle3d.training.dataset import DatasetSplit
from disentangle3d.training.dataset import open_dataset as open_dataset
from disentangle3d.training.example_order import (
  example_indices,
  local_positions,
)
from disentangle3d.training.records import decode_image as decode_image
from disentangle3d.training.records import decode_record as decode_record
from disentangle3d.training.records import encode_image as encode_image
from disentangle3d.training.records import encode_record as encode_record
from disentangle3d.training.staging import Staging
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

_IMAGE_SHAPE = (IMAGE_HEIGHT, IMAGE_WIDTH, 3)
_IMAGE_BYTES = IMAGE_HEIGHT * IMAGE_WIDTH * 3


class Examples(Protocol):
  """Random access to examples."""

  def __len__(self) -> int:
    """The number of examples."""

  def read(self, indices: Iterable[int]) -> TrainBatch:
    """The examples at `indices`, as NumPy arrays; `position` is empty."""


class ExampleReader(Examples, Protocol):
  """Random access to the examples of a split."""

  def read_targets(
    self, indices: Iterable[int]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Their labels `[n]` and identity coefficients `[n, I]`, without pixels."""


@dataclasses.dataclass(frozen=True)
class _WholeFile:
  """What grain takes, so that it need not open a file to count it."""

  filename: str
  take: int
  skip: int = 0

  @property
  def examples_in_shard(self) -> int:
    """All of them."""
    return self.take


class RecordReader:
  """Reads and decodes records from disk each time they are asked for.

  A file is opened, and one of a store copied to the disk, when a record of it
  is asked for.
  """

  def __init__(self, split: DatasetSplit, staging: Staging | None = None):
    """Opens nothing yet.

    Args:
      split: Whose records.
      staging: Where files of a store are copied to; None: a folder of this
        process.
    """
    self._split = split
    self._stops = np.cumsum([file.num_records for file in split.contents])
    self._in_store = in_store(split.folder)
    self._staging = staging or Staging()
    self._whole: Any = None
    if not self._in_store:
      self._whole = grain.sources.ArrayRecordDataSource(
        [_WholeFile(str(f.path), f.num_records) for f in split.contents]
      )

  def __len__(self) -> int:
    """The number of examples."""
    return self._split.num_records

  def read(self, indices: Iterable[int]) -> TrainBatch:
    """The examples at `indices`, as NumPy arrays; `position` is empty.

    Raises:
      ValueError: A record is damaged, or its sizes are not the manifest's.
    """
    return _as_batch(self.read_records(indices), self._split)

  def read_targets(
    self, indices: Iterable[int]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Their labels `[n]` and identity coefficients `[n, I]`, without pixels.

    Raises:
      ValueError: A record is damaged, or its sizes are not the manifest's.
    """
    records = self.read_records(indices)
    _check_records(records, self._split)
    return (
      np.array([record["label"] for record in records], np.int32),
      np.stack([r["identity_coefficients"] for r in records], dtype=np.float32),
    )

  def read_records(self, indices: Iterable[int]) -> list[dict[str, Any]]:
    """The decoded records at `indices`, their images still PNG."""
    wanted = [int(index) for index in indices]
    read = self._staged if self._in_store else self._whole.__getitems__
    return [decode_record(data) for data in read(wanted)]

  def _staged(self, wanted: Sequence[int]) -> Sequence[bytes]:
    """Records out of copies of their files, file after file."""
    rows: dict[int, bytes] = {}
    numbers = np.searchsorted(self._stops, wanted, side="right")
    for number in np.unique(numbers):
      file = self._split.contents[number]
      first = int(self._stops[number]) - file.num_records
      here = [i for i, n in zip(wanted, numbers, strict=True) if n == number]
      with self._staging.staged(file) as path:
        source = grain.sources.ArrayRecordDataSource(
          [_WholeFile(str(path), file.num_records)]
        )
        with source:
          found = source.__getitems__([index - first for index in here])
      rows |= dict(zip(here, found, strict=True))
    return [rows[index] for index in wanted]


class MemoryReader:
  """Holds a split decoded once: 32 kB an example, and no work a batch."""

  def __init__(self, examples: TrainBatch):
    self._examples = examples.replace(position=None)

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._examples.label)

  def read(self, indices: Iterable[int]) -> TrainBatch:
    """The examples at `indices`, as NumPy arrays; `position` is empty."""
    rows = np.fromiter(indices, np.int64)
    batch = jax.tree.map(lambda x: x[rows], self._examples)
    return batch.replace(position=np.empty(0, np.int32))

  def read_targets(
    self, indices: Iterable[int]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Their labels `[n]` and identity coefficients `[n, I]`, without pixels."""
    rows = np.fromiter(indices, np.int64)
    examples = self._examples
    return examples.label[rows], examples.identity_coefficients[rows]


def open_reader(
  split: DatasetSplit, *, cache_bytes: int, staging: Staging | None = None
) -> ExampleReader:
  """A reader of a split: from memory where that is small enough.

  Args:
    split: An opened split.
    cache_bytes: A split whose pixels take no more than this is decoded once,
      now (on two cores about 0.3 ms a crop).
    staging: See `RecordReader`.

  Returns:
    The reader.

  Raises:
    ValueError: A record is damaged, or its sizes are not the manifest's.
  """
  reader = RecordReader(split, staging)
  if len(reader) * _IMAGE_BYTES > cache_bytes:
    return reader
  chunks = np.array_split(np.arange(len(reader)), max(1, len(reader) // 256))
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    parts = list(pool.map(reader.read, chunks))
  return MemoryReader(jax.tree.map(lambda *x: np.concatenate(x), *parts))


def _sizes(split: DatasetSplit) -> dict[str, int]:
  return {
    "identity_coefficients": split.identity_dim,
    "expression_coefficients": split.expression_dim,
  }


def _check_records(
  records: Sequence[dict[str, Any]], split: DatasetSplit
) -> None:
  for record in records:
    for name, size in _sizes(split).items():
      if record[name].shape != (size,):
        raise UserError(
          f"{split.folder}: {record['image_id']}: expected {name} of shape"
          f" [{size}] as the manifest says, got {list(record[name].shape)}"
        )
    if split.name == "train" and not 0 <= record["label"] < split.num_classes:
      raise UserError(
        f"{split.folder}: {record['image_id']}: expected a label from 0 to"
        f" {split.num_classes - 1}, got {record['label']}"
      )


def _as_batch(
  records: Sequence[dict[str, Any]], split: DatasetSplit
) -> TrainBatch:
  _check_records(records, split)
  images = np.empty((len(records), *_IMAGE_SHAPE), np.uint8)
  for row, record in enumerate(records):
    images[row] = decode_image(record["image"])
  return TrainBatch(
    position=np.empty(0, np.int32),
    image=images,
    label=np.array([record["label"] for record in records], np.int32),
    camera=_cameras(records),
    **{
      name: np.array([r[name] for r in records], np.float32).reshape(-1, size)
      for name, size in _sizes(split).items()
    },
  )


def _cameras(records: Sequence[dict[str, Any]]) -> Camera:
  def column(name: str, *shape: int) -> np.ndarray:
    values = [record[f"camera_{name}"] for record in records]
    return np.array(values, np.float32).reshape(-1, *shape)

  return Camera(
    scale=column("scale"),
    rotation=column("rotation", 3, 3),
    translation=column("translation", 2),
  )


def read_batches(
  reader: Examples,
  *,
  seed: int,
  batch_size: int,
  start: int,
  stop: int,
  lanes: int = 1,
  threads: int = 2,
  buffered: int = 4,
) -> Iterator[TrainBatch]:
  """This process's part of the batches of the steps [start, stop).

  Args:
    reader: The examples.
    seed: Of the phase.
    batch_size: B, over all processes.
    start: First step.
    stop: One past the last step.
    lanes: See `example_order`.
    threads: How many batches are read at a time.
    buffered: How many batches wait at most.

  Yields:
    NumPy batches, in the order of the steps.

  Raises:
    UserError: The reader is empty, or B does not divide.
  """
  if not len(reader):
    raise UserError("reader: expected at least one example, got none")
  positions = local_positions(
    batch_size, process=jax.process_index(), num_processes=jax.process_count()
  )

  def load(step: int) -> TrainBatch:
    indices = example_indices(
      seed,
      step,
      positions,
      batch_size=batch_size,
      num_examples=len(reader),
      lanes=lanes,
    )
    return reader.read(indices).replace(position=positions)

  steps = grain.MapDataset.range(start, stop).map(load)
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=buffered
  )
  return iter(steps.to_iter_dataset(options))


def read_chunks(
  reader: Examples, ranges: Sequence[range], *, threads: int | None = None
) -> Iterator[TrainBatch]:
  """Consecutive examples, a range at a time, in order; a few read ahead."""
  threads = threads or os.cpu_count() or 1
  chunks = grain.MapDataset.source(ranges).map(reader.read)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
  return iter(chunks.to_iter_dataset(options))


def index_batches(
  *, num_examples: int, seed: int, batch_size: int, start: int, stop: int
) -> Iterator[TrainBatch]:
  """As `read_batches`, only that the step takes the examples itself."""
  positions = local_positions(
    batch_size, process=jax.process_index(), num_processes=jax.process_count()
  )
  for step in range(start, stop):
    indices = example_indices(
      seed, step, positions, batch_size=batch_size, num_examples=num_examples
    )
    yield TrainBatch(position=positions, index=indices.astype(np.int32))


def position_batches(
  *, batch_size: int, start: int, stop: int
) -> Iterator[TrainBatch]:
  """Batches that say nothing but their positions; the step draws the rest."""
  positions = local_positions(
    batch_size, process=jax.process_index(), num_processes=jax.process_count()
  )
  for _ in range(start, stop):
    yield TrainBatch(position=positions)


def class_targets(
  reader: ExampleReader, *, chunk: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
  """The labels `[n]` and identity coefficients `[n, I]` of a whole split."""
  parts = [
    reader.read_targets(range(first, min(first + chunk, len(reader))))
    for first in range(0, len(reader), chunk)
  ]
  labels, coefficients = zip(*parts, strict=True)
  return np.concatenate(labels), np.concatenate(coefficients)
