"""Photographs of a published set in which no face was found."""

from collections.abc import Sequence
import dataclasses
import pathlib

from jaxtyping import Bool, Float, UInt8
import numpy as np

from data_prep.photos.crops import warp_crop
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.rows import PhotoRow
from disentangle3d.types import UserError

# What becomes of them: the middle of the photograph is taken for the face; the
# pairs they are in get the lowest score; the set is refused.
CROP, SCORE, FAIL = MISSING = ("crop", "score", "fail")


def check_missing(
  names: Sequence[str], missing: Bool[np.ndarray, "U"], policy: str, where: str
) -> None:
  """Refuses a set with photographs or videos without a face, if so asked.

  Raises:
    UserError: `policy` is "fail" and there are some; says how many.
  """
  if policy == FAIL and missing.any():
    first = names[int(np.argmax(missing))]
    raise UserError(
      f"{where}: expected a face in all of {len(names)} photos or videos,"
      f" {missing.sum()} have none, the first {first!r}; --missing=crop or"
      " --missing=score goes on"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class UsualPlace:
  """How faces lie in the crops of a set, medians.

  Attributes:
    scale: Crop pixels a photo pixel.
    middle: Of the five points, crop pixels, `[2]`.
  """

  scale: float
  middle: Float[np.ndarray, "2"]


def usual_place(rows: Sequence[PhotoRow]) -> UsualPlace:
  """That of the faces that were found.

  Raises:
    UserError: There is none.
  """
  found = [
    (row.crop_from_photo, row.five_points)
    for row in rows
    if row.crop_from_photo is not None and row.five_points is not None
  ]
  if not found:
    raise UserError("expected an aligned photo, got none")
  return UsualPlace(
    scale=float(np.median([np.hypot(m[0, 0], m[1, 0]) for m, _ in found])),
    middle=np.median(
      [m[:, :2] @ points.mean(0) + m[:, 2] for m, points in found], axis=0
    ),
  )


def centre_crop(
  path: pathlib.Path, place: UsualPlace
) -> UInt8[np.ndarray, "112 96 3"] | None:
  """The crop of a face in the middle of a photo.

  Args:
    path: The photo.
    place: Of a face in the set's crops.

  Returns:
    What `align_faces` makes where the mean of the five points is the photo's
    centre; None where the photo cannot be read.

  Raises:
    UserFileNotFoundError: The photo is gone.
  """
  photo = _photo(path)
  if photo is None:
    return None
  return warp_crop(photo, centre_matrix(photo.shape[1], photo.shape[0], place))


def unreadable_units(
  without_face: Bool[np.ndarray, "U"], photos: Sequence[Sequence[pathlib.Path]]
) -> Bool[np.ndarray, "U"] | None:
  """Which units have no face, and no photo of which the middle could be taken.

  Args:
    without_face: Which have no face.
    photos: Those of each unit.

  Returns:
    `[U]`; None for none.

  Raises:
    UserFileNotFoundError: A photo is gone.
  """
  none = np.array(
    [
      bool(missing) and all(_photo(path) is None for path in paths)
      for missing, paths in zip(without_face, photos, strict=True)
    ]
  )
  return none if none.any() else None


def _photo(path: pathlib.Path) -> UInt8[np.ndarray, "H W 3"] | None:
  """A photo, however large, as a stage has looked at it; None if damaged."""
  try:
    return read_photo(path, most_megapixels=None)
  except FileNotFoundError:
    raise
  except ValueError:
    return None


def centre_matrix(
  width: int, height: int, place: UsualPlace
) -> Float[np.ndarray, "2 3"]:
  """`crop_from_photo` of `centre_crop`."""
  centre = np.array([width - 1, height - 1]) / 2
  shift = place.middle - place.scale * centre
  return np.concatenate([place.scale * np.eye(2), shift[:, None]], 1)


def missing_note(
  policy: str,
  missing: Bool[np.ndarray, "U"] | None,
  unreadable: Bool[np.ndarray, "U"] | None = None,
) -> str:
  """A sentence on how many had no face, for a caption; empty for none."""
  if missing is None or not missing.any():
    return ""
  done = {
    CROP: "the middle of the picture stands for it",
    SCORE: "their pairs have the lowest score",
  }[policy]
  count = f"{missing.sum():,} of {len(missing):,}"
  note = f" No face was found in {count} photos or videos: {done}."
  if policy == CROP and unreadable is not None:
    note += (
      f" {unreadable.sum():,} of these cannot be read: their pairs have the"
      " lowest score."
    )
  return note
