"""The loop of every stage that makes rows shard by shard, and its report."""

from collections.abc import Mapping

from absl import logging

from data_prep.stages.engine import LOCAL, Engine, ShardWork
from data_prep.stages.folder import Share, StageFolder
from data_prep.stages.progress import progress
from disentangle3d.types import UserError


def fill_shards(
  folder: StageFolder,
  share: Share,
  work: ShardWork,
  *,
  num_photos: int,
  engine: Engine = LOCAL,
) -> dict[str, int] | None:
  """Makes the shards of a share that are missing.

  Args:
    folder: From `open_stage`.
    share: This machine's part.
    work: Makes a shard.
    num_photos: In all shards, for the progress bar.
    engine: Who makes them.

  Returns:
    The counts of all rows once every shard is there; None before.

  Raises:
    UserError: Every shard is there and not one photo is ok; says why.
  """
  pending = folder.pending(share)
  expected = round(num_photos * len(pending) / max(folder.num_shards, 1))
  with progress(folder.stage, total=expected) as update:
    engine.run(work, pending, update)
  if not folder.is_complete():
    logging.info(
      "%s: this share is done; shards of others are missing.", folder.path
    )
    return None
  counts = folder.finish()
  report_counts(folder, counts)
  return counts


def report_counts(folder: StageFolder, counts: Mapping[str, int]) -> None:
  """Logs how many photos are ok, and why others are not.

  Raises:
    UserError: None is ok.
  """
  total = sum(counts.values())
  reasons = [
    f"{count} {name}" for name, count in counts.items() if name != "ok"
  ]
  if not counts.get("ok"):
    raise UserError(
      f"{folder.path}: none of {total} photos is ok after {folder.stage}:"
      f" {'; '.join(reasons)}"
    )
  logging.info(
    "Wrote %s: %d of %d photos are ok%s.",
    folder.path,
    counts["ok"],
    total,
    "".join(f"; {reason}" for reason in reasons),
  )


def split_shards(count: int, per_shard: int) -> list[range]:
  """Positions 0 to count - 1 in shards of `per_shard`, the last with the rest.

  Raises:
    UserError: `per_shard` is not positive.
  """
  if per_shard < 1:
    raise UserError(f"photos per shard: expected 1 or more, got {per_shard}")
  return [
    range(start, min(start + per_shard, count))
    for start in range(0, count, per_shard)
  ]
