"""Reads `.bnd`, the landmarks of a BU-3DFE scan.

A line is "vertex<TAB><TAB>x y z": the vertex of the scan, from 0, and where it
lies in mm. There are 83, numbered as BU-3DFE's own picture shows, not iBUG's.
"""

import dataclasses
import os

from jaxtyping import Float, Int
import numpy as np

from data_prep.files.text_files import parse_numbers, read_text
from disentangle3d.types import UserError

NUM_BND_LANDMARKS = 83


@dataclasses.dataclass(frozen=True, eq=False)
class BndLandmarks:
  """The landmarks of one scan.

  Attributes:
    vertices: Their vertices, `[83]` int32.
    points: Their positions, `[83, 3]` float32, mm.
  """

  vertices: Int[np.ndarray, "83"]
  points: Float[np.ndarray, "83 3"]


def read_bnd(path: str | os.PathLike[str]) -> BndLandmarks:
  """Reads one file.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is malformed; names file, line and problem.
  """
  rows = []
  for number, line in enumerate(read_text(path).splitlines(), start=1):
    if not line.strip():
      continue
    here = f"{path}, line {number}"
    row = parse_numbers(line.split(), 4, here)
    if not (0 <= row[0] < 2**31 and row[0].is_integer()):
      raise UserError(f"{here}: expected a vertex from 0, got {row[0]:g}")
    rows.append(row)
  if len(rows) != NUM_BND_LANDMARKS:
    raise UserError(
      f"{path}: expected {NUM_BND_LANDMARKS} landmarks, got {len(rows)}"
    )
  table = np.array(rows)
  return BndLandmarks(table[:, 0].astype(np.int32), table[:, 1:].astype("f4"))
