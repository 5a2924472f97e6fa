r"""Finds the 68 landmarks of the face in every photo.

    python -m data_prep.locate_landmarks --detected=detected --output=located

Takes the boxes that detect_faces found; or, with --photos in place of
--detected, looks for the faces itself. Landmarks come from dlib, from this
project's own network trained on the synthetic world (--locator=synthetic), from
FAN in an environment of its own, or from .pts files. The output's manifest
(`stages/rows.py`) has a row for every photo, the unusable ones with the reason.

Killed or stopped, the same command goes on with the manifest shards that are
missing; machines that share the folder take a part each with --shard=i/n.
"""

from collections.abc import Iterator
import contextlib

from absl import flags, logging

from data_prep.faces.fan_locator import FanLocator
from data_prep.faces.location import (
  LOCATORS,
  PHOTOS_PER_SHARD,
  check_locator_flags,
  locate_landmarks,
  make_locator,
  rows_of_photos,
  rows_of_stage,
)
from data_prep.faces.locators import Locator
from data_prep.photos.decoding import MOST_MEGAPIXELS
from data_prep.photos.photo_sets import list_set
from data_prep.stages import command_line
from data_prep.stages.engines import engine_from_flags
from data_prep.stages.flag_words import (
  STAGE_OUTPUT,
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
  """Defines what to look at, what with, and how to share it."""
  define_path("detected", "The folder that detect_faces wrote.")
  define_photos(instead_of="detected")
  define_output(STAGE_OUTPUT)
  define_photos_per_shard(PHOTOS_PER_SHARD)
  define_most_megapixels(MOST_MEGAPIXELS)
  flags.DEFINE_enum("locator", "dlib", LOCATORS, "What finds the landmarks.")
  define_path(
    "weights",
    "With --locator=synthetic, what train_locator exported, in place of the"
    " network that ships.",
  )
  define_path(
    "fan_python",
    "With --locator=fan, the Python of an environment with face-alignment.",
  )
  flags.DEFINE_string(
    "fan_device", "cpu", "With --locator=fan, PyTorch's device, e.g. cuda."
  )
  define_path(
    "points",
    "With --locator=pts, the folder of <image_id without suffix>.pts files.",
  )
  flags.DEFINE_string(
    "points_licence",
    "not given",
    "With --locator=pts, the terms of use of the points.",
  )
  define_shard()
  define_engine()
  was(images="photos")


@contextlib.contextmanager
def _locator_from_flags() -> Iterator[Locator]:
  values = flags.FLAGS
  locator = make_locator(
    values.locator,
    fan_python=values.fan_python,
    fan_device=values.fan_device,
    points=values.points,
    points_licence=values.points_licence,
    weights=values.weights,
  )
  with contextlib.ExitStack() as stack:
    if isinstance(locator, FanLocator):
      stack.enter_context(locator)
    yield locator


def check_flags() -> None:
  """Makes the locator."""
  _check_locator()
  with _locator_from_flags():
    pass


def _check_locator() -> None:
  values = flags.FLAGS
  check_locator_flags(
    [values.locator], [name for name in values if values[name].present]
  )


def main() -> None:
  """Locates and reports."""
  values = flags.FLAGS
  _check_locator()
  share, engine = parse_share(values.shard), engine_from_flags()
  if bool(values.photos) == bool(values.detected):
    raise UserError("--detected, --photos: expected exactly one of the two")
  if values.detected:
    faces = rows_of_stage(as_path(values.detected))
  else:
    found = list_set(values.photos)
    found.passed_over.tell(values.photos)
    faces = rows_of_photos(
      found.photos,
      photo_licence=values.photo_licence,
      passed_over=found.passed_over.counts(),
      photos_per_shard=values.photos_per_shard,
      most_megapixels=values.most_megapixels,
    )
  with _locator_from_flags() as locator:
    for name, terms in locator.licences.items():
      logging.info("Licence of %s: %s.", name, terms)
    locate_landmarks(
      faces, as_path(values.output), locator, share=share, engine=engine
    )


if __name__ == "__main__":
  command_line.run(main, define_flags, check=check_flags)
