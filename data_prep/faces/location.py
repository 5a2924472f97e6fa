"""The stage `locate_landmarks`: 68 points of found faces, shard by shard."""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
import functools
import operator
import os
import pathlib
import types
from typing import Any

from jaxtyping import UInt8
import numpy as np

from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.fan_locator import FanLocator
from data_prep.faces.locators import (
  BatchLocator,
  LocatedFace,
  Locator,
  PtsLocator,
  locate_each,
)
from data_prep.faces.network_locator import NetworkLocator
from data_prep.photos.decoding import MOST_MEGAPIXELS
from data_prep.photos.photo_sets import Photo, read_photo
from data_prep.stages.about import read_licences, read_stages
from data_prep.stages.engine import LOCAL, Engine, Progress, ShardWork
from data_prep.stages.folder import ALONE, Share, digest, open_stage
from data_prep.stages.rows import PhotoRow, list_manifests, read_shard_rows
from data_prep.stages.shard_loop import fill_shards, split_shards
from data_prep.stages.shard_rows import ShardRows
from disentangle3d.geometry import five_points
from disentangle3d.network.landmark_files import SHIPPED
from disentangle3d.types import UserError

STAGE = "locate_landmarks"


LOCATORS = ("dlib", "synthetic", "fan", "pts")
# Flags that only one locator reads.
_FLAG_OF = {
  "fan_python": "fan",
  "fan_device": "fan",
  "points": "pts",
  "points_licence": "pts",
  "weights": "synthetic",
}


PHOTOS_PER_SHARD = 512
# Held in memory together.
_PHOTOS_AT_ONCE, _BYTES_AT_ONCE = 16, 1 << 28


@dataclasses.dataclass(frozen=True)
class FaceRows:
  """The photos in which landmarks are to be located, in shards.

  Attributes:
    shards: Makes the rows of one shard, one function a shard.
    num_photos: In all.
    licences: Terms of the photos and of what was done to them.
    settings: All that decides the shards, JSON values.
    sha256: Stands for the content.
    stages_before: From `read_stages`.
    passed_over: How many files were not taken for photos, by kind.
    most_megapixels: Larger photos are rejected; None takes any.
  """

  shards: Sequence[Callable[[], list[PhotoRow]]]
  num_photos: int
  licences: dict[str, str]
  settings: dict[str, object]
  sha256: str
  stages_before: Sequence[Mapping[str, Any]] = ()
  passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
  most_megapixels: float | None = None


def rows_of_photos(
  photos: Sequence[Photo],
  *,
  photo_licence: str = "not given",
  passed_over: Mapping[str, int] = types.MappingProxyType({}),
  photos_per_shard: int = PHOTOS_PER_SHARD,
  most_megapixels: float = MOST_MEGAPIXELS,
) -> FaceRows:
  """Photos in which nobody has looked for a face; their rows have no box."""

  def rows(places: range) -> Callable[[], list[PhotoRow]]:
    return functools.partial(
      _rows_without_box, photos[places.start : places.stop]
    )

  return FaceRows(
    shards=list(map(rows, split_shards(len(photos), photos_per_shard))),
    num_photos=len(photos),
    licences={"photographs": photo_licence},
    settings={
      "boxes": "none",
      "photos_per_shard": photos_per_shard,
      "most_megapixels": most_megapixels,
    },
    sha256=digest(os.fsencode(photo.image_id) for photo in photos),
    passed_over=passed_over,
    most_megapixels=most_megapixels,
  )


def _rows_without_box(photos: Sequence[Photo]) -> list[PhotoRow]:
  return [
    PhotoRow(
      image_path=photo.path,
      subject=photo.subject,
      image_id=photo.image_id,
      status="ok",
    )
    for photo in photos
  ]


def rows_of_stage(detected: pathlib.Path) -> FaceRows:
  """Photos in which detect_faces has found faces, in its shards.

  Raises:
    UserFileNotFoundError: `detected` is missing or incomplete.
    UserError: Its licences cannot be read.
  """
  manifests = list_manifests(detected)
  contents = [path.read_bytes() for path in manifests]
  return FaceRows(
    shards=[functools.partial(read_shard_rows, path) for path in manifests],
    num_photos=sum(content.count(b"\n") for content in contents),
    licences=read_licences(detected),
    settings={"boxes": "detect_faces"},
    sha256=digest(contents),
    stages_before=read_stages(detected),
  )


def _locate_rows(
  locator: Locator,
  most_megapixels: float | None,
  shard: int,
  rows: Sequence[PhotoRow],
  progress: Progress,
) -> list[PhotoRow]:
  """The photos' rows with their landmarks, or with why there are none."""
  most = _PHOTOS_AT_ONCE if isinstance(locator, BatchLocator) else 1
  made: list[PhotoRow] = []
  photos: list[np.ndarray | str] = []
  for row in rows:
    photos.append(_read(most_megapixels, row))
    held = sum(one.nbytes for one in photos if not isinstance(one, str))
    last = len(made) + len(photos) == len(rows)
    if last or len(photos) == most or held > _BYTES_AT_ONCE:
      some = rows[len(made) : len(made) + len(photos)]
      made += _locate_some(locator, some, photos)
      progress(len(some))
      photos = []
  return made


def _read(
  most_megapixels: float | None, row: PhotoRow
) -> UInt8[np.ndarray, "H W 3"] | str:
  """A row's photo, or why it cannot be looked at."""
  if row.status != "ok":
    return row.reason
  try:
    return read_photo(row.image_path, most_megapixels=most_megapixels)
  except (ValueError, OSError) as error:
    return str(error).removeprefix(f"{row.image_path}: ")


def _locate_some(
  locator: Locator, rows: Sequence[PhotoRow], photos: Sequence[np.ndarray | str]
) -> list[PhotoRow]:
  readable = {
    place: photo
    for place, photo in enumerate(photos)
    if not isinstance(photo, str)
  }
  faces = locate_each(
    locator, list(readable.values()), [rows[place] for place in readable]
  )
  found = dict(zip(readable, faces, strict=True))
  return [
    _located(row, locator.name, found.get(place, photos[place]))
    for place, row in enumerate(rows)
  ]


def _located(row: PhotoRow, locator: str, face: object) -> PhotoRow:
  """A row with its face, or with why there is none."""
  if row.status != "ok":
    return row
  name = " + ".join(part for part in (row.detector, locator) if part)
  row = dataclasses.replace(row, detector=name)
  if not isinstance(face, LocatedFace):
    return row.rejected(str(face))
  return dataclasses.replace(
    row,
    box=face.box,
    five_points=np.asarray(five_points(face.landmarks)),
    disagreement=_disagreement(face, row.five_points),
    landmarks=face.landmarks,
    visibility=face.visibility,
    spread=face.spread,
    silhouette=face.silhouette,
  )


def _disagreement(
  face: LocatedFace, detected: np.ndarray | None
) -> np.ndarray | None:
  """See `PhotoRow.disagreement`."""
  if detected is None:
    return None
  size = np.sqrt(max(float(np.prod(np.ptp(face.landmarks, axis=0))), 1.0))
  # What the face hides, a detector marks somewhere near.
  both = np.repeat(face.visibility[:, None], 2, 1)
  seen = np.asarray(five_points(both))[:, 0]
  seen = seen if np.any(seen > 0) else np.ones_like(seen)
  away = np.linalg.norm(five_points(face.landmarks) - detected, axis=-1)
  return np.asarray(np.average(away, weights=seen) / size, np.float32)


def locate_landmarks(
  faces: FaceRows,
  output: pathlib.Path,
  locator: Locator,
  *,
  share: Share = ALONE,
  engine: Engine = LOCAL,
) -> dict[str, int] | None:
  """Locates landmarks and writes the manifest, shard by shard.

  Args:
    faces: From `rows_of_stage` or `rows_of_photos`.
    output: The folder to write; new, empty, or of an earlier run of this.
    locator: Finds the landmarks of a face.
    share: Which shards to make.
    engine: Who makes them.

  Returns:
    The counts once every shard is there; None before.

  Raises:
    UserError: `output` holds something else, a manifest is malformed, or
      there are landmarks in no photo.
  """
  with open_stage(
    output,
    STAGE,
    num_shards=len(faces.shards),
    settings={**faces.settings, **locator.settings},
    licences={**faces.licences, **locator.licences},
    inputs=faces.sha256,
    stages_before=faces.stages_before,
    share=share,
    passed_over=faces.passed_over,
  ) as folder:
    locate = functools.partial(_locate_rows, locator, faces.most_megapixels)
    make = ShardRows(folder, operator.call, locate, PhotoRow.rejected)
    return fill_shards(
      folder,
      share,
      ShardWork(make, part=faces.shards.__getitem__),
      num_photos=faces.num_photos,
      engine=engine,
    )


def check_locator_flags(kinds: Sequence[str], given: Collection[str]) -> None:
  """Checks that no flag is given for a locator that nobody asked for.

  Args:
    kinds: Of `LOCATORS`, which are asked for.
    given: The names of the flags that are given.

  Raises:
    UserError: One is for another locator.
  """
  for flag, kind in _FLAG_OF.items():
    if flag in given and kind not in kinds:
      raise UserError(
        f"--{flag}: expected with --locator={kind}, got it with"
        f" {','.join(kinds)}"
      )


def make_locator(
  kind: str,
  *,
  fan_python: str | None = None,
  fan_device: str = "cpu",
  points: str | None = None,
  points_licence: str = "not given",
  weights: str | None = None,
) -> DlibLocator | NetworkLocator | FanLocator | PtsLocator:
  """The locator of a name, one of `LOCATORS`.

  Args:
    kind: Its name.
    fan_python: Of "fan": the Python of its environment.
    fan_device: Of "fan": PyTorch's device.
    points: Of "pts": the folder of .pts files.
    points_licence: Of "pts": their terms.
    weights: Of "synthetic": what train_locator exported; None takes what
      ships.

  Raises:
    UserError: What it needs is not given.
    UserModuleNotFoundError: What it needs is not installed.
    UserFileNotFoundError: What it needs is not there.
    ChildProcessError: FAN does not run in its environment.
  """
  if kind == "synthetic":
    return NetworkLocator(weights or SHIPPED)
  if kind == "fan":
    if not fan_python:
      raise UserError("--fan_python: needed for --locator=fan")
    return FanLocator(fan_python, device=fan_device)
  if kind == "pts":
    if not points:
      raise UserError("--points: needed for --locator=pts")
    return PtsLocator(pathlib.Path(points), licence=points_licence)
  return DlibLocator()
