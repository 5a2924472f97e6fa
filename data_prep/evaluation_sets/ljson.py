"""Reads `.ljson`, the landmark files of Menpo and landmarker.io, for meshes.

Version 1 has groups, to be read one after the other, of {"landmarks":
[{"point": [x, y, z]}]}; version 2 {"landmarks": {"points": [[x, y, z]]}}, and
version 3 groups by name of that. A missing landmark is [null, null, null].
"""

import json
import os
from typing import Any

from jaxtyping import Float
import numpy as np

from data_prep.files.text_files import read_text
from disentangle3d.types import NUM_LANDMARKS, UserError


def read_ljson(
  path: str | os.PathLike[str], *, num_points: int = NUM_LANDMARKS
) -> Float[np.ndarray, "P 3"]:
  """Reads the landmarks of one mesh.

  Args:
    path: The file.
    num_points: How many landmarks it must have.

  Returns:
    The points, `[P, 3]` float32, in the mesh's unit; a missing one is NaN.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no such file or has another number of landmarks; names
      file and problem.
  """
  text = read_text(path)
  try:
    points = _points(json.loads(text, parse_constant=_no_number))
  except (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
  ) as error:
    raise UserError(
      f"{path}: expected landmarks of LJSON version 1, 2 or 3, got something"
      f" else ({type(error).__name__}: {error})"
    ) from error
  rows = []
  for number, point in enumerate(points):
    if point == [None, None, None]:
      rows.append([np.nan] * 3)
    elif (
      isinstance(point, list)
      and len(point) == 3
      and all(type(x) in (int, float) and abs(x) < 1e30 for x in point)
    ):
      rows.append(point)
    else:
      raise UserError(
        f"{path}: landmark {number}: expected [x, y, z], got {str(point)[:60]}"
      )
  if len(rows) != num_points:
    raise UserError(f"{path}: expected {num_points} landmarks, got {len(rows)}")
  return np.array(rows, np.float32).reshape(-1, 3)


def _no_number(text: str) -> float:
  raise UserError(f"{text} is no JSON")


def _points(content: Any) -> list[Any]:
  version = content["version"]
  if version == 1:
    return [
      landmark["point"]
      for group in content["groups"]
      for landmark in group["landmarks"]
    ]
  if version == 3:
    groups = content["groups"]
    if len(groups) != 1:
      raise KeyError(f"one group, not {len(groups)}")
    content = next(iter(groups.values()))
  elif version != 2:
    raise KeyError(f"version {version!r}")
  points = content["landmarks"]["points"]
  if not isinstance(points, list):
    raise TypeError("points are no list")
  return points
