"""A published set's photographs, aligned as the photographs of training are."""

from collections.abc import Sequence
import dataclasses
import pathlib

from data_prep.evaluation_sets.pair_lists import find_photos
from data_prep.faces.alignment import align_faces
from data_prep.faces.detection import detect_faces, list_source, mtcnn_source
from data_prep.faces.location import (
  locate_landmarks,
  make_locator,
  rows_of_stage,
)
from data_prep.photos.crops import TEMPLATES, template_in
from data_prep.photos.photo_sets import Photo
from data_prep.stages.about import read_settings
from disentangle3d.crop_templates import SPHEREFACE, WHOLE_FACE
from disentangle3d.types import UserError

# What a crop's points are taken from: 68 landmarks, as in a dataset of
# prepare_dataset, or the detector's five.
LANDMARKS, FIVE_POINTS = ALIGNED_BY = ("landmarks", "five_points")
# What may find them; the first is prepare_dataset's default.
LOCATED_BY = ("dlib", "synthetic")


@dataclasses.dataclass(frozen=True)
class PhotoSource:
  """Where a set's crops come from.

  Attributes:
    flag: What the set's flags begin with, for errors.
    aligned: The folder of align_faces, if there is one.
    photos: In place of it, where the photographs are, see `list_photos`; None
      where the set says it itself.
    five_points: A published list of them, in place of MTCNN.
    workdir: The folder for the stages, which goes on where it stopped.
    aligned_by: One of `ALIGNED_BY`.
    locator: One of `LOCATED_BY`.
    template: What crops are aligned by, one of `crop_templates.TEMPLATES`.
  """

  flag: str
  aligned: str | None = None
  photos: str | None = None
  five_points: str | None = None
  workdir: str | None = None
  aligned_by: str = LANDMARKS
  locator: str = LOCATED_BY[0]
  template: str = SPHEREFACE

  def check(self) -> None:
    """Checks what can be known before anything is read.

    Raises:
      UserError: Folders of crops and of photographs are given, there is no
        folder for the stages, or crops are aligned by something else.
    """
    if self.template == WHOLE_FACE and self.aligned_by == FIVE_POINTS:
      raise UserError(
        "--aligned_by: expected landmarks, of which the networks' crops take"
        " all 68, got five_points"
      )
    if self.aligned and self.photos:
      raise UserError(
        f"--{self.flag}_aligned, --{self.flag}_photos: expected one of the two"
      )
    if not self.aligned and not self.workdir:
      raise UserError(
        "--workdir: expected a folder for the aligned photographs of"
        f" --{self.flag}"
      )


def aligned_folder(
  source: PhotoSource, names: Sequence[str], photos: Sequence[Photo]
) -> pathlib.Path:
  """The folder of align_faces with a set's crops, made where there is none.

  Args:
    source: Where they come from.
    names: The photographs that are needed, without suffix; no other is looked
      at.
    photos: Those there are; none where they are aligned already.

  Raises:
    UserFileNotFoundError: The list of points is not there.
    UserError: See `PhotoSource.check`; a photograph is missing; crops are of
      another template; or the work folder holds something else.
  """
  source.check()
  if source.aligned:
    return _checked(pathlib.Path(source.aligned), source.template)
  places = find_photos(
    names,
    [photo.image_id for photo in photos],
    where=f"the photographs of --{source.flag}",
  )
  folder = pathlib.Path(str(source.workdir)) / source.flag
  other = "" if source.locator == LOCATED_BY[0] else f"_{source.locator}"
  detected, located = folder / "detected", folder / f"located{other}"
  points = source.five_points
  detect_faces(
    [photos[place] for place in sorted(places)],
    detected,
    list_source(pathlib.Path(points)) if points else mtcnn_source(),
  )
  if source.aligned_by == FIVE_POINTS:
    aligned = folder / "aligned_by_five_points"
    align_faces(detected, aligned)
    return aligned
  if source.template != SPHEREFACE:
    other = f"{other}_{source.template}"
  aligned = folder / f"aligned_by_landmarks{other}"
  locate_landmarks(
    rows_of_stage(detected), located, make_locator(source.locator)
  )
  align_faces(located, aligned, template=TEMPLATES[source.template])
  return aligned


def _checked(aligned: pathlib.Path, template: str) -> pathlib.Path:
  """A folder of align_faces, if its crops are of the template."""
  found = template_in(read_settings(aligned))
  if found != template:
    raise UserError(
      f"{aligned}: expected crops of the template {template!r}, which the"
      f" networks see, got {found!r}"
    )
  return aligned
