"""AFLW2000-3D: photographs with 68 points at every yaw, the jaw the true one.

photos.zip      image00002.jpg ...
points.npz      names [N], points [N, 68, 3] (x, y in pixels of the photo,
                a depth), pitch_yaw_roll_deg [N, 3]
"""

import dataclasses
import os
import pathlib

from jaxtyping import Float
import numpy as np

from data_prep.photos.photo_sets import Photo
from disentangle3d.input_files import existing_file, read_npz
from disentangle3d.types import NUM_LANDMARKS, UserError

_PHOTOS, _POINTS = "photos.zip", "points.npz"
_NAMES = ("names", "points", "pitch_yaw_roll_deg")


@dataclasses.dataclass(frozen=True, eq=False)
class Aflw2000:
  """The photographs and their truth.

  Attributes:
    photos: For `read_photo`.
    points: `[N, 68, 2]`, photo pixels.
    yaw_deg: `[N]`.
  """

  photos: list[Photo]
  points: Float[np.ndarray, "N 68 2"]
  yaw_deg: Float[np.ndarray, "N"]


def read_aflw2000(folder: str | os.PathLike[str]) -> Aflw2000:
  """Reads the list; the photographs are read when they are looked at.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: The list is malformed; names the file and the problem.
  """
  archive = existing_file(pathlib.Path(folder) / _PHOTOS)
  path = pathlib.Path(folder) / _POINTS
  content = read_npz(path, "the points of AFLW2000-3D", names=_NAMES)
  names, points, angles = (content[name] for name in _NAMES)
  count = names.shape[0] if names.ndim == 1 else 0
  for name, array, shape in (
    ("points", points, (count, NUM_LANDMARKS, 3)),
    ("pitch_yaw_roll_deg", angles, (count, 3)),
  ):
    if not count or array.shape != shape or not np.isfinite(array).all():
      raise UserError(
        f"{path}: {name}: expected finite numbers {list(shape)}, one row for"
        f" each of names, got {list(array.shape)}"
      )
  return Aflw2000(
    photos=[
      Photo(
        pathlib.Path(f"{os.path.abspath(archive)}::{name}"),
        pathlib.PurePath(name).stem,
        str(name),
      )
      for name in names.tolist()
    ],
    points=np.asarray(points[..., :2], np.float32),
    yaw_deg=np.asarray(angles[:, 1], np.float32),
  )
