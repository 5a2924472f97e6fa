"""Reads the protocols of Celebrities in Frontal-Profile (Sengupta et al. 2016).

    Data/Images/001/frontal/01.jpg, .../profile/01.jpg   10 and 4 of 500 people
    Protocol/Pair_list_F.txt    1 ../Data/Images/001/frontal/01.jpg
    Protocol/Pair_list_P.txt    the same of the profile photographs
    Protocol/Split/FP/01/same.txt, diff.txt     1,2

Ten splits; a pair has the number of a frontal and of a profile photograph, in
`FF` of two frontal ones.
"""

import os
import pathlib

from data_prep.evaluation_sets.pair_lists import PairList, pair_list
from data_prep.files.text_files import read_text
from data_prep.photos.photo_sets import Photo
from disentangle3d.types import UserError, UserFileNotFoundError, check_choice

FRONTAL, PROFILE = PROTOCOLS = ("FF", "FP")
_LISTS = {"F": "Pair_list_F.txt", "P": "Pair_list_P.txt"}
_IMAGES = pathlib.PurePosixPath("Data/Images")


def list_cfp_photos(folder: str | os.PathLike[str]) -> list[Photo]:
  """The photographs, which lie a folder deeper than those of other sets.

  Args:
    folder: The published one, with `Data` and `Protocol` in it.

  Raises:
    UserFileNotFoundError: There is none.
  """
  images = pathlib.Path(os.path.abspath(folder)) / _IMAGES
  paths = sorted(images.glob("*/*/*.jpg"))
  if not paths:
    raise UserFileNotFoundError(
      f"{images}: expected photographs as 001/frontal/01.jpg, found none"
    )
  return [
    Photo(path, path.parts[-3], "/".join(path.parts[-3:])) for path in paths
  ]


def read_cfp_pairs(folder: str | os.PathLike[str], protocol: str) -> PairList:
  """Reads one protocol.

  Args:
    folder: The published one, with `Data` and `Protocol` in it.
    protocol: One of `PROTOCOLS`.

  Returns:
    Names "001/frontal/01", which is where the photo is below `Data/Images`,
    less the suffix.

  Raises:
    UserFileNotFoundError: A list is missing.
    UserError: A list is malformed or names a photo that there is not; names
      file, line and problem.
  """
  check_choice("protocol", protocol, PROTOCOLS)
  lists = pathlib.Path(folder) / "Protocol"
  first, second = (_read_names(lists / _LISTS[kind]) for kind in protocol)
  splits = lists / "Split" / protocol
  rows = []
  for fold, split in enumerate(_splits(splits)):
    for name, same in (("same.txt", True), ("diff.txt", False)):
      path = split / name
      for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
          here = f"{path}, line {number}"
          one, other = _numbers(line, here)
          pair = _named(first, one, here), _named(second, other, here)
          rows.append((fold, same, *pair))
  return pair_list(rows)


def _splits(folder: pathlib.Path) -> list[pathlib.Path]:
  found = [p for p in folder.glob("*") if p.is_dir() and p.name.isdecimal()]
  if not found:
    raise UserFileNotFoundError(f"{folder}: expected a folder a split, 01, ...")
  return sorted(found, key=lambda path: int(path.name))


def _read_names(path: pathlib.Path) -> dict[int, str]:
  """Photos by their number."""
  names = {}
  for number, line in enumerate(read_text(path).splitlines(), start=1):
    words = line.split()
    if not words:
      continue
    # Relative to the list's folder: ../Data/Images/001/frontal/01.jpg
    parts = pathlib.PurePosixPath(words[-1].replace("\\", "/")).parts[-3:]
    if len(words) != 2 or not words[0].isdecimal() or len(parts) != 3:
      raise UserError(
        f"{path}, line {number}: expected a number and a photo, got"
        f" {line[:60]!r}"
      )
    names[int(words[0])] = (
      pathlib.PurePosixPath(*parts).with_suffix("").as_posix()
    )
  return names


def _numbers(line: str, here: str) -> tuple[int, int]:
  words = [word.strip() for word in line.split(",")]
  if len(words) != 2 or not all(word.isdecimal() for word in words):
    raise UserError(f"{here}: expected two numbers, got {line[:60]!r}")
  return int(words[0]), int(words[1])


def _named(names: dict[int, str], number: int, here: str) -> str:
  if number not in names:
    raise UserError(f"{here}: expected a photo of the list, got {number}")
  return names[number]
