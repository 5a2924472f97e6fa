"""The stage `detect_faces`: boxes and five points of photos, shard by shard."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import functools
import os
import pathlib
import types
from typing import Any

from data_prep.faces import landmark_looks
from data_prep.faces.detection_rows import (
  LIST_NAME,
  NAME,
  Choice,
  FindFaces,
  detect_some,
  read_ahead,
  row_from_list,
  row_given_up,
)
from data_prep.faces.five_point_lists import read_five_points
from data_prep.faces.mtcnn.detector import DETECTION_SIDE, Detector, Settings
from data_prep.faces.mtcnn.weights import LICENCES
from data_prep.faces.second_look import SECOND_THRESHOLDS, looking_twice
from data_prep.photos.decoding import MOST_MEGAPIXELS
from data_prep.photos.photo_sets import Photo
from data_prep.stages.engine import LOCAL, Engine, Progress, ShardWork
from data_prep.stages.folder import ALONE, Share, digest, open_stage
from data_prep.stages.rows import PhotoRow
from data_prep.stages.shard_loop import fill_shards, split_shards
from data_prep.stages.shard_rows import ShardRows
from disentangle3d.network.landmark_files import SHIPPED

STAGE = "detect_faces"


PHOTOS_PER_SHARD = 512


PAPER = Settings()


@dataclasses.dataclass(frozen=True)
class FaceSource:
  """Where boxes and five points come from.

  Another process is sent the call that made it, and loads the weights itself.

  Attributes:
    rows: Makes the rows of photos, some at a time and in order.
    settings: All that decides them, JSON values.
    licences: Terms of what they were made with, by name.
    remake: Makes the same again.
  """

  rows: Callable[[Sequence[Photo]], Iterable[list[PhotoRow]]]
  settings: Mapping[str, Any]
  licences: Mapping[str, str]
  remake: Callable[[], "FaceSource"]

  def __reduce__(self) -> tuple[Callable[[], "FaceSource"], tuple[()]]:
    return self.remake, ()


def mtcnn_source(
  settings: Settings = PAPER,
  *,
  second_thresholds: tuple[float, float, float] | None = SECOND_THRESHOLDS,
  faces: Choice = "centre",
  side: int = DETECTION_SIDE,
  most_megapixels: float = MOST_MEGAPIXELS,
  find: FindFaces | None = None,
) -> FaceSource:
  """Faces by MTCNN.

  Args:
    settings: The detector's.
    second_thresholds: Those of a second look at photos in which the first
      finds no face; None looks once.
    faces: Which face of a photo: the nearest to its centre, the largest, or
      all of them as rows of their own (`<image_id>.face2`).
    side: Photos with a longer side are shrunk to it for the detector.
    most_megapixels: Larger photos are rejected before they are decoded.
    find: In place of MTCNN.

  Raises:
    UserModuleNotFoundError: The extra `detect` is not installed.
    ValueError: A setting is out of its range.
  """
  given, licences = find, LICENCES
  told: dict[str, Any] = {}
  if find is None:
    detector = Detector(settings, side=side)
    find = detector.detect
    if second_thresholds is not None:
      told["second_thresholds"] = second_thresholds
      told["second_weights"] = landmark_looks.weights_digest(SHIPPED)
      licences = {**licences, **landmark_looks.LICENCES}
      find = looking_twice(detector, second_thresholds)

  def rows(photos: Sequence[Photo]) -> Iterable[list[PhotoRow]]:
    for loaded in read_ahead(photos, side, most_megapixels):
      yield detect_some(loaded, find, faces)

  told |= {
    "faces": faces,
    "detection_side": side,
    "most_megapixels": most_megapixels,
  }
  return FaceSource(
    rows,
    {"detector": NAME, **dataclasses.asdict(settings), **told},
    licences,
    functools.partial(
      mtcnn_source,
      settings,
      second_thresholds=second_thresholds,
      faces=faces,
      side=side,
      most_megapixels=most_megapixels,
      find=given,
    ),
  )


def list_source(path: pathlib.Path) -> FaceSource:
  """Faces out of a published list of five points.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It is no such list; names line and problem.
  """
  points = read_five_points(path)

  def rows(photos: Sequence[Photo]) -> Iterable[list[PhotoRow]]:
    yield [row_from_list(photo, points) for photo in photos]

  told = {"detector": LIST_NAME, "list_sha256": digest([path.read_bytes()])}
  return FaceSource(
    rows,
    told,
    {path.name: "see where the list came from"},
    functools.partial(list_source, path),
  )


def detect_faces(
  photos: Sequence[Photo],
  output: pathlib.Path,
  source: FaceSource,
  *,
  photo_licence: str = "not given",
  passed_over: Mapping[str, int] = types.MappingProxyType({}),
  photos_per_shard: int = PHOTOS_PER_SHARD,
  share: Share = ALONE,
  engine: Engine = LOCAL,
) -> dict[str, int] | None:
  """Detects the faces of photos and writes the manifest, shard by shard.

  Args:
    photos: From `list_photos`.
    output: The folder to write; new, empty, or of an earlier run of this.
    source: Finds the faces.
    photo_licence: Recorded in about.json.
    passed_over: Same: how many files were not taken for photos, by kind.
    photos_per_shard: Photos a manifest shard; a killed run loses one shard.
    share: Which shards to make.
    engine: Who makes them.

  Returns:
    The counts once every shard is there; None before.

  Raises:
    ValueError: `output` holds something else, or no photo has a face.
  """
  shards = split_shards(len(photos), photos_per_shard)

  with open_stage(
    output,
    STAGE,
    num_shards=len(shards),
    settings={**source.settings, "photos_per_shard": photos_per_shard},
    licences={"photographs": photo_licence, **source.licences},
    inputs=digest(os.fsencode(photo.image_id) for photo in photos),
    share=share,
    passed_over=passed_over,
  ) as folder:
    make = ShardRows(
      folder, _same, functools.partial(_rows, source), row_given_up
    )
    work = ShardWork(
      make,
      part=lambda shard: [photos[place] for place in shards[shard]],
      gains_from_gpu=True,
    )
    return fill_shards(
      folder, share, work, num_photos=len(photos), engine=engine
    )


def _same(photos: Sequence[Photo]) -> Sequence[Photo]:
  return photos


def _rows(
  source: FaceSource, shard: int, photos: Sequence[Photo], progress: Progress
) -> list[PhotoRow]:
  made = []
  for rows in source.rows(photos):
    made += rows
    progress(len(rows))
  return made
