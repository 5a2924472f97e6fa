"""Shards of rows of photos, as something that other processes can make."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from data_prep.stages.engine import Progress
from data_prep.stages.folder import StageFolder
from data_prep.stages.rows import PhotoRow, write_manifest


@dataclasses.dataclass(frozen=True)
class ShardRows:
  """Makes a shard's rows, and writes its manifest; see `engine.MakeShard`.

  A photo may kill the process that works on it: so some can be attempted
  alone, and some given up.

  Attributes:
    folder: The stage's.
    photos: The photos of a part, in order.
    rows: Makes their rows and all files that they name; is given the shard, the
      photos and what to call with each number of photos done.
    give_up: The row of a photo that is not worked on, and why.
  """

  folder: StageFolder
  photos: Callable[[Any], Sequence[Any]]
  rows: Callable[[int, Sequence[Any], Progress], list[PhotoRow]]
  give_up: Callable[[Any, str], PhotoRow]

  def __call__(self, shard: int, part: Any, progress: Progress) -> None:
    """Makes a shard."""
    self.without(shard, part, progress, {})

  def count(self, part: Any) -> int:
    """How many photos a part has."""
    return len(self.photos(part))

  def attempt(self, shard: int, part: Any, places: Sequence[int]) -> None:
    """Works on some photos of a shard, and writes no manifest."""
    photos = self.photos(part)
    self.rows(shard, [photos[place] for place in places], lambda count: None)

  def without(
    self, shard: int, part: Any, progress: Progress, reasons: Mapping[int, str]
  ) -> None:
    """Makes a shard in which photos are given up, by place, for a reason."""
    photos = self.photos(part)
    kept = [photo for place, photo in enumerate(photos) if place not in reasons]
    rows = self.rows(shard, kept, progress) if kept else []
    rows += [
      self.give_up(photos[place], reason)
      for place, reason in sorted(reasons.items())
    ]
    write_manifest(self.folder.manifest(shard), rows)
    progress(len(reasons))


def each_row(
  change: Callable[[PhotoRow], PhotoRow],
  shard: int,
  rows: Sequence[PhotoRow],
  progress: Progress,
) -> list[PhotoRow]:
  """Rows that are made out of those of the stage before, one by one."""
  made = []
  for row in rows:
    made.append(change(row))
    progress(1)
  return made
