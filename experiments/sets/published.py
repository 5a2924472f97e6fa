"""Published verification sets on disk: LFW view 2, YouTube Faces, .bin files.

Photos come out of data_prep.align_faces (`--aligned`), which knows where the
faces are; .bin files hold faces that are aligned already.
"""

from collections.abc import Sequence
import os
import pathlib

from jaxtyping import Int, UInt8
import numpy as np

from data_prep.datasets.synthetic_set import is_synthetic
from data_prep.evaluation_sets.lfw import read_lfw_pairs
from data_prep.evaluation_sets.pair_lists import (
  PairList,
  find_photos,
  find_videos,
)
from data_prep.evaluation_sets.verification_bin import read_verification_bin
from data_prep.evaluation_sets.ytf import read_meta_and_splits, read_splits
from data_prep.photos.photo_sets import decode_photo, read_photo
from data_prep.stages.rows import PhotoRow, read_rows
from disentangle3d.evaluation.pairs import Pairs
from disentangle3d.evaluation.rows import evenly
from disentangle3d.training.dataset import read_manifest
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError
from experiments.sets.faces import FaceSet, photo_set, synthetic_sets

_FOLDS = 10
# ArcFace's template for 112 x 112 is SphereFace's for 112 x 96, 8 pixels on.
_ARCFACE_SIZE, _ARCFACE_MARGIN = 112, 8


class CropFiles:
  """Crops that are read when they are asked for."""

  def __init__(self, paths: Sequence[pathlib.Path]):
    self._paths = paths

  def __len__(self) -> int:
    """How many."""
    return len(self._paths)

  def __getitem__(
    self, rows: Int[np.ndarray, "B"]
  ) -> UInt8[np.ndarray, "B 112 96 3"]:
    """Reads some.

    Raises:
      UserFileNotFoundError: A crop is gone.
      UserError: One is no image of 112 x 96; names it.
    """
    return np.stack([self._read(self._paths[row]) for row in rows])

  def _read(self, path: pathlib.Path) -> np.ndarray:
    image = read_photo(path)
    if image.shape[:2] != (IMAGE_HEIGHT, IMAGE_WIDTH):
      raise UserError(
        f"{path}: expected {IMAGE_HEIGHT} x {IMAGE_WIDTH} pixels, got"
        f" {image.shape[0]} x {image.shape[1]}"
      )
    return image


def read_face_sets(
  *,
  datasets: Sequence[str] = (),
  lfw: tuple[str, str] | None = None,
  ytf: tuple[str, str] | None = None,
  ytf_frames: int = 100,
  bins: Sequence[str] = (),
) -> list[FaceSet]:
  """Sets of faces to verify, from where they lie.

  Args:
    datasets: Of build_dataset or render_synthetic.
    lfw: See `lfw_set`.
    ytf: See `ytf_set`.
    ytf_frames: See `ytf_set`.
    bins: See `bin_set`.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: There is no set at all, or one is damaged.
  """
  sets: list[FaceSet] = []
  for dataset in datasets:
    if is_synthetic(read_manifest(dataset)):
      sets += synthetic_sets(dataset)
    else:
      sets.append(photo_set(dataset))
  if lfw is not None:
    sets.append(lfw_set(*lfw))
  if ytf is not None:
    sets.append(ytf_set(*ytf, frames=ytf_frames))
  sets += [bin_set(path) for path in bins]
  if not sets:
    raise UserError(
      "expected at least one of --dataset, --lfw_pairs, --ytf_splits, --bin"
    )
  return sets


def lfw_set(
  pairs: str | os.PathLike[str], aligned: str | os.PathLike[str]
) -> FaceSet:
  """LFW view 2.

  Args:
    pairs: `pairs.txt`.
    aligned: What align_faces made of the folder of photos.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: The list is malformed, its folds do not add up, or a photo of
      it was not aligned; says how many and names the first.
  """
  listed = read_lfw_pairs(pairs)
  rows = _usable(aligned)
  chosen = find_photos(
    listed.names, [row.image_id for row in rows], where=str(aligned)
  )
  return FaceSet(
    name="LFW view 2",
    images=CropFiles([_crop(rows[index]) for index in chosen]),
    pairs=listed.pairs,
    people=_people(listed),
  )


def ytf_set(
  splits: str | os.PathLike[str],
  aligned: str | os.PathLike[str],
  *,
  frames: int = 100,
) -> FaceSet:
  """YouTube Faces: the codes of a video's frames are pooled.

  Args:
    splits: `splits.txt`, or `meta_and_splits.mat`.
    aligned: What align_faces made of the frames.
    frames: At most so many of a video, evenly taken.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: The list is malformed, its folds do not add up, or no frame of
      a video was aligned; says of how many and names the first.
  """
  if frames < 1:
    raise UserError(f"frames: expected at least 1, got {frames}")
  is_mat = pathlib.Path(splits).suffix.lower() == ".mat"
  listed = (read_meta_and_splits if is_mat else read_splits)(splits)
  rows = _usable(aligned)
  videos = find_videos(
    listed.names, [row.image_id for row in rows], where=str(aligned)
  )
  kept = [
    [video[place] for place in evenly(len(video), frames)] for video in videos
  ]
  ends = np.cumsum([len(video) for video in kept])
  return FaceSet(
    name="YTF",
    images=CropFiles([_crop(rows[i]) for video in kept for i in video]),
    pairs=listed.pairs,
    people=_people(listed),
    frames=np.split(np.arange(ends[-1]), ends[:-1]),
  )


def bin_set(path: str | os.PathLike[str]) -> FaceSet:
  """A .bin file: ten folds, one after the other.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is malformed, or its pairs make no ten equal folds with
      both kinds in each.
  """
  content = read_verification_bin(path)
  count = len(content.same)
  if count % _FOLDS:
    raise UserError(
      f"{path}: expected a number of pairs that {_FOLDS} divides, for as many"
      f" equal folds, got {count}"
    )
  places = np.arange(count)
  return FaceSet(
    name=pathlib.Path(path).name,
    images=np.stack(
      [
        _cut(decode_photo(image, f"{path}: image {number}"), path, number)
        for number, image in enumerate(content.images)
      ]
    ),
    pairs=Pairs(
      first=2 * places,
      second=2 * places + 1,
      same=content.same,
      fold=places // (count // _FOLDS),
    ),
  )


def _cut(
  image: np.ndarray, path: str | os.PathLike[str], number: int
) -> np.ndarray:
  """The crop in an image that is as large, or is ArcFace's."""
  if image.shape[:2] == (_ARCFACE_SIZE, _ARCFACE_SIZE):
    image = image[:, _ARCFACE_MARGIN : _ARCFACE_SIZE - _ARCFACE_MARGIN]
  if image.shape[:2] != (IMAGE_HEIGHT, IMAGE_WIDTH):
    raise UserError(
      f"{path}: image {number}: expected 112 x 112 or 112 x 96 pixels, got"
      f" {image.shape[0]} x {image.shape[1]}"
    )
  return image


def _usable(aligned: str | os.PathLike[str]) -> list[PhotoRow]:
  return [row for row in read_rows(aligned, aligned=True) if row.status == "ok"]


def _crop(row: PhotoRow) -> pathlib.Path:
  if row.crop_path is None:
    raise UserError(f"{row.image_id}: expected an aligned photo, got no crop")
  return row.crop_path


def _people(listed: PairList) -> Int[np.ndarray, "U"]:
  """By the name before the slash: "Ann/Ann_0001", "Ann/3"."""
  names = [name.split("/")[0] for name in listed.names]
  return np.unique(names, return_inverse=True)[1].astype(np.int32)
