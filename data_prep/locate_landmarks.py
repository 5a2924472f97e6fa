r"""Finds the 68 landmarks of the face in every photo.

    python -m data_prep.locate_landmarks --detected=detected --output=located

Takes the boxes that detect_faces found; or, with --images in place of
--detected, looks for the faces itself. Landmarks come from dlib, from FAN in an
environment of its own, or from .pts files. The output's manifest
(`manifests.py`) has a row for every photo, the unusable ones with the reason.

Killed or stopped, the same command goes on with the manifest shards that are
missing; machines that share the folder take a part each with --shard=i/n.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import pathlib
from typing import Any

from absl import flags, logging
import numpy as np

from data_prep import command_line
from data_prep.dlib_landmarks import DlibLocator
from data_prep.fan_landmarks import FanLocator
from data_prep.locators import Locator, NoFaceError, PtsLocator
from data_prep.manifests import PhotoRow, list_manifests, read_manifest
from data_prep.photos import Photo, list_photos, read_photo
from data_prep.shard_loop import fill_shards, split_shards
from data_prep.stage_about import read_licences, read_stages
from data_prep.stage_folder import ALONE, Share, digest, open_stage, parse_share
from disentangle3d.geometry import five_points

STAGE = "locate_landmarks"
LOCATORS = ("dlib", "fan", "pts")
PHOTOS_PER_SHARD = 512


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
  """

  shards: Sequence[Callable[[], list[PhotoRow]]]
  num_photos: int
  licences: dict[str, str]
  settings: dict[str, object]
  sha256: str
  stages_before: Sequence[Mapping[str, Any]] = ()


def rows_of_photos(
  photos: Sequence[Photo],
  *,
  photo_licence: str = "not given",
  photos_per_shard: int = PHOTOS_PER_SHARD,
) -> FaceRows:
  """Photos in which nobody has looked for a face; their rows have no box."""

  def rows(places: range) -> list[PhotoRow]:
    return [
      PhotoRow(
        image_path=photos[place].path,
        subject=photos[place].subject,
        image_id=photos[place].image_id,
        status="ok",
      )
      for place in places
    ]

  parts = split_shards(len(photos), photos_per_shard)
  return FaceRows(
    shards=[lambda places=places: rows(places) for places in parts],
    num_photos=len(photos),
    licences={"photographs": photo_licence},
    settings={"boxes": "none", "photos_per_shard": photos_per_shard},
    sha256=digest(photo.image_id.encode() for photo in photos),
  )


def rows_of_stage(detected: pathlib.Path) -> FaceRows:
  """Photos in which detect_faces has found faces, in its shards.

  Raises:
    FileNotFoundError: `detected` is missing or incomplete.
    ValueError: Its licences cannot be read.
  """
  manifests = list_manifests(detected)
  contents = [path.read_bytes() for path in manifests]
  return FaceRows(
    shards=[lambda path=path: read_manifest(path) for path in manifests],
    num_photos=sum(content.count(b"\n") for content in contents),
    licences=read_licences(detected),
    settings={"boxes": "detect_faces"},
    sha256=digest(contents),
    stages_before=read_stages(detected),
  )


def locate_row(row: PhotoRow, locator: Locator) -> PhotoRow:
  """One photo's row with its landmarks, or with why there are none."""
  if row.status != "ok":
    return row
  name = " + ".join(part for part in (row.detector, locator.name) if part)
  row = dataclasses.replace(row, detector=name)
  try:
    photo = read_photo(row.image_path)
  except (ValueError, OSError) as error:
    return row.rejected(str(error).removeprefix(f"{row.image_path}: "))
  try:
    face = locator.locate(photo, row)
  except NoFaceError as error:
    return row.rejected(str(error))
  return dataclasses.replace(
    row,
    box=face.box,
    five_points=np.asarray(five_points(face.landmarks)),
    landmarks=face.landmarks,
    visibility=face.visibility,
  )


def locate_landmarks(
  faces: FaceRows,
  output: pathlib.Path,
  locator: Locator,
  *,
  share: Share = ALONE,
) -> dict[str, int] | None:
  """Locates landmarks and writes the manifest, shard by shard.

  Args:
    faces: From `rows_of_stage` or `rows_of_photos`.
    output: The folder to write; new, empty, or of an earlier run of this.
    locator: Finds the landmarks of a face.
    share: Which shards to make.

  Returns:
    The counts once every shard is there; None before.

  Raises:
    ValueError: `output` holds something else, a manifest is malformed, or
      there are landmarks in no photo.
  """
  folder = open_stage(
    output,
    STAGE,
    num_shards=len(faces.shards),
    settings={**faces.settings, **locator.settings},
    licences={**faces.licences, **locator.licences},
    inputs=faces.sha256,
    stages_before=faces.stages_before,
  )

  def make_rows(
    shard: int, progress: Callable[[int], object]
  ) -> list[PhotoRow]:
    rows = []
    for row in faces.shards[shard]():
      rows.append(locate_row(row, locator))
      progress(1)
    return rows

  return fill_shards(folder, share, make_rows, num_photos=faces.num_photos)


def make_locator(
  kind: str,
  *,
  fan_python: str | None = None,
  fan_device: str = "cpu",
  points: str | None = None,
  points_licence: str = "not given",
) -> DlibLocator | FanLocator | PtsLocator:
  """The locator of a name, one of `LOCATORS`.

  Args:
    kind: Its name.
    fan_python: Of "fan": the Python of its environment.
    fan_device: Of "fan": PyTorch's device.
    points: Of "pts": the folder of .pts files.
    points_licence: Of "pts": their terms.

  Raises:
    ValueError: What it needs is not given.
    ModuleNotFoundError: What it needs is not installed.
    FileNotFoundError: What it needs is not there.
    ChildProcessError: FAN does not run in its environment.
  """
  if kind == "fan":
    if not fan_python:
      raise ValueError("--fan_python: needed for --locator=fan")
    return FanLocator(fan_python, device=fan_device)
  if kind == "pts":
    if not points:
      raise ValueError("--points: needed for --locator=pts")
    return PtsLocator(pathlib.Path(points), licence=points_licence)
  return DlibLocator()


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
    raise ValueError("--detected, --images: expected exactly one of the two")
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
