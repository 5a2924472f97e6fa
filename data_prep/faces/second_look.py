"""A second look at photos in which MTCNN finds no face at first.

What it misses are mostly faces that fill the photo or turn away from it: they
get a margin around them, and thresholds so low that much else passes too. The
landmark network, which knows profiles, then says which are faces.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import cv2
import jax
from jaxtyping import UInt8
import numpy as np

from data_prep.faces.detection_rows import FindFaces
from data_prep.faces.landmark_looks import see_landmarks
from data_prep.faces.mtcnn.detector import Detector, Faces
from disentangle3d.network.landmark_files import SHIPPED, load_landmark_params

# Chosen by what they find in photographs of faces and of none, docs/data.md.
SECOND_THRESHOLDS = (0.3, 0.3, 0.1)
_LARGEST_UNSURENESS = 0.035
# Of a photo that the landmark network looks at, MTCNN's most certain.
_MOST_CANDIDATES = 8
_MARGIN = 0.3
# Faces nearer to each other than this share of their size are one.
_SAME = 0.5


def looking_twice(
  detector: Detector, thresholds: tuple[float, float, float] = SECOND_THRESHOLDS
) -> FindFaces:
  """Finds faces by the detector, with a second look where that finds none.

  Args:
    detector: Whose programs serve both.
    thresholds: Of the second look.
  """
  again = detector.with_thresholds(thresholds).detect
  return looking_again(detector.detect, surely(with_margin(again)))


def looking_again(find: FindFaces, again: FindFaces) -> FindFaces:
  """Finds faces as `find`, and as `again` where that finds none."""

  def both(photos: Sequence[np.ndarray]) -> list[Faces]:
    found = find(photos)
    empty = [place for place, one in enumerate(found) if not len(one.boxes)]
    if empty:
      second = again([photos[place] for place in empty])
      for place, one in zip(empty, second, strict=True):
        found[place] = one
    return found

  return both


def with_margin(find: FindFaces, share: float = _MARGIN) -> FindFaces:
  """Finds faces in photos whose edges go on, as far as `share` of a side."""

  def outside(photos: Sequence[np.ndarray]) -> list[Faces]:
    margins = [round(share * max(photo.shape[:2])) for photo in photos]
    found = find(
      [_widened(*pair) for pair in zip(photos, margins, strict=True)]
    )
    return [
      _moved(faces, margin, photo.shape)
      for faces, margin, photo in zip(found, margins, photos, strict=True)
    ]

  return outside


def _widened(
  photo: UInt8[np.ndarray, "H W 3"], margin: int
) -> UInt8[np.ndarray, "h w 3"]:
  return cv2.copyMakeBorder(photo, *4 * (margin,), cv2.BORDER_REPLICATE)


def _moved(faces: Faces, margin: int, shape: tuple[int, ...]) -> Faces:
  """In the pixels of the photo; those whose middle lies beside it are none."""
  middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - margin
  size = np.array([shape[1], shape[0]], np.float32)
  kept = ((middle >= 0) & (middle < size)).all(-1)
  corners = faces.boxes[kept] - margin
  return dataclasses.replace(
    faces,
    boxes=np.clip(corners, 0, np.tile(size, 2) - 1).astype(np.float32),
    points=(faces.points[kept] - margin).astype(np.float32),
    scores=faces.scores[kept],
  )


def surely(find: FindFaces) -> FindFaces:
  """Finds those faces of `find` of whose landmarks the network is sure.

  The surest comes first; others around the same landmarks go.
  """

  def sure(photos: Sequence[np.ndarray]) -> list[Faces]:
    return [
      _sure_faces(faces, photo)
      for faces, photo in zip(find(photos), photos, strict=True)
    ]

  return sure


def _sure_faces(faces: Faces, photo: np.ndarray) -> Faces:
  boxes = faces.boxes[:_MOST_CANDIDATES]
  seen = see_landmarks(_params(), [photo] * len(boxes), list(boxes))
  kept: list[int] = []
  for place in np.argsort([one.unsureness for one in seen]).tolist():
    mine = seen[place].landmarks
    sure = seen[place].unsureness < _LARGEST_UNSURENESS
    if sure and not any(_same(mine, seen[other].landmarks) for other in kept):
      kept.append(place)
  return Faces(faces.boxes[kept], faces.points[kept], faces.scores[kept])


def _same(landmarks: np.ndarray, others: np.ndarray) -> bool:
  size = np.sqrt(np.prod(np.ptp(others, axis=0)))
  away = np.linalg.norm(landmarks.mean(0) - others.mean(0))
  return bool(away < _SAME * size)


@functools.cache
def _params() -> Any:
  return jax.device_put(load_landmark_params(SHIPPED))
