"""Landmarks by this project's own network, trained on the synthetic world."""

from collections.abc import Mapping, Sequence
import functools
import os
from typing import Any

import jax
from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.detection_rows import FindFaces, choose_faces
from data_prep.faces.landmark_looks import (
  LICENCES,
  SeenLandmarks,
  see_landmarks,
  weights_digest,
)
from data_prep.faces.locators import LocatedFace, NoFaceError, inside_photo
from data_prep.faces.mtcnn.detector import Detector
from data_prep.faces.second_look import looking_twice
from data_prep.stages.rows import PhotoRow
from disentangle3d.network.landmark_files import SHIPPED, load_landmark_params

NAME = "synthetic 68"
_SMALLEST_PX = 12
# A face whose points are worse than this share of its size is none.
_LARGEST_SPREAD = 0.12


class NetworkLocator:
  """Looks into the box given, or into MTCNN's box nearest the centre."""

  name = NAME
  licences: Mapping[str, str] = LICENCES

  def __init__(self, weights: str | os.PathLike[str] = SHIPPED) -> None:
    """Loads the network.

    Args:
      weights: What train_locator exported.

    Raises:
      UserFileNotFoundError: There is no such file.
      UserError: It holds something else.
    """
    self._params = jax.device_put(load_landmark_params(weights))
    self.settings: Mapping[str, object] = {
      "locator": "synthetic",
      "weights": weights_digest(weights),
    }

  def locate(
    self, photo: UInt8[np.ndarray, "H W 3"], row: PhotoRow | None = None
  ) -> LocatedFace:
    """See `Locator`."""
    (face,) = self.locate_some([photo], [row])
    if isinstance(face, NoFaceError):
      raise face
    return face

  def locate_some(
    self,
    photos: Sequence[UInt8[np.ndarray, "H W 3"]],
    rows: Sequence[PhotoRow | None],
  ) -> list[LocatedFace | NoFaceError]:
    """See `BatchLocator`."""
    found = list(map(_box, photos, rows))
    boxed = [
      place
      for place, box in enumerate(found)
      if not isinstance(box, NoFaceError)
    ]
    seen = see_landmarks(
      self._params,
      [photos[place] for place in boxed],
      [found[place] for place in boxed],
    )
    for place, one in zip(boxed, seen, strict=True):
      found[place] = _face(photos[place], found[place], one)
    return found


def _face(
  photo: np.ndarray, box: Float[np.ndarray, "4"], seen: SeenLandmarks
) -> LocatedFace | NoFaceError:
  if not seen.unsureness < _LARGEST_SPREAD:
    return NoFaceError("no face in the box: the landmarks are too unsure")
  return LocatedFace(
    box=np.asarray(box, np.float32),
    landmarks=seen.landmarks,
    visibility=inside_photo(seen.landmarks, photo) * (seen.visibility > 0.5),
    spread=seen.spread,
    silhouette=seen.silhouette,
  )


def _box(photo: np.ndarray, row: PhotoRow | None) -> Any:
  """Where to look for the face, `[4]`, or why there is none."""
  if min(photo.shape[:2]) < _SMALLEST_PX:
    return NoFaceError(
      f"photo too small: {photo.shape[1]} x {photo.shape[0]} px"
    )
  if row is not None and row.box is not None:
    return row.box
  (faces,) = _find()([photo])
  chosen = choose_faces(faces, photo.shape[:2], "centre")
  return faces.boxes[chosen[0]] if chosen else NoFaceError("no face found")


@functools.cache
def _find() -> FindFaces:
  return looking_twice(Detector(most_photos=1))
