"""Reads LFW's `pairs.txt` (and `pairsDevTrain.txt`, `pairsDevTest.txt`).

    10      300                       folds, pairs of each kind in a fold
    Abel_Pacheco    1       4         300 genuine: name, two photos of theirs
    Abdel_Madi_Shabneh 1 Dean_Barker 1   300 impostor: name, photo, twice

The development lists have one number in the first line and are one fold.
"""

import os

from data_prep.evaluation_sets.pair_lists import PairList, pair_list
from data_prep.files.text_files import read_text
from disentangle3d.types import UserError


def read_lfw_pairs(path: str | os.PathLike[str]) -> PairList:
  """Reads the list.

  Returns:
    Names "Ann/Ann_0001", which is where LFW keeps the photo, less the suffix.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The list is malformed or has another number of pairs than it
      says; names file, line and problem.
  """
  lines = [line.split() for line in read_text(path).rstrip().splitlines()]
  counts = lines[0] if lines else []
  if len(counts) not in (1, 2) or not all(map(_is_count, counts)):
    raise UserError(
      f"{path}, line 1: expected the numbers of folds and of pairs, got"
      f" {' '.join(counts)[:40]!r}"
    )
  folds, each = (1, int(counts[0])) if len(counts) == 1 else map(int, counts)
  if len(lines) - 1 != 2 * folds * each or not each:
    raise UserError(
      f"{path}: expected {folds} folds of {each} + {each} pairs, as the first"
      f" line says, got {len(lines) - 1}"
    )
  rows = []
  for place, words in enumerate(lines[1:]):
    fold, in_fold = divmod(place, 2 * each)
    same = in_fold < each
    if same and len(words) == 3:
      words = [*words[:2], words[0], words[2]]
    elif same or len(words) != 4 or words[0] == words[2]:
      words = []
    if not words or not (_is_count(words[1]) and _is_count(words[3])):
      raise UserError(
        f"{path}, line {place + 2}: expected"
        f" {'name, photo, photo' if same else 'name, photo, name, photo'}, got"
        f" {' '.join(lines[place + 1])[:60]!r}"
      )
    rows.append((fold, same, _photo(*words[:2]), _photo(*words[2:])))
  return pair_list(rows)


def _is_count(word: str) -> bool:
  return word.isascii() and word.isdecimal() and len(word) < 10


def _photo(name: str, number: str) -> str:
  return f"{name}/{name}_{int(number):04d}"
