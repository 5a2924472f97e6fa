"""Published lists of pairs to verify, by the names of photos or videos."""

from collections.abc import Iterable, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from disentangle3d.evaluation.pairs import Pairs
from disentangle3d.types import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class PairList:
  """Pairs of a published protocol.

  Attributes:
    names: What is compared, each once, in order of appearance: photos as
      "Ann/Ann_0001" (no suffix), videos as "Ann/3".
    pairs: Indices into `names`, fold after fold, genuine before impostor in
      each.
  """

  names: tuple[str, ...]
  pairs: Pairs


def pair_list(rows: Iterable[tuple[int, bool, str, str]]) -> PairList:
  """Makes a list of fold, whether same, and the two names of each pair."""
  rows = sorted(rows, key=lambda row: (row[0], not row[1]))
  index: dict[str, int] = {}
  for _, _, first, second in rows:
    for name in (first, second):
      index.setdefault(name, len(index))
  return PairList(
    tuple(index),
    Pairs(
      first=np.array([index[row[2]] for row in rows], np.int64),
      second=np.array([index[row[3]] for row in rows], np.int64),
      same=np.array([row[1] for row in rows], bool),
      fold=np.array([row[0] for row in rows], np.int64),
    ),
  )


def find_photos(
  names: Sequence[str], image_ids: Sequence[str], *, where: str
) -> list[int]:
  """Where each photo of a list is among those at hand.

  Args:
    names: Photos without suffix, as in `PairList.names`.
    image_ids: Those at hand, "Ann/Ann_0001.jpg", e.g. of `Photo` or
      `PhotoRow`.
    where: What to call them in the error.

  Returns:
    An index into `image_ids` for each name.

  Raises:
    UserError: A photo is missing; says how many are and names the first.
  """
  places = {
    pathlib.PurePosixPath(image_id).with_suffix("").as_posix(): place
    for place, image_id in enumerate(image_ids)
  }
  return _found(names, places, where)


def find_videos(
  names: Sequence[str], image_ids: Sequence[str], *, where: str
) -> list[list[int]]:
  """Where each video's frames are among those at hand, in their order.

  Args:
    names: Videos, "Ann/3", as in `PairList.names`.
    image_ids: Frames at hand, "Ann/3/3.618.jpg".
    where: What to call them in the error.

  Returns:
    Indices into `image_ids` for each name.

  Raises:
    UserError: A video has no frame; says how many have none and names the
      first.
  """
  places: dict[str, list[int]] = {}
  for place, image_id in enumerate(image_ids):
    places.setdefault(image_id.rpartition("/")[0], []).append(place)
  return _found(names, places, where)


def _found(
  names: Sequence[str], places: dict[str, Any], where: str
) -> list[Any]:
  missing = [name for name in names if name not in places]
  if missing:
    raise UserError(
      f"{where}: expected {len(names)} photos or videos, {len(missing)} of"
      f" them are not there, the first {missing[0]!r}"
    )
  return [places[name] for name in names]
