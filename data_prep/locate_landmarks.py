r"""Finds the 68 landmarks of the face in every photo.

    python -m data_prep.locate_landmarks --detected=detected --output=located

Takes the boxes that detect_faces found; or, with --images in place of
--detected, looks for the faces itself. Landmarks come from dlib, from FAN in an
environment of its own, or from .pts files. The output's manifest
(`manifests.py`) has a row for every photo, the unusable ones with the reason.

Killed or stopped, the same command goes on with the manifest shards that are
missing; machines that share the folder take a part each with --shard=i/n.
"""

import contextlib
import pathlib

from absl import flags, logging

from data_prep.faces.fan_locator import FanLocator
from data_prep.faces.location import (
  LOCATORS,
  PHOTOS_PER_SHARD,
  locate_landmarks,
  make_locator,
  rows_of_photos,
  rows_of_stage,
)
from data_prep.photos.photo_sets import list_photos
from data_prep.stages import command_line
from data_prep.stages.folder import (
  parse_share,
)
from disentangle3d.types import UserError


def define_flags() -> None:
  """Defines what to look at, what with, and how to share it."""
  flags.DEFINE_string("detected", None, "What detect_faces wrote.")
  flags.DEFINE_string(
    "images",
    None,
    "In place of --detected: the folder of photos, a folder a person; or a"
    " .zip, .tar, .tar.gz of one, or a .rec.",
  )
  flags.DEFINE_string(
    "output", None, "The folder to write, or to go on with.", required=True
  )
  flags.DEFINE_string(
    "photo_licence",
    "not given",
    "With --images: terms of use of the photos, to be written into all that is"
    " made of them.",
  )
  flags.DEFINE_integer(
    "photos_per_shard",
    PHOTOS_PER_SHARD,
    "With --images: photos a manifest shard; a killed run loses one at most.",
    lower_bound=1,
  )
  flags.DEFINE_enum("locator", "dlib", LOCATORS, "What finds the landmarks.")
  flags.DEFINE_string(
    "fan_python",
    None,
    "With --locator=fan: the Python of an environment with face-alignment.",
  )
  flags.DEFINE_string(
    "fan_device", "cpu", "With --locator=fan: PyTorch's device, e.g. cuda."
  )
  flags.DEFINE_string(
    "points",
    None,
    "With --locator=pts: the folder of <image_id without suffix>.pts files.",
  )
  flags.DEFINE_string(
    "points_licence", "not given", "With --locator=pts: terms of the points."
  )
  flags.DEFINE_string("shard", "0/1", "This machine's part, i/n.")


def main() -> None:
  """Locates and reports."""
  values = flags.FLAGS
  share = parse_share(values.shard)
  if bool(values.images) == bool(values.detected):
    raise UserError("--detected, --images: expected exactly one of the two")
  if values.detected:
    faces = rows_of_stage(pathlib.Path(values.detected))
  else:
    faces = rows_of_photos(
      list_photos(values.images),
      photo_licence=values.photo_licence,
      photos_per_shard=values.photos_per_shard,
    )
  locator = make_locator(
    values.locator,
    fan_python=values.fan_python,
    fan_device=values.fan_device,
    points=values.points,
    points_licence=values.points_licence,
  )
  with contextlib.ExitStack() as stack:
    if isinstance(locator, FanLocator):
      stack.enter_context(locator)
    for name, terms in locator.licences.items():
      logging.info("Licence of %s: %s.", name, terms)
    locate_landmarks(faces, pathlib.Path(values.output), locator, share=share)


if __name__ == "__main__":
  command_line.run(main, define_flags)
