"""Who makes a stage's shards: this process, or the workers of a cluster.

A stage says what it does as `ShardWork`: a value that any process can be sent.
What an engine hands out is a shard at a time, and each ends in the shard's
manifest: the marks by which a run goes on are the same whoever made them.
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import dataclasses
from typing import Any, Protocol

Progress = Callable[[int], object]


class MakeShard(Protocol):
  """Makes all files of a shard, its manifest last; can be pickled."""

  def __call__(self, shard: int, part: Any, progress: Progress) -> None:
    """Makes it.

    Args:
      shard: Which.
      part: What `ShardWork.part` says of it.
      progress: Called with each number of photos done.
    """


@dataclasses.dataclass(frozen=True)
class ShardWork:
  """What a stage does with each of its shards.

  Attributes:
    make: Makes a shard, and holds what it takes: models, weights, settings. A
      worker is sent it once.
    part: Says of a shard what `make` needs; small, since it is sent for each.
    at_once: How many shards a process makes at a time.
    gains_from_gpu: Whether a GPU makes it faster.
  """

  make: MakeShard
  part: Callable[[int], Any] = lambda shard: None
  at_once: int = 1
  gains_from_gpu: bool = False


class Engine(Protocol):
  """Makes shards."""

  def run(
    self, work: ShardWork, shards: Sequence[int], progress: Progress
  ) -> None:
    """Makes some shards, in any order; returns when all are there."""


class LocalEngine:
  """This process makes them, one after another."""

  def run(
    self, work: ShardWork, shards: Sequence[int], progress: Progress
  ) -> None:
    """See `Engine`."""
    if work.at_once == 1:
      for shard in shards:
        work.make(shard, work.part(shard), progress)
      return

    def make(shard: int) -> int:
      counts: list[int] = []
      work.make(shard, work.part(shard), counts.append)
      return sum(counts)

    with concurrent.futures.ThreadPoolExecutor(work.at_once) as pool:
      for count in pool.map(make, shards):
        progress(count)


LOCAL = LocalEngine()
