"""The University of York's scans, each with the photograph taken with it."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib

from jaxtyping import Float
import numpy as np

from data_prep.evaluation_sets.photo_scans import RejectedScanError, cut_scan
from data_prep.evaluation_sets.york import YorkFiles, list_york, read_york
from data_prep.photos.photo_sets import Photo, read_photo
from data_prep.stages.rows import PhotoRow, read_rows
from disentangle3d.evaluation.scans import Scan, make_scan
from disentangle3d.types import UserError
from experiments.sets.alignment import PhotoSource, aligned_folder
from experiments.sets.scan_renderings import PhotoTexture, render_scan
from experiments.sets.scans import FacePhoto, crop_of

YORK, YORK_YAW = "York", "York-rendered"
YAW_STEPS_DEG = tuple(range(-60, 61, 10))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class YorkPhoto(FacePhoto):
  """A photo and its scan.

  Attributes:
    scan: With the photo's landmarks and the face's outline.
    photo_path: The whole photo.
    pixels: Where each of the scan's vertices is in it, `[V, 2]`.
  """

  scan: Scan
  photo_path: pathlib.Path
  pixels: Float[np.ndarray, "V 2"]


@dataclasses.dataclass(frozen=True, eq=False)
class YorkSet:
  """The scans of one split.

  Attributes:
    name: Of its folder: `YORK` or `YORK_YAW`.
    split: Whose scans these are.
    photos: Those that the rule lets pass, by person and expression.
    rejected: How many were left out, by reason.
  """

  name: str
  split: str
  photos: Sequence[YorkPhoto]
  rejected: Mapping[str, int]

  @property
  def title(self) -> str:
    """As tables print it."""
    return f"{self.name}, {self.split} people"

  @property
  def people(self) -> np.ndarray:
    """Who is in each photo, `[P]` int32."""
    names = [photo.subject for photo in self.photos]
    return np.unique(names, return_inverse=True)[1].astype(np.int32)


def aligned_york(
  sources: Sequence[str | os.PathLike[str]], source: PhotoSource, split: str
) -> pathlib.Path:
  """What align_faces made of a split's photographs, made where it is not there.

  Args:
    sources: See `list_york`.
    source: Where it is, or where to make it.
    split: "development" or "test"; no photograph of the other is looked at.

  Raises:
    UserModuleNotFoundError: The extra `detect` is not installed.
    UserFileNotFoundError, UserError: As `list_york` and `aligned_folder`.
  """
  listed = list_york(sources, split)
  own = source.workdir and os.path.join(source.workdir, split)
  return aligned_folder(
    dataclasses.replace(source, workdir=own),
    [files.name for files in listed],
    [
      Photo(one.photo_path, one.person, f"{one.name}{one.photo_path.suffix}")
      for one in listed
    ],
  )


def york_set(
  sources: Sequence[str | os.PathLike[str]],
  *,
  aligned: str | os.PathLike[str],
  split: str = "test",
  people: int = 0,
) -> YorkSet:
  """Reads the scans of one split, and cuts the faces out.

  Args:
    sources: See `list_york`.
    aligned: What align_faces made of the photographs.
    split: "development" or "test".
    people: The first so many of them; 0 takes all.

  Raises:
    UserFileNotFoundError: A folder is missing.
    UserError: A file is malformed, or the rule leaves nothing.
  """
  rows = {row.image_id.rsplit(".", 1)[0]: row for row in read_rows(aligned)}
  photos: list[YorkPhoto] = []
  rejected: collections.Counter[str] = collections.Counter()
  listed = list_york(sources, split)
  chosen = list(dict.fromkeys(files.person for files in listed))
  chosen = chosen[: people or len(chosen)]
  for files in listed:
    if files.person not in chosen:
      continue
    try:
      photos.append(_photo(files, rows.get(files.name)))
    except RejectedScanError as error:
      rejected[str(error)] += 1
  if not photos:
    raise UserError(f"{aligned}: no scan is left: {dict(rejected)}")
  return YorkSet(YORK, split, photos, rejected)


def york_yaw_set(faces: YorkSet) -> YorkSet:
  """One scan a person, its photo turned to yaw -60 to 60 degrees by 10.

  Args:
    faces: Of `york_set`; each person's last scan is taken, which frowns.
  """
  last = {photo.subject: photo for photo in faces.photos}
  photos: list[YorkPhoto] = []
  for photo in last.values():
    surface = photo.scan.surface
    crops = render_scan(
      surface.vertices.astype(np.float32),
      surface.triangles.astype(np.int32),
      photo.scan.landmarks,
      YAW_STEPS_DEG,
      texture=PhotoTexture(
        read_photo(photo.photo_path, most_megapixels=None), photo.pixels
      ),
    )
    photos += [
      dataclasses.replace(
        photo,
        name=f"{photo.name}_yaw{yaw:+03d}",
        condition=str(yaw),
        image=crops.images[place],
        landmarks=crops.landmarks[place],
        visibility=crops.visibility[place],
        visible_contour=False,
      )
      for place, yaw in enumerate(YAW_STEPS_DEG)
    ]
  return YorkSet(YORK_YAW, faces.split, photos, {})


def _photo(files: YorkFiles, row: PhotoRow | None) -> YorkPhoto:
  if row is None or row.landmarks is None or row.status != "ok":
    raise RejectedScanError("no face found in the photograph")
  cut = cut_scan(read_york(files), row.landmarks)
  scan = make_scan(
    cut.vertices, cut.triangles, cut.landmarks, outline=cut.inside
  )
  return YorkPhoto(
    name=files.name,
    subject=files.person,
    condition=files.expression,
    scan=scan,
    photo_path=files.photo_path,
    pixels=cut.pixels,
    **crop_of(row),
  )
