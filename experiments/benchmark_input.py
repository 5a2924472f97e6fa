r"""How many crops a second one core reads and decodes from a dataset.

    python -m experiments.benchmark_input --dataset=runs/demo/dataset

Times the steps of `RecordReader.read` one after the other in one thread, on
consecutive batches: reading records, unpacking them, decoding their PNGs; and
the whole of it. What zlib alone needs for the same PNGs shows how much of it
no other decoder could save.
"""

from collections.abc import Callable, Sequence
import struct
import time
from typing import Any
import zlib

from absl import flags

from data_prep import command_line
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from experiments.machine import cpu_name

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
  work(batches[0])
  start = time.thread_time()
  for batch in batches[1:]:
    work(batch)
  return (len(batches) - 1) * batch_size / (time.thread_time() - start)


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


def _define_flags() -> None:
  flags.DEFINE_string("dataset", None, "A dataset folder.", required=True)
  flags.DEFINE_string("split", "train", "Of it.")
  flags.DEFINE_integer("batches", 8, "Of 256 crops, timed.", lower_bound=1)


def main() -> None:
  """Measures, prints a table."""
  values = flags.FLAGS
  split = open_dataset(values.dataset, values.split, verify=False)
  rates = measure(RecordReader(split), batches=values.batches)
  print(f"one thread of {cpu_name()}, crops a second of its processor time")
  print("| part | crops/s | µs a crop |\n|---|---|---|")
  for name, rate in rates.items():
    print(f"| {name} | {rate:,.0f} | {1e6 / rate:.0f} |")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
