"""The University of York's scans, each with the photograph taken with it."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import os

import numpy as np

from data_prep.evaluation_sets.photo_scans import RejectedScanError, cut_scan
from data_prep.evaluation_sets.york import YorkFiles, list_york, read_york
from data_prep.stages.rows import PhotoRow, read_rows
from disentangle3d.evaluation.scans import Scan, make_scan
from disentangle3d.types import UserError
from experiments.sets.scans import FacePhoto, crop_of


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class YorkPhoto(FacePhoto):
  """A photo and its scan.

  Attributes:
    scan: With the photo's landmarks and the face's outline.
  """

  scan: Scan


@dataclasses.dataclass(frozen=True, eq=False)
class YorkSet:
  """The scans of one split.

  Attributes:
    photos: Those that the rule lets pass, by person and expression.
    rejected: How many were left out, by reason.
  """

  photos: Sequence[YorkPhoto]
  rejected: Mapping[str, int]

  @property
  def people(self) -> np.ndarray:
    """Who is in each photo, `[P]` int32."""
    names = [photo.subject for photo in self.photos]
    return np.unique(names, return_inverse=True)[1].astype(np.int32)


def york_set(
  sources: Sequence[str | os.PathLike[str]],
  *,
  aligned: str | os.PathLike[str],
  split: str = "test",
) -> YorkSet:
  """Reads the scans of one split, and cuts the faces out.

  Args:
    sources: See `list_york`.
    aligned: What align_faces made of the photographs.
    split: "development" or "test".

  Raises:
    UserFileNotFoundError: A folder is missing.
    UserError: A file is malformed, or the rule leaves nothing.
  """
  rows = {row.image_id.rsplit(".", 1)[0]: row for row in read_rows(aligned)}
  photos: list[YorkPhoto] = []
  rejected: collections.Counter[str] = collections.Counter()
  for files in list_york(sources, split):
    try:
      photos.append(_photo(files, rows.get(files.name)))
    except RejectedScanError as error:
      rejected[str(error)] += 1
  if not photos:
    raise UserError(f"{aligned}: no scan is left: {dict(rejected)}")
  return YorkSet(photos, rejected)


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
    **crop_of(row),
  )
