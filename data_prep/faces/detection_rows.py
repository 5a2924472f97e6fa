"""The rows of photos in which faces are looked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import dataclasses
from typing import Literal

from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.mtcnn.detector import Faces
from data_prep.photos.decoding import MOST_MEGAPIXELS
from data_prep.photos.photo_sets import Photo, read_photo
from data_prep.photos.resizing import points_before, resize_by
from data_prep.stages.rows import PhotoRow

Choice = Literal["centre", "largest", "all"]
CHOICES: tuple[Choice, ...] = ("centre", "largest", "all")
# Finds the faces of photos `[H, W, 3]`, e.g. `Detector.detect`.
FindFaces = Callable[[Sequence[np.ndarray]], list[Faces]]
NAME = "MTCNN"
LIST_NAME = "list of five points"
_LEAST_PX = 12
_READ_AT_ONCE = 64
# MTCNN's box around five points, in distances of their root mean square from
# their mean: medians over 200 frontal photographs (ORL).
_BOX_FROM_POINTS = np.array([-1.69, -2.49, 1.69, 1.88])


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedPhoto:
  """A photo, perhaps shrunk, or why there is none.

  Attributes:
    photo: Which.
    image: RGB, `[H, W, 3]`, or None.
    factor: What x and y were multiplied by, `[2]`.
    reason: Why it cannot be looked at; empty if it can.
  """

  photo: Photo
  image: UInt8[np.ndarray, "H W 3"] | None
  factor: Float[np.ndarray, "2"]
  reason: str = ""


def load_photo(
  photo: Photo, side: int, most_megapixels: float = MOST_MEGAPIXELS
) -> LoadedPhoto:
  """Reads a photo and shrinks it if it is too large."""
  one = np.ones(2)
  try:
    image = read_photo(photo.path, most_megapixels=most_megapixels)
  except (ValueError, OSError) as error:
    reason = str(error).removeprefix(f"{photo.path}: ")
    return LoadedPhoto(photo, None, one, reason)
  height, width = image.shape[:2]
  if min(height, width) < _LEAST_PX:
    return LoadedPhoto(
      photo, None, one, f"photo too small: {width} x {height} px"
    )
  return LoadedPhoto(
    photo, *resize_by(image, min(1.0, side / max(height, width)))
  )


def read_ahead(
  photos: Sequence[Photo], side: int, most_megapixels: float = MOST_MEGAPIXELS
) -> Iterator[list[LoadedPhoto]]:
  """Photos in groups, each read while the one before is looked at."""
  groups = [
    photos[i : i + _READ_AT_ONCE] for i in range(0, len(photos), _READ_AT_ONCE)
  ]

  def read(group: Sequence[Photo]) -> list[LoadedPhoto]:
    return [load_photo(photo, side, most_megapixels) for photo in group]

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    coming = pool.submit(read, groups[0])
    for group in groups[1:]:
      ready, coming = coming.result(), pool.submit(read, group)
      yield ready
    yield coming.result()


def detect_some(
  loaded: Sequence[LoadedPhoto], find: FindFaces, choice: Choice
) -> list[PhotoRow]:
  """The rows of some photos, all looked at together."""
  images = [entry.image for entry in loaded if entry.image is not None]
  found = iter(find(images) if images else [])
  rows = []
  for entry in loaded:
    row = PhotoRow(
      image_path=entry.photo.path,
      subject=entry.photo.subject,
      image_id=entry.photo.image_id,
      status="rejected",
      reason=entry.reason,
      detector=NAME,
    )
    if entry.image is None:
      rows.append(row)
      continue
    faces = next(found)
    chosen = choose_faces(faces, entry.image.shape[:2], choice)
    if not chosen:
      rows.append(row.rejected("no face found"))
    for number, place in enumerate(chosen):
      name = row.image_id if not number else f"{row.image_id}.face{number + 1}"
      rows.append(
        dataclasses.replace(
          row,
          image_id=name,
          status="ok",
          reason="",
          box=_scale_back(faces.boxes[place].reshape(2, 2), entry).reshape(4),
          five_points=_scale_back(faces.points[place], entry),
        )
      )
  return rows


def choose_faces(
  faces: Faces, size: tuple[int, int], choice: Choice
) -> list[int]:
  """Which faces of a photo of a height and width to take, the best first."""
  corner, far = faces.boxes[:, :2], faces.boxes[:, 2:]
  if choice == "centre":
    middle = (np.array([size[1], size[0]]) - 1) / 2
    order = np.sum(((corner + far) / 2 - middle[None]) ** 2, -1)
  else:
    order = -np.prod(far - corner, -1)
  places = np.argsort(order, kind="stable").tolist()
  return places if choice == "all" else places[:1]


def row_from_list(
  photo: Photo, points: Mapping[str, Float[np.ndarray, "5 2"]]
) -> PhotoRow:
  """The row of a photo out of a list of five points by image_id."""
  row = PhotoRow(
    image_path=photo.path,
    subject=photo.subject,
    image_id=photo.image_id,
    status="rejected",
    reason="not in the list of five points",
    detector=LIST_NAME,
  )
  five = points.get(photo.image_id)
  if five is None:
    return row
  return dataclasses.replace(
    row, status="ok", reason="", five_points=five, box=box_around(five)
  )


def row_given_up(photo: Photo, reason: str) -> PhotoRow:
  """The row of a photo in which no face is looked for."""
  return PhotoRow(
    image_path=photo.path,
    subject=photo.subject,
    image_id=photo.image_id,
    status="rejected",
    reason=reason,
  )


def box_around(points: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "4"]:
  """About MTCNN's box of an upright face with these five points."""
  centre = points.mean(0)
  spread = np.sqrt(np.mean(np.sum((points - centre[None]) ** 2, -1)))
  box = np.tile(centre, 2) + spread * _BOX_FROM_POINTS
  return box.astype(np.float32)


def _scale_back(points: np.ndarray, entry: LoadedPhoto) -> np.ndarray:
  """Points of a loaded photo in the photo as it lies on the disk."""
  return points_before(points, entry.factor).astype(np.float32)
