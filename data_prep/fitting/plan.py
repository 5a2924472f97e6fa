"""Which subjects' photos are fitted and written together."""

from collections.abc import Iterable, Sequence
import dataclasses

from data_prep.fitting.landmark_index import Entry
from data_prep.photos.listing import natural_key
from disentangle3d.fitting.batches import (
  BATCH_IMAGES,
  BatchShape,
  plan_batches,
  shape_of,
)


@dataclasses.dataclass(frozen=True)
class FitShard:
  """Whole subjects with about as many images each.

  Attributes:
    shape: The size of their batches; None where nobody can be fitted.
    entries: Their photos, subject after subject.
  """

  shape: BatchShape | None
  entries: Sequence[Entry]


def plan_shards(
  entries: Iterable[Entry], images_per_shard: int
) -> list[FitShard]:
  """Cuts all photos into shards; the same for the same photos.

  Args:
    entries: All photos, those that cannot be fitted among them.
    images_per_shard: About how many; at least one subject.
  """
  by_subject: dict[str, list[Entry]] = {}
  for entry in entries:
    by_subject.setdefault(entry.subject, []).append(entry)
  subjects = sorted(by_subject, key=natural_key)
  usable = {
    name: sum(entry.ok for entry in by_subject[name]) for name in subjects
  }
  fitted = [name for name in subjects if usable[name]]
  none = [name for name in subjects if not usable[name]]
  shards = []
  if fitted:
    shapes = plan_batches(
      [usable[name] for name in fitted],
      batch_images=min(BATCH_IMAGES, images_per_shard),
    )
    belongs = shape_of([usable[name] for name in fitted], shapes)
    for number, shape in enumerate(shapes):
      members = [
        name
        for name, mine in zip(fitted, belongs, strict=True)
        if mine == number
      ]
      # Whole batches, so that none is padded but the last.
      batch = shape.subjects * shape.images
      step = shape.subjects * max(1, round(images_per_shard / batch))
      for start in range(0, len(members), step):
        chosen = members[start : start + step]
        shards.append(
          FitShard(shape, [e for name in chosen for e in by_subject[name]])
        )
  if none:
    shards.append(
      FitShard(None, [e for name in none for e in by_subject[name]])
    )
  return shards
