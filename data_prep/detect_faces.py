r"""Finds the face in every photo of a set: box and five points, by MTCNN.

    python -m data_prep.detect_faces --photos=orl_faces --output=detected

The set is a folder with a folder a person, or a zip, tar or RecordIO file of
one. The output's manifest (`stages/rows.py`) has a row for every photo, also
for those in which no face was found. With --five_points the points come from a
published list instead, and the boxes from the points.

Killed or stopped, the same command goes on with the manifest shards that are
missing; machines that share the folder take a part each with --shard=i/n.
"""

from collections.abc import Sequence

from absl import flags, logging

from data_prep.faces.detection import (
  PAPER,
  PHOTOS_PER_SHARD,
  FaceSource,
  detect_faces,
  list_source,
  mtcnn_source,
)
from data_prep.faces.detection_rows import CHOICES
from data_prep.faces.mtcnn.detector import DETECTION_SIDE, Settings
from data_prep.faces.second_look import SECOND_THRESHOLDS
from data_prep.photos.decoding import MOST_MEGAPIXELS
from data_prep.photos.photo_sets import list_set
from data_prep.stages import command_line
from data_prep.stages.engines import engine_from_flags
from data_prep.stages.flag_words import (
  STAGE_OUTPUT,
  define_detection_side,
  define_engine,
  define_most_megapixels,
  define_output,
  define_path,
  define_photos,
  define_photos_per_shard,
  define_shard,
  was,
)
from data_prep.stages.folder import parse_share
from disentangle3d.stores import as_path
from disentangle3d.types import UserError


def define_flags() -> None:
  """Defines --photos, --output, what to look for, and how to share it."""
  define_photos()
  define_output(STAGE_OUTPUT)
  flags.DEFINE_float(
    "min_size", PAPER.min_size_px, "The smallest face to find, in pixels."
  )
  flags.DEFINE_float(
    "factor",
    PAPER.factor,
    "The size of each level of the pyramid over the one before; the package"
    " mtcnn has 0.709, which takes half the time.",
  )
  flags.DEFINE_list(
    "thresholds",
    [str(threshold) for threshold in PAPER.thresholds],
    "The least probability of a face after each of the three networks.",
  )
  flags.DEFINE_list(
    "second_thresholds",
    [str(threshold) for threshold in SECOND_THRESHOLDS],
    "The same of a second look, with a margin around the photograph, where no"
    " face was found; empty looks once.",
  )
  flags.DEFINE_enum(
    "faces",
    "centre",
    list(CHOICES),
    "Which face of a photograph is taken: the nearest to its centre, the"
    " largest, or all.",
  )
  define_detection_side(DETECTION_SIDE)
  define_most_megapixels(MOST_MEGAPIXELS)
  define_path(
    "five_points",
    "In place of MTCNN, a list of five points a photograph (LFW's or CASIA's).",
  )
  define_photos_per_shard(PHOTOS_PER_SHARD)
  define_shard()
  define_engine()
  was(images="photos", longest_px="detection_side")


def settings_from_flags() -> Settings:
  """The detector's settings.

  Raises:
    UserError: --thresholds are no three numbers.
  """
  values = flags.FLAGS
  return Settings(
    values.min_size, values.factor, _three("thresholds", values.thresholds)
  )


def _three(flag: str, words: Sequence[str]) -> tuple[float, float, float]:
  try:
    first, second, third = map(float, words)
  except ValueError as error:
    raise UserError(f"--{flag}: expected numbers, {error}") from error
  return first, second, third


def _source_from_flags() -> FaceSource:
  values = flags.FLAGS
  if values.five_points:
    return list_source(as_path(values.five_points))
  return mtcnn_source(
    settings_from_flags(),
    second_thresholds=(
      _three("second_thresholds", values.second_thresholds)
      if values.second_thresholds
      else None
    ),
    faces=values.faces,
    side=values.detection_side,
    most_megapixels=values.most_megapixels,
  )


def check_flags() -> None:
  """Makes what looks for faces."""
  _source_from_flags()


def main() -> None:
  """Detects and reports."""
  values = flags.FLAGS
  share, engine = parse_share(values.shard), engine_from_flags()
  source = _source_from_flags()
  found = list_set(values.photos)
  found.passed_over.tell(values.photos)
  for name, terms in source.licences.items():
    logging.info("Licence of %s: %s.", name, terms)
  detect_faces(
    found.photos,
    as_path(values.output),
    source,
    photo_licence=values.photo_licence,
    passed_over=found.passed_over.counts(),
    photos_per_shard=values.photos_per_shard,
    share=share,
    engine=engine,
  )


if __name__ == "__main__":
  command_line.run(main, define_flags, check=check_flags)
