"""Reads what comes with the frames of YouTube Faces.

The frames are `frame_images_DB/Ann/3/3.618.jpg` (`photos.list_photos` takes
that folder as it is); the pairs are in one of

    splits.txt                split number, first name, second name, ...
                              1, Ann/3, Bob/0, 0
    meta_data/meta_and_splits.mat     video_names {3425}, Splits [500, 3, 10]
"""

import collections
import os

import numpy as np

from data_prep.evaluation_sets.pair_lists import PairList, pair_list
from data_prep.files.matlab import read_mat
from data_prep.files.text_files import parse_numbers, read_text
from disentangle3d.types import UserError


def read_splits(path: str | os.PathLike[str]) -> PairList:
  """Reads `splits.txt` (or the corrected one).

  Returns:
    Names "Ann/3" of videos; within a fold, genuine pairs come first.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is malformed; names file, line and problem.
  """
  rows = []
  for number, line in enumerate(read_text(path).splitlines(), start=1):
    fields = [field.strip() for field in line.split(",")]
    if not line.strip() or (number == 1 and not fields[0].isdecimal()):
      continue
    here = f"{path}, line {number}"
    if len(fields) != 4:
      raise UserError(
        f"{here}: expected split, video, video, 0 or 1, got {line[:60]!r}"
      )
    split, same = parse_numbers((fields[0], fields[3]), 2, here)
    rows.append((*_checked(here, split, same), fields[1], fields[2]))
  return _whole_list(path, rows)


def read_meta_and_splits(path: str | os.PathLike[str]) -> PairList:
  """Reads `meta_and_splits.mat`; as `read_splits`.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no such MATLAB file, or names a video that it has not;
      names file and problem.
  """
  content = read_mat(path, ("video_names", "Splits"))
  names, splits = content.get("video_names"), content.get("Splits")
  if not isinstance(names, list) or not all(
    isinstance(name, str) for name in names
  ):
    raise UserError(f"{path}: video_names: expected a cell of texts")
  if (
    not isinstance(splits, np.ndarray)
    or splits.ndim not in (2, 3)
    or (splits.shape[1] != 3)
  ):
    raise UserError(f"{path}: Splits: expected numbers [pairs, 3, folds]")
  splits = splits.reshape(*splits.shape[:2], -1)
  rows = []
  for fold in range(splits.shape[2]):
    for place, (first, second, same) in enumerate(splits[:, :, fold]):
      here = f"{path}: Splits({place + 1}, :, {fold + 1})"
      for video in (first, second):
        if video not in range(1, len(names) + 1):
          raise UserError(
            f"{here}: expected videos from 1 to {len(names)}, got {video:g}"
          )
      rows.append(
        (
          *_checked(here, fold + 1, same),
          *(
            names[int(video) - 1].replace("\\", "/")
            for video in (first, second)
          ),
        )
      )
  return _whole_list(path, rows)


def _checked(here: str, split: float, same: float) -> tuple[int, bool]:
  """Fold from 0 and whether same."""
  if not (split >= 1 and float(split).is_integer() and same in (0, 1)):
    raise UserError(
      f"{here}: expected a split from 1 and 0 or 1, got {split:g} and {same:g}"
    )
  return int(split) - 1, same == 1


def _whole_list(
  path: str | os.PathLike[str], rows: list[tuple[int, bool, str, str]]
) -> PairList:
  """Folds that are all there and equally long, as `verify` wants them."""
  sizes = collections.Counter(row[0] for row in rows)
  if sorted(sizes) != list(range(len(sizes))) or len(set(sizes.values())) != 1:
    raise UserError(
      f"{path}: expected equally many pairs in each split from 1 on, got"
      f" {str({fold + 1: size for fold, size in sizes.items()})[:60]}"
    )
  for fold, _, first, second in rows:
    for name in (first, second):
      if name.count("/") != 1 or name.startswith("/") or name.endswith("/"):
        raise UserError(
          f"{path}: split {fold + 1}: expected videos as name/number, got"
          f" {name[:60]!r}"
        )
  return pair_list(rows)
