"""Where faces were seen: in which photo, and in a film by whose track."""

from collections.abc import Sequence
import dataclasses
import pathlib

from absl import logging
from jaxtyping import Float, Int
import numpy as np

from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.found_faces import (
  FoundFace,
  default_finder,
  find_faces,
  precropped_face,
)
from data_prep.photos.loose_photos import LoosePhoto, read_photos
from data_prep.stages.progress import counted
from disentangle3d.types import UserError

# A track goes on where boxes share so much of their union, and ends when it has
# not been seen for so many frames.
_LEAST_OVERLAP = 0.3
_MOST_MISSED = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Sighting:
  """A face where it was found.

  Attributes:
    index: Of the photo among all.
    number: Of the face in the photo, from 1.
    notes: What was odd about the photo.
    face: The face.
  """

  index: int
  number: int
  notes: tuple[str, ...]
  face: FoundFace


class Finder:
  """Faces of photos, found or taken as they are."""

  def __init__(self, *, precropped: bool) -> None:
    """Loads the detectors.

    Raises:
      UserModuleNotFoundError: The extra `detect` is not installed, which
        crops do without.
    """
    self._precropped = precropped
    self._locate = None
    if not precropped:
      default_finder()
      return
    try:
      self._locate = DlibLocator().locate
    except ModuleNotFoundError as error:
      logging.warning("No landmarks, so no overlays: %s", error)

  def faces(self, photo: LoosePhoto) -> list[FoundFace]:
    """The faces of a photo, the largest first.

    Raises:
      UserError: The photo is no crop, or has no face; says which.
    """
    if photo.image is None:
      raise UserError(photo.reason)
    if self._precropped:
      return [precropped_face(photo.image, self._locate)]
    return find_faces(photo.image)


def find_sightings(
  files: Sequence[pathlib.Path],
  finder: Finder,
  *,
  every: int = 1,
  largest: bool = False,
) -> tuple[list[str], list[Sighting], dict[int, str]]:
  """Looks at every photo.

  Args:
    files: From `list_files`.
    finder: Finds the faces.
    every: Of a video every so many-th frame.
    largest: Takes only the largest face of a photo.

  Returns:
    The photos' names, the faces in their order, and by the photo's number why
    there is none.
  """
  names: list[str] = []
  sightings: list[Sighting] = []
  reasons: dict[int, str] = {}
  photos = read_photos(files, every=every)
  for index, photo in enumerate(counted(photos, "looking for faces")):
    names.append(photo.name)
    try:
      faces = finder.faces(photo)
    except ValueError as error:
      reasons[index] = str(error)
      continue
    notes = photo.notes
    if largest and len(faces) > 1:
      notes = (*notes, f"{len(faces)} faces, the largest was taken")
      faces = faces[:1]
    for number, face in enumerate(faces, 1):
      sightings.append(Sighting(index, number, notes, face))
  return names, sightings, reasons


def track_faces(
  names: Sequence[str], sightings: Sequence[Sighting]
) -> Int[np.ndarray, "N"]:
  """Which sightings are one person's, by the overlap of boxes over time.

  Frame by frame the pairs of a track's last box and a new one are joined, those
  that overlap most first. A video is a film of its own, and so are the frames
  of a folder; crops have no boxes, and those of a folder are one track.

  Args:
    names: Of the photos, in the order of time.
    sightings: Of faces in them, in the photos' order.

  Returns:
    The track of each, from 0, `[N]`.
  """
  tracks = np.full(len(sightings), -1)
  # By track: film, frame and box where it was seen last.
  last: list[tuple[str, int, np.ndarray | None]] = []
  for index in dict.fromkeys(sighting.index for sighting in sightings):
    rows = [n for n, s in enumerate(sightings) if s.index == index]
    film = _film(names[index])
    pairs = [
      (_overlap(last[track][2], sightings[row].face.box), track, row)
      for row in rows
      for track in range(len(last))
      if last[track][0] == film and index - last[track][1] <= _MOST_MISSED
    ]
    taken: set[int] = set()
    for overlap, track, row in sorted(pairs, key=lambda pair: -pair[0]):
      if overlap < _LEAST_OVERLAP or track in taken or tracks[row] >= 0:
        continue
      tracks[row] = track
      taken.add(track)
    for row in rows:
      seen = (film, index, sightings[row].face.box)
      if tracks[row] < 0:
        tracks[row] = len(last)
        last.append(seen)
      else:
        last[tracks[row]] = seen
  return tracks


def _film(name: str) -> str:
  """What a photo's neighbours in time share: the video, or the folder."""
  path, _, frame = name.partition("::")
  return path if frame else str(pathlib.Path(path).parent)


def _overlap(
  one: Float[np.ndarray, "4"] | None, other: Float[np.ndarray, "4"] | None
) -> float:
  """Intersection over union of two boxes; 1 where neither has one."""
  if one is None or other is None:
    return float(one is other)
  sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
  shared = float(np.prod(np.maximum(sides, 0)))
  areas = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]))
  return shared / (areas - shared) if shared else 0.0
