r"""Finds the face in every photo of a set: box and five points, by MTCNN.

    python -m data_prep.detect_faces --images=orl_faces --output=detected

The set is a folder with a folder a person, or a zip, tar or RecordIO file of
one (`photos.py`). The output's manifest (`manifests.py`) has a row for every
photo, also for those in which no face was found. With --five_points the points
come from a published list instead, and the boxes from the points.

Killed or stopped, the same command goes on with the manifest shards that are
missing; machines that share the folder take a part each with --shard=i/n.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from absl import flags, logging

from data_prep import command_line
from data_prep.face_rows import (
  CHOICES,
  LIST_NAME,
  NAME,
  Choice,
  FindFaces,
  detect_some,
  read_ahead,
  row_from_list,
)
from data_prep.formats.five_point_lists import read_five_points
from data_prep.manifests import PhotoRow
from data_prep.mtcnn.detector import Detector, Settings
from data_prep.mtcnn.weights import LICENCES
from data_prep.photos import PHOTO_SET, Photo, list_photos
from data_prep.shard_loop import fill_shards, split_shards
from data_prep.stage_folder import ALONE, Share, digest, open_stage, parse_share

STAGE = "detect_faces"
PHOTOS_PER_SHARD = 512
LONGEST_PX = 1024
PAPER = Settings()


@dataclasses.dataclass(frozen=True)
class FaceSource:
  """Where boxes and five points come from.

  Attributes:
    rows: Makes the rows of photos, some at a time and in order.
    settings: All that decides them, JSON values.
    licences: Terms of what they were made with, by name.
  """

  rows: Callable[[Sequence[Photo]], Iterable[list[PhotoRow]]]
  settings: Mapping[str, Any]
  licences: Mapping[str, str]


def mtcnn_source(
  settings: Settings = PAPER,
  *,
  faces: Choice = "centre",
  longest_px: int = LONGEST_PX,
  find: FindFaces | None = None,
) -> FaceSource:
  """Faces by MTCNN.

  Args:
    settings: The detector's.
    faces: Which face of a photo: the nearest to its centre, the largest, or
      all of them as rows of their own (`<image_id>.face2`).
    longest_px: Photos with a longer side are shrunk to it for the detector.
    find: In place of MTCNN.

  Raises:
    ModuleNotFoundError: The extra `detect` is not installed.
    ValueError: A setting is out of its range.
  """
  find = find or Detector(settings).detect

  def rows(photos: Sequence[Photo]) -> Iterable[list[PhotoRow]]:
    for loaded in read_ahead(photos, longest_px):
      yield detect_some(loaded, find, faces)

  told = {"faces": faces, "longest_px": longest_px}
  return FaceSource(
    rows, {"detector": NAME, **dataclasses.asdict(settings), **told}, LICENCES
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
  return FaceSource(rows, told, {path.name: "see where the list came from"})


def detect_faces(
  photos: Sequence[Photo],
  output: pathlib.Path,
  source: FaceSource,
  *,
  photo_licence: str = "not given",
  photos_per_shard: int = PHOTOS_PER_SHARD,
  share: Share = ALONE,
) -> dict[str, int] | None:
  """Detects the faces of photos and writes the manifest, shard by shard.

  Args:
    photos: From `list_photos`.
    output: The folder to write; new, empty, or of an earlier run of this.
    source: Finds the faces.
    photo_licence: Recorded in about.json.
    photos_per_shard: Photos a manifest shard; a killed run loses one shard.
    share: Which shards to make.

  Returns:
    The counts once every shard is there; None before.

  Raises:
    ValueError: `output` holds something else, or no photo has a face.
  """
  shards = split_shards(len(photos), photos_per_shard)
  folder = open_stage(
    output,
    STAGE,
    num_shards=len(shards),
    settings={**source.settings, "photos_per_shard": photos_per_shard},
    licences={"photographs": photo_licence, **source.licences},
    inputs=digest(photo.image_id.encode() for photo in photos),
  )

  def make_rows(
    shard: int, progress: Callable[[int], object]
  ) -> list[PhotoRow]:
    made = []
    for rows in source.rows([photos[place] for place in shards[shard]]):
      made += rows
      progress(len(rows))
    return made

  return fill_shards(folder, share, make_rows, num_photos=len(photos))


def define_flags() -> None:
  """Defines --images, --output, what to look for, and how to share it."""
  flags.DEFINE_string("images", None, PHOTO_SET, required=True)
  flags.DEFINE_string(
    "output", None, "The folder to write, or to go on with.", required=True
  )
  flags.DEFINE_string(
    "photo_licence",
    "not given",
    "Terms of use of the photos, to be written into all that is made of them.",
  )
  flags.DEFINE_float(
    "min_size", PAPER.min_size_px, "The smallest face to find, in pixels."
  )
  flags.DEFINE_float(
    "factor",
    PAPER.factor,
    "Each level of the pyramid over the one before; the package mtcnn has"
    " 0.709, which takes half the time.",
  )
  flags.DEFINE_list(
    "thresholds",
    [str(threshold) for threshold in PAPER.thresholds],
    "The least probability of a face after each of the three networks.",
  )
  flags.DEFINE_enum(
    "faces",
    "centre",
    list(CHOICES),
    "Which face of a photo: the nearest to its centre, the largest, or all.",
  )
  flags.DEFINE_integer(
    "longest_px",
    LONGEST_PX,
    "Photos with a longer side are shrunk to it before faces are looked for.",
    lower_bound=32,
  )
  flags.DEFINE_string(
    "five_points",
    None,
    "A list of five points a photo (LFW's or CASIA's), in place of MTCNN.",
  )
  flags.DEFINE_integer(
    "photos_per_shard",
    PHOTOS_PER_SHARD,
    "Photos a manifest shard; a killed run loses one at most.",
    lower_bound=1,
  )
  flags.DEFINE_string("shard", "0/1", "This machine's part, i/n.")


def settings_from_flags() -> Settings:
  """The detector's settings.

  Raises:
    ValueError: --thresholds are no three numbers.
  """
  values = flags.FLAGS
  try:
    thresholds = tuple(float(text) for text in values.thresholds)
  except ValueError as error:
    raise ValueError(f"--thresholds: expected numbers, {error}") from error
  return Settings(values.min_size, values.factor, thresholds)


def main() -> None:
  """Detects and reports."""
  values = flags.FLAGS
  share = parse_share(values.shard)
  if values.five_points:
    source = list_source(pathlib.Path(values.five_points))
  else:
    source = mtcnn_source(
      settings_from_flags(), faces=values.faces, longest_px=values.longest_px
    )
  for name, terms in source.licences.items():
    logging.info("Licence of %s: %s.", name, terms)
  detect_faces(
    list_photos(values.images),
    pathlib.Path(values.output),
    source,
    photo_licence=values.photo_licence,
    photos_per_shard=values.photos_per_shard,
    share=share,
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
