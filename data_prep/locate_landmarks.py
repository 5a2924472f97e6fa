r"""Finds the face and its 68 landmarks in every photo of a folder.

    python -m data_prep.locate_landmarks --images=orl_faces --output=located

The folder holds a folder a person; a zip, tar or RecordIO file may stand for it
(`photos.py`). The output's manifest (`manifests.py`) has a row for every photo,
also for those in which no face was found.
"""

from collections.abc import Callable
import pathlib

from absl import flags, logging
import numpy as np
import tqdm

from data_prep import command_line, dlib_landmarks
from data_prep.manifests import (
  PhotoRow,
  count_rows,
  manifest_path,
  report_rows,
  write_about,
  write_manifest,
)
from data_prep.output_files import new_folder
from data_prep.photos import Photo, list_photos, read_photo
from disentangle3d.geometry import five_points

Locate = Callable[[np.ndarray], dlib_landmarks.LocatedFace]


def locate_photo(photo: Photo, locate: Locate) -> PhotoRow:
  """The row of one photo; a photo without a usable face is a rejected row."""
  row = PhotoRow(
    image_path=photo.path,
    subject=photo.subject,
    image_id=photo.image_id,
    status="rejected",
    detector=dlib_landmarks.NAME,
  )
  try:
    image = read_photo(photo.path)
  except (ValueError, OSError) as error:
    return row.rejected(str(error).removeprefix(f"{photo.path}: "))
  try:
    face = locate(image)
  except dlib_landmarks.NoFaceError as error:
    return row.rejected(str(error))
  return PhotoRow(
    image_path=row.image_path,
    subject=row.subject,
    image_id=row.image_id,
    detector=row.detector,
    status="ok",
    box=face.box,
    five_points=np.asarray(five_points(face.landmarks)),
    landmarks=face.landmarks,
    visibility=face.visibility,
  )


def locate_landmarks(
  images: pathlib.Path,
  output: pathlib.Path,
  locate: Locate,
  *,
  photo_licence: str = "not given",
) -> list[PhotoRow]:
  """Locates the faces of a folder of photos and writes the manifest.

  Args:
    images: The folder of photos, a folder a person, or what `list_photos`
      takes in its place.
    output: The folder to write; new or empty.
    locate: Finds one face in an RGB photo, or raises NoFaceError.
    photo_licence: Recorded in about.json.

  Returns:
    The rows written.

  Raises:
    FileNotFoundError: There is no such folder.
    ValueError: No photos, no face in any of them, or `output` is taken.
  """
  photos = list_photos(images)
  with new_folder(output) as folder:
    with tqdm.tqdm(photos, desc="locating", unit="photo") as bar:
      rows = [locate_photo(photo, locate) for photo in bar]
    if not any(row.status == "ok" for row in rows):
      raise ValueError(
        f"{images}: no face in any of {len(rows)} photos; the first,"
        f" {rows[0].image_id}: {rows[0].reason}"
      )
    write_manifest(manifest_path(folder), rows)
    write_about(
      folder,
      "locate_landmarks",
      settings={"detector": dlib_landmarks.NAME},
      licences={"photographs": photo_licence, **dlib_landmarks.LICENCES},
      counts=count_rows(rows),
    )
  return rows


def define_flags() -> None:
  """Defines --images, --output, --photo_licence."""
  flags.DEFINE_string(
    "images",
    None,
    "The folder of photos, a folder a person; or a .zip, .tar, .tar.gz of one,"
    " or a .rec.",
    required=True,
  )
  flags.DEFINE_string(
    "output", None, "The folder to write; new or empty.", required=True
  )
  flags.DEFINE_string(
    "photo_licence",
    "not given",
    "Terms of use of the photos, to be written into all that is made of them.",
  )


def main() -> None:
  """Locates and reports."""
  locator = dlib_landmarks.DlibLocator()
  for name, terms in dlib_landmarks.LICENCES.items():
    logging.info("Licence of %s: %s.", name, terms)
  output = pathlib.Path(flags.FLAGS.output)
  rows = locate_landmarks(
    pathlib.Path(flags.FLAGS.images),
    output,
    locator.locate,
    photo_licence=flags.FLAGS.photo_licence,
  )
  report_rows(rows, output)


if __name__ == "__main__":
  command_line.run(main, define_flags)
