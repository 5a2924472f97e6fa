"""Locates the landmarks of photos whose points are known."""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import pathlib
import time

from absl import logging
from jaxtyping import Bool, Float
import numpy as np

from data_prep.faces.detection_rows import choose_faces
from data_prep.faces.landmark_looks import box_of_points
from data_prep.faces.locators import LocatedFace, Locator, locate_each
from data_prep.faces.mtcnn.detector import Detector
from data_prep.faces.second_look import looking_twice
from data_prep.stages.progress import progress
from data_prep.stages.rows import PhotoRow
from disentangle3d.evaluation.landmark_scores import normalised_errors
from disentangle3d.types import UserError, UserFileNotFoundError
from experiments.sets.landmark_sets import LandmarkSet

_AT_ONCE = 64
# A box whose centre is farther from the truth's, in its sides, is of another
# face.
_ANOTHER = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class LandmarkResults:
  """What was found.

  Attributes:
    set: Where.
    found: Whether the detector has found the face, `[N]`; of a damaged photo
      it has not.
    another: Whether it has taken another, `[N]`.
    landmarks: By locator, `[N, 68, 2]`, NaN where there are none.
    errors: By locator, of `normalised_errors`, `[N]`.
    milliseconds: By locator, a face.
  """

  set: LandmarkSet
  found: Bool[np.ndarray, "N"]
  another: Bool[np.ndarray, "N"]
  landmarks: Mapping[str, Float[np.ndarray, "N 68 2"]]
  errors: Mapping[str, Float[np.ndarray, "N"]]
  milliseconds: Mapping[str, float]


def measure_landmarks(
  faces: LandmarkSet, locators: Mapping[str, Locator]
) -> LandmarkResults:
  """Finds every photo's face once, and its landmarks by every locator.

  Args:
    faces: The photos.
    locators: By the names that tables print.
  """
  ideal = np.stack([box_of_points(points) for points in faces.points])
  boxes = _detected(faces) if faces.searched else list(ideal)
  found = np.array([box is not None for box in boxes])
  another = np.array(
    [
      box is not None and _is_another(box, best)
      for box, best in zip(boxes, ideal, strict=True)
    ]
  )
  landmarks, milliseconds = {}, {}
  for name, locator in locators.items():
    landmarks[name], seconds = _located(faces, locator, boxes, found & ~another)
    milliseconds[name] = 1000 * seconds / max(int((found & ~another).sum()), 1)
  return LandmarkResults(
    set=faces,
    found=found,
    another=another,
    landmarks=landmarks,
    errors={
      name: normalised_errors(points, faces.points)
      for name, points in landmarks.items()
    },
    milliseconds=milliseconds,
  )


def _detected(faces: LandmarkSet) -> list[np.ndarray | None]:
  """MTCNN's box nearest each photo's centre, as detect_faces takes it.

  With a second look where the first finds nothing.
  """
  find = looking_twice(Detector())
  count = len(faces.images)
  boxes: list[np.ndarray | None] = [None] * count
  with progress("detect", total=count) as update:
    for first in range(0, count, _AT_ONCE):
      places = range(first, min(first + _AT_ONCE, count))
      images = dict(_readable(faces, places))
      found = find(list(images.values()))
      for (place, image), one in zip(images.items(), found, strict=True):
        if chosen := choose_faces(one, image.shape[:2], "centre"):
          boxes[place] = one.boxes[chosen[0]]
      update(len(places))
  return boxes


def _readable(
  faces: LandmarkSet, places: Iterable[int]
) -> Iterator[tuple[int, np.ndarray]]:
  """The photos that can be read, by place; of the others a line is logged.

  Raises:
    UserFileNotFoundError: One is gone.
  """
  for place in places:
    try:
      yield place, faces.images[place]
    except UserFileNotFoundError:
      raise
    except UserError as error:
      logging.warning("%s; counted as not found", error)


def _is_another(box: np.ndarray, best: np.ndarray) -> bool:
  middle = [np.reshape(one, (2, 2)).mean(0) for one in (box, best)]
  side = np.sqrt(np.prod(best[2:] - best[:2]))
  return bool(np.linalg.norm(middle[0] - middle[1]) > _ANOTHER * side)


def _located(
  faces: LandmarkSet,
  locator: Locator,
  boxes: list[np.ndarray | None],
  chosen: np.ndarray,
) -> tuple[np.ndarray, float]:
  """The landmarks, and the seconds it took without reading and compiling."""
  landmarks = np.full(faces.points.shape, np.nan, np.float32)
  seconds = 0.0
  places = np.flatnonzero(chosen).tolist()
  for first in range(0, len(places), _AT_ONCE):
    some = places[first : first + _AT_ONCE]
    images = [faces.images[place] for place in some]
    rows = [_row(faces.image_ids[place], boxes[place]) for place in some]
    if not first:
      locate_each(locator, images, rows)  # Compiles.
    start = time.perf_counter()
    located = locate_each(locator, images, rows)
    seconds += time.perf_counter() - start
    for place, face in zip(some, located, strict=True):
      if isinstance(face, LocatedFace):
        landmarks[place] = face.landmarks
  return landmarks, seconds


def _row(image_id: str, box: np.ndarray | None) -> PhotoRow:
  return PhotoRow(
    image_path=pathlib.Path(image_id),
    subject="",
    image_id=image_id,
    status="ok",
    box=box,
  )
