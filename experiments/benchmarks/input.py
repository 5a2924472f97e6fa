"""Crops a second from records, and what the time goes to."""

from collections.abc import Callable, Mapping, Sequence
import struct
import time
from typing import Any
import zlib

from disentangle3d.reporting.html_page import Table
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from experiments.benchmarks.timing import time_calls

_BATCH = 256


def inflate(png: bytes) -> bytes:
  """The filtered rows of a PNG: zlib's part of decoding it."""
  place, compressed = 8, b""
  while place < len(png):
    size, kind = struct.unpack(">I4s", png[place : place + 8])
    if kind == b"IDAT":
      compressed += png[place + 8 : place + 8 + size]
    place += 12 + size
  return zlib.decompress(compressed)


def crops_per_second(
  work: Callable[[Any], Any], batches: Sequence[Any], *, batch_size: int
) -> float:
  """The rate over all batches, after one that is not counted.

  Args:
    work: What is done with a batch.
    batches: At least two.
    batch_size: Crops in each.

  Returns:
    Crops a second of this thread's processor time, which a busy machine does
    not slow down.
  """
  upcoming = iter(batches)
  timing = time_calls(
    lambda: work(next(upcoming)),
    rounds=len(batches) - 1,
    clock=time.thread_time,
  )
  return len(timing.wall_s) * batch_size / sum(timing.wall_s)


def measure(reader: RecordReader, *, batches: int) -> dict[str, float]:
  """Crops a second of each part, and of the whole.

  Args:
    reader: An opened split; it is read again from the start where it ends.
    batches: How many of 256 crops are timed.

  Returns:
    By the part's name.
  """
  ranges = [
    [(first + i) % len(reader) for i in range(_BATCH)]
    for first in range(0, (1 + batches) * _BATCH, _BATCH)
  ]
  pictures = [
    [record["image"] for record in reader.read_records(rows)] for rows in ranges
  ]

  def each(function: Callable[[bytes], Any]) -> Callable[[Any], None]:
    def work(batch: list[bytes]) -> None:
      for png in batch:
        function(png)

    return work

  parts = (
    ("records read and unpacked", reader.read_records, ranges),
    ("PNG decoded", each(decode_image), pictures),
    ("of that, zlib alone", each(inflate), pictures),
    ("all: RecordReader.read", reader.read, ranges),
  )
  return {
    name: crops_per_second(work, of, batch_size=_BATCH)
    for name, work, of in parts
  }


def table_of(rates: Mapping[str, float]) -> Table:
  """The rates, by part."""
  return Table(
    ("part", "crops/s", "µs a crop"),
    [(name, round(rate), round(1e6 / rate)) for name, rate in rates.items()],
    caption="Crops a second of one thread's processor time.",
  )
