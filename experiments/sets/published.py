"""Published verification sets on disk: LFW view 2, CFP, YouTube Faces, .bin.

Photos come out of data_prep.align_faces (`--aligned`), which knows where the
faces are, or are aligned here; .bin files hold faces that are aligned already.
"""

from collections.abc import Sequence
import os
import pathlib

from jaxtyping import Int
import numpy as np

from data_prep.datasets.synthetic_set import is_synthetic
from data_prep.evaluation_sets.cfp import (
  FRONTAL,
  PROTOCOLS,
  list_cfp_photos,
  read_cfp_pairs,
)
from data_prep.evaluation_sets.lfw import read_lfw_pairs
from data_prep.evaluation_sets.pair_lists import (
  PairList,
  find_photos,
  find_videos,
)
from data_prep.evaluation_sets.ytf import read_meta_and_splits, read_splits
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.rows import PhotoRow, read_rows
from disentangle3d.evaluation.rows import evenly
from disentangle3d.training.dataset import read_manifest
from disentangle3d.types import UserError
from experiments.sets.alignment import PhotoSource, aligned_folder
from experiments.sets.bin_files import bin_set
from experiments.sets.crop_files import crops_of, is_ok
from experiments.sets.faces import FaceSet, photo_set, synthetic_sets
from experiments.sets.missing import CROP, check_missing, unreadable_units
from experiments.sets.rivals import Rivals

# As tables print the two sets of the paper's Table 3.
LFW_VIEW_2, YOUTUBE = "LFW view 2", "YTF"
_NO_RIVALS = Rivals()


def read_face_sets(
  *,
  datasets: Sequence[str] = (),
  lfw: tuple[str, PhotoSource] | None = None,
  cfp: tuple[str, PhotoSource] | None = None,
  ytf: tuple[str, str] | None = None,
  ytf_frames: int = 100,
  bins: Sequence[str] = (),
  missing: str = CROP,
  rivals: Rivals = _NO_RIVALS,
) -> list[FaceSet]:
  """Sets of faces to verify, from where they lie.

  Args:
    datasets: Of build_dataset or render_synthetic.
    lfw: `pairs.txt` of LFW, and where the photos are.
    cfp: See `cfp_sets`.
    ytf: See `ytf_set`.
    ytf_frames: See `ytf_set`.
    bins: See `bin_set`.
    missing: See `lfw_set`.
    rivals: What methods beside networks need, for sets that lack it.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: There is no set at all, or one is damaged.
  """
  # What is only read comes before what is detected and aligned, for hours.
  read = (
    []
    if ytf is None
    else [ytf_set(*ytf, frames=ytf_frames, missing=missing, rivals=rivals)]
  )
  read += [bin_set(path, missing=missing, rivals=rivals) for path in bins]
  sets: list[FaceSet] = []
  for dataset in datasets:
    if is_synthetic(read_manifest(dataset)):
      sets += synthetic_sets(dataset)
    else:
      sets.append(
        photo_set(dataset, landmark_calibration=rivals.landmark_calibration)
      )
  if lfw is not None:
    pairs, source = lfw
    names = read_lfw_pairs(pairs).names
    photos = [] if source.photos is None else list_photos(source.photos)
    aligned = aligned_folder(source, names, photos)
    sets.append(lfw_set(pairs, aligned, missing=missing, rivals=rivals))
  if cfp is not None:
    sets += cfp_sets(*cfp, missing=missing, rivals=rivals)
  sets += read
  if not sets:
    raise UserError(
      "expected at least one of --dataset, --lfw_pairs, --cfp, --ytf_splits,"
      " --bin"
    )
  return sets


def lfw_set(
  pairs: str | os.PathLike[str],
  aligned: str | os.PathLike[str],
  *,
  missing: str = CROP,
  rivals: Rivals = _NO_RIVALS,
) -> FaceSet:
  """LFW view 2.

  Args:
    pairs: `pairs.txt`.
    aligned: What align_faces made of the folder of photos.
    missing: What to do about photos without a face, one of `MISSING`.
    rivals: See `read_face_sets`.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: The list is malformed, its folds do not add up, or a photo of
      it is not there; says how many and names the first.
  """
  listed = read_lfw_pairs(pairs)
  return _photos_set(LFW_VIEW_2, listed, aligned, missing, rivals)


def genuine_photos(
  pairs: str | os.PathLike[str], aligned: str | os.PathLike[str], *, people: int
) -> list[tuple[PhotoRow, PhotoRow]]:
  """Two photographs of each of some people: genuine pairs of LFW's list.

  Args:
    pairs: `pairs.txt`.
    aligned: What align_faces made of the photos.
    people: How many, evenly taken of those in the list.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: The list is malformed, or has fewer people both of whose
      photos are there with landmarks.
  """
  listed = read_lfw_pairs(pairs)
  rows = {
    pathlib.PurePosixPath(row.image_id).with_suffix("").as_posix(): row
    for row in read_rows(aligned)
    if is_ok(row) and row.landmarks is not None
  }
  found: dict[str, tuple[PhotoRow, PhotoRow]] = {}
  places_of = np.stack([listed.pairs.first, listed.pairs.second], 1)
  for places in places_of[listed.pairs.same]:
    names = [listed.names[place] for place in places]
    if all(name in rows for name in names):
      found.setdefault(names[0].split("/")[0], (rows[names[0]], rows[names[1]]))
  if len(found) < people:
    raise UserError(
      f"{aligned}: expected two photographs of {people} people of {pairs}, with"
      f" landmarks, got {len(found)}"
    )
  every = list(found.values())
  return [every[place] for place in evenly(len(every), people)]


def cfp_sets(
  folder: str | os.PathLike[str],
  source: PhotoSource,
  *,
  missing: str = CROP,
  rivals: Rivals = _NO_RIVALS,
) -> list[FaceSet]:
  """CFP's frontal-frontal and frontal-profile protocols.

  Args:
    folder: The published one.
    source: Where the crops come from; where nothing is aligned yet, from the
      photographs in `folder`.
    missing: See `lfw_set`.
    rivals: See `read_face_sets`.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: As `lfw_set`.
  """
  lists = {one: read_cfp_pairs(folder, one) for one in PROTOCOLS}
  names = sorted({name for listed in lists.values() for name in listed.names})
  photos = [] if source.aligned else list_cfp_photos(folder)
  aligned = aligned_folder(source, names, photos)
  return [
    _photos_set(
      f"CFP frontal-{'frontal' if one == FRONTAL else 'profile'}",
      listed,
      aligned,
      missing,
      rivals,
    )
    for one, listed in lists.items()
  ]


def _photos_set(
  name: str,
  listed: PairList,
  aligned: str | os.PathLike[str],
  missing: str,
  rivals: Rivals,
) -> FaceSet:
  """A list of pairs of photos, with their crops."""
  rows = read_rows(aligned)
  places = find_photos(
    listed.names, [row.image_id for row in rows], where=str(aligned)
  )
  photos = [rows[place] for place in places]
  without_face = np.array([not is_ok(row) for row in photos])
  check_missing(listed.names, without_face, missing, str(aligned))
  unreadable = unreadable_units(
    without_face, [[row.image_path] for row in photos]
  )
  return FaceSet(
    name=name,
    images=crops_of(photos, rows, missing),
    pairs=listed.pairs,
    people=_people(listed),
    missing=without_face,
    policy=missing,
    unreadable=unreadable,
    **rivals.of_photos(photos),
  )


def ytf_set(
  splits: str | os.PathLike[str],
  aligned: str | os.PathLike[str],
  *,
  frames: int = 100,
  missing: str = CROP,
  rivals: Rivals = _NO_RIVALS,
) -> FaceSet:
  """YouTube Faces: the codes of a video's frames are pooled.

  Args:
    splits: `splits.txt`, or `meta_and_splits.mat`.
    aligned: What align_faces made of the frames.
    frames: At most so many of a video, evenly taken of those with a face.
    missing: What to do about videos without a face, one of `MISSING`.
    rivals: See `read_face_sets`.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: The list is malformed, its folds do not add up, or no frame of
      a video is there; says of how many and names the first.
  """
  if frames < 1:
    raise UserError(f"frames: expected at least 1, got {frames}")
  is_mat = pathlib.Path(splits).suffix.lower() == ".mat"
  listed = (read_meta_and_splits if is_mat else read_splits)(splits)
  rows = read_rows(aligned)
  videos = find_videos(
    listed.names, [row.image_id for row in rows], where=str(aligned)
  )
  seen = [[i for i in video if is_ok(rows[i])] for video in videos]
  without_face = np.array([not video for video in seen])
  check_missing(listed.names, without_face, missing, str(aligned))
  shown = [found or video for found, video in zip(seen, videos, strict=True)]
  kept = [
    [video[place] for place in evenly(len(video), frames)] for video in shown
  ]
  ends = np.cumsum([len(video) for video in kept])
  photos = [rows[i] for video in kept for i in video]
  return FaceSet(
    name=YOUTUBE,
    images=crops_of(photos, rows, missing),
    pairs=listed.pairs,
    people=_people(listed),
    frames=np.split(np.arange(ends[-1]), ends[:-1]),
    missing=without_face,
    policy=missing,
    unreadable=unreadable_units(
      without_face, [[rows[i].image_path for i in video] for video in kept]
    ),
    **rivals.of_photos(photos),
  )


def _people(listed: PairList) -> Int[np.ndarray, "U"]:
  """By the name before the slash: "Ann/Ann_0001", "Ann/3"."""
  names = [name.split("/")[0] for name in listed.names]
  return np.unique(names, return_inverse=True)[1].astype(np.int32)
