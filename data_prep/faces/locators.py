"""What finds the 68 landmarks of a face, behind one small interface.

`dlib_landmarks` (runs here), `fan_landmarks` (in an environment of its own) and
`PtsLocator` (points that somebody has placed before).
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.pts import PTS_DETECTOR, read_pts
from data_prep.stages.rows import PhotoRow
from disentangle3d.input_files import existing_folder


@dataclasses.dataclass(frozen=True, eq=False)
class LocatedFace:
  """One face in photo pixels.

  Attributes:
    box: x0, y0, x1, y1, `[4]`.
    landmarks: iBUG landmarks, `[68, 2]`.
    visibility: 0 where a landmark lies outside the photo, or where the locator
      knows that the face hides it, else 1, `[68]`.
    spread: How unsure each landmark is, `[68]`: the scale of a Laplace
      distribution, half the expected distance; None where nobody knows.
    silhouette: The jaw as the photo shows it, `[17, 2]`, from a locator whose
      landmarks have the true jaw; else None.
  """

  box: Float[np.ndarray, "4"]
  landmarks: Float[np.ndarray, "68 2"]
  visibility: Float[np.ndarray, "68"]
  spread: Float[np.ndarray, "68"] | None = None
  silhouette: Float[np.ndarray, "17 2"] | None = None


class NoFaceError(ValueError):
  """A photo has no face to locate; says why."""


class Locator(Protocol):
  """Finds one face's landmarks in a photo.

  Attributes:
    name: For the manifest's `detector`.
    settings: All that decides what it finds, JSON values.
    licences: Terms of its weights, or of the points, by name.
  """

  name: str
  settings: Mapping[str, object]
  licences: Mapping[str, str]

  def locate(
    self, photo: UInt8[np.ndarray, "H W 3"], row: PhotoRow
  ) -> LocatedFace:
    """Locates one face.

    Args:
      photo: RGB, `[H, W, 3]`.
      row: The photo's name, and its face's box where a stage before has
        found one; else the locator looks for the face itself.

    Returns:
      The face.

    Raises:
      NoFaceError: There is none; says why.
    """


@runtime_checkable
class BatchLocator(Locator, Protocol):
  """One that is faster with many faces at a time."""

  def locate_some(
    self, photos: Sequence[UInt8[np.ndarray, "H W 3"]], rows: Sequence[PhotoRow]
  ) -> list[LocatedFace | NoFaceError]:
    """As `locate`, one of each, the reasons among what is returned."""


def locate_each(
  locator: Locator,
  photos: Sequence[UInt8[np.ndarray, "H W 3"]],
  rows: Sequence[PhotoRow],
) -> list[LocatedFace | NoFaceError]:
  """The face of each photo, all together where the locator can.

  Args:
    locator: Finds them.
    photos: RGB, `[H, W, 3]`.
    rows: One of each.

  Returns:
    Faces, or why there is none.
  """
  if isinstance(locator, BatchLocator):
    return locator.locate_some(photos, rows)
  faces: list[LocatedFace | NoFaceError] = []
  for photo, row in zip(photos, rows, strict=True):
    try:
      faces.append(locator.locate(photo, row))
    except NoFaceError as error:
      faces.append(error)
  return faces


class PtsLocator:
  """Landmarks out of `.pts` files, one a photo."""

  def __init__(self, folder: pathlib.Path, *, licence: str = "not given"):
    """Takes `<folder>/<image_id without suffix>.pts`.

    Raises:
      UserFileNotFoundError: There is no such folder.
    """
    existing_folder(folder)
    self._folder = folder
    self.name = PTS_DETECTOR
    self.settings: Mapping[str, object] = {"locator": "pts"}
    self.licences: Mapping[str, str] = {"landmarks (.pts)": licence}

  def locate(
    self, photo: UInt8[np.ndarray, "H W 3"], row: PhotoRow
  ) -> LocatedFace:
    """See `Locator`; a missing or malformed file is no face."""
    path = (self._folder / row.image_id).with_suffix(".pts")
    if not path.is_file():
      raise NoFaceError("no .pts file")
    try:
      landmarks = read_pts(path)
    except ValueError as error:
      text = str(error).removeprefix(str(path)).lstrip(":, ")
      raise NoFaceError(f"malformed .pts file: {text}") from error
    around = np.concatenate([landmarks.min(0), landmarks.max(0)])
    return LocatedFace(
      box=around if row.box is None else row.box,
      landmarks=landmarks,
      visibility=inside_photo(landmarks, photo),
    )


def inside_photo(
  landmarks: Float[np.ndarray, "68 2"], photo: UInt8[np.ndarray, "H W 3"]
) -> Float[np.ndarray, "68"]:
  """1 where a landmark lies on a pixel of the photo, else 0, `[68]`."""
  far = np.array([[photo.shape[1], photo.shape[0]]]) - 0.5
  inside = np.all((landmarks >= -0.5) & (landmarks <= far), axis=-1)
  return inside.astype(np.float32)
