"""Where faces were seen: in which photo, and in a film by whose track."""

from collections.abc import Sequence
import pathlib

from absl import logging
from jaxtyping import Float, Int
import numpy as np

from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.found_faces import (
  FaceFinder,
  FoundFace,
  find_faces,
  precropped_face,
)
from data_prep.faces.mtcnn.detector import DETECTION_SIDE
from data_prep.faces.network_locator import NetworkLocator
from data_prep.photos.loose_photos import LoosePhoto
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.types import UserError

# A track goes on where boxes share so much of their union, and ends when it has
# not been seen for so many frames.
_LEAST_OVERLAP = 0.3
_MOST_MISSED = 10
# Locators that need nothing but a photo.
DLIB, SYNTHETIC = FREE_STANDING = ("dlib", "synthetic")
_LOCATORS = {DLIB: DlibLocator, SYNTHETIC: NetworkLocator}


class Finder:
  """Faces of photos, found or taken as they are."""

  def __init__(
    self,
    *,
    precropped: bool,
    side: int = DETECTION_SIDE,
    locator: str = SYNTHETIC,
    template: str = SPHEREFACE,
  ) -> None:
    """Loads the detectors.

    Args:
      precropped: The photos are aligned crops.
      side: Photos with a longer side are shrunk to it for MTCNN.
      locator: What finds the landmarks, one of `FREE_STANDING`.
      template: What crops are aligned by.

    Raises:
      UserModuleNotFoundError: The extra `detect` is not installed, which
        crops do without.
    """
    self.precropped = precropped
    self.side = side
    self.locator = locator
    self.template = template
    self._locate = self._finder = None
    if not precropped:
      self._finder = FaceFinder(
        locate=_LOCATORS[locator]().locate, side=side, template=template
      )
      return
    try:
      self._locate = _LOCATORS[locator]().locate
    except ModuleNotFoundError as error:
      logging.warning("No landmarks, so no overlays: %s", error)

  def faces(self, photo: LoosePhoto) -> list[FoundFace]:
    """The faces of a photo, the largest first.

    Raises:
      UserError: The photo is no crop, or has no face; says which.
    """
    if photo.image is None:
      raise UserError(photo.reason)
    if self._finder is None:
      return [
        precropped_face(photo.image, self._locate, template=self.template)
      ]
    return find_faces(photo.image, finder=self._finder)


def track_faces(
  names: Sequence[str],
  indices: Sequence[int],
  boxes: Sequence[Float[np.ndarray, "4"] | None],
) -> Int[np.ndarray, "N"]:
  """Which faces are one person's, by the overlap of boxes over time.

  Frame by frame the pairs of a track's last box and a new one are joined, those
  that overlap most first. A video is a film of its own, and so are the frames
  of a folder; crops have no boxes, and those of a folder are one track.

  Args:
    names: Of the photos, in the order of time.
    indices: Each face's photo among them, ascending, `[N]`.
    boxes: Of the faces, `[N]`.

  Returns:
    The track of each, from 0, `[N]`.
  """
  tracks = np.full(len(indices), -1)
  # By track that may go on: film, frame and box where it was seen last.
  last: dict[int, tuple[str, int, np.ndarray | None]] = {}
  ends = np.flatnonzero(np.diff(indices, append=-1)) + 1
  first = count = 0
  for end in ends.tolist():
    rows, index = range(first, end), indices[first]
    first = end
    film = _film(names[index])
    last = {
      track: seen
      for track, seen in last.items()
      if index - seen[1] <= _MOST_MISSED
    }
    pairs = [
      (_overlap(last[track][2], boxes[row]), track, row)
      for row in rows
      for track in last
      if last[track][0] == film
    ]
    taken: set[int] = set()
    for overlap, track, row in sorted(pairs, key=lambda pair: -pair[0]):
      if overlap < _LEAST_OVERLAP or track in taken or tracks[row] >= 0:
        continue
      tracks[row] = track
      taken.add(track)
    for row in rows:
      if tracks[row] < 0:
        tracks[row] = count
        count += 1
      last[int(tracks[row])] = (film, index, boxes[row])
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
