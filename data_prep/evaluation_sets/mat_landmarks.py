"""Reads the 68 landmarks beside the photos of 300W-LP and AFLW2000-3D.

Both have one `.mat` a photo; points are in the photo's pixels, counted from 1.
AFLW2000's `pt3d_68` is [3, 68] (z is not read), 300W-LP's `pt2d` is [2, 68],
and 300W-LP's extra files `landmarks/.../*_pts.mat` hold `pts_3d` [68, 2], whose
jaw stays on the face in profile as a 3DMM's does, and `pts_2d`, whose does not.
"""

import os

from jaxtyping import Float
import numpy as np

from data_prep.files.matlab import read_mat
from disentangle3d.types import NUM_LANDMARKS, UserError

# The first that a file has counts; AFLW2000's pt2d are 21 points of another
# kind.
_NAMES = ("pt3d_68", "pts_3d", "pt2d")


def read_mat_landmarks(
  path: str | os.PathLike[str],
) -> Float[np.ndarray, "68 2"]:
  """Reads the landmarks of one photo.

  Returns:
    iBUG landmarks, `[68, 2]` float32, photo pixels, x right, y down, 0-based.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is broken or has no 68 points; names file and problem.
  """
  content = read_mat(path, _NAMES)
  for name in _NAMES:
    points = content.get(name)
    if points is None:
      continue
    if not isinstance(points, np.ndarray) or points.ndim != 2:
      raise UserError(f"{path}: {name}: expected a matrix of numbers")
    if points.shape[0] != NUM_LANDMARKS:
      points = points.T
    if points.shape not in ((NUM_LANDMARKS, 2), (NUM_LANDMARKS, 3)):
      raise UserError(
        f"{path}: {name}: expected {NUM_LANDMARKS} points, got"
        f" {list(content[name].shape)} numbers"
      )
    if not (np.abs(points) < np.finfo(np.float32).max).all():
      raise UserError(f"{path}: {name}: expected finite numbers")
    return (points[:, :2] - 1).astype(np.float32)
  raise UserError(
    f"{path}: expected one of the variables {', '.join(_NAMES)}, found none"
  )
