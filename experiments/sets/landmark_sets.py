"""Photos whose 68 points are known: real ones, and of the synthetic world."""

from collections.abc import Sequence
import dataclasses
import os
import pathlib

from jaxtyping import Float
import numpy as np

from data_prep.datasets.landmark_photo_set import read_landmark_photos
from data_prep.evaluation_sets.aflw2000 import read_aflw2000
from data_prep.photos.photo_sets import PhotoFiles

AFLW2000, SYNTHETIC = "AFLW2000-3D", "synthetic"


@dataclasses.dataclass(frozen=True, eq=False)
class LandmarkSet:
  """Photos and their truth.

  Attributes:
    name: As tables print it.
    image_ids: Names of the photos.
    images: RGB, `[H, W, 3]` each; may be read when looked at.
    points: `[N, 68, 2]`, photo pixels; the jaw is the true one.
    yaw_deg: `[N]`.
    searched: Whether a detector finds the faces; else the box is the truth's.
  """

  name: str
  image_ids: Sequence[str]
  images: Sequence[np.ndarray]
  points: Float[np.ndarray, "N 68 2"]
  yaw_deg: Float[np.ndarray, "N"]
  searched: bool


def aflw2000_set(
  folder: str | os.PathLike[str], *, photos: int = 0
) -> LandmarkSet:
  """AFLW2000-3D, or its first so many photos.

  Raises:
    UserFileNotFoundError, UserError: As `read_aflw2000`.
  """
  listed = read_aflw2000(folder)
  count = photos or len(listed.photos)
  return LandmarkSet(
    name=AFLW2000,
    image_ids=[photo.image_id for photo in listed.photos[:count]],
    images=PhotoFiles([photo.path for photo in listed.photos[:count]]),
    points=listed.points[:count],
    yaw_deg=listed.yaw_deg[:count],
    searched=True,
  )


def synthetic_set(
  folder: str | os.PathLike[str], *, photos: int = 0
) -> LandmarkSet:
  """The last shard of a set of render_landmark_photos.

  It is one that training holds out. MTCNN does not find every rendered face,
  so the boxes are the truth's.

  Raises:
    UserError: There is none.
  """
  count = len(list(pathlib.Path(folder).glob("manifest-*.npz")))
  (shard,) = read_landmark_photos(
    pathlib.Path(folder), keep=lambda number: number == count - 1
  )
  count = photos or len(shard.image)
  return LandmarkSet(
    name=SYNTHETIC,
    image_ids=[f"photo{number:05d}" for number in range(count)],
    images=list(np.asarray(shard.image[:count])),
    points=np.asarray(shard.points[:count, :, :2]),
    yaw_deg=np.rad2deg(np.asarray(shard.yaw_rad[:count])),
    searched=False,
  )
