"""Lists the scans of MICC Florence.

    subject_01/Model/frontal1/obj/110920150452.obj     scans, also frontal2 and,
                              vrml/110920150452.wrl    of some, sidel and sider
    subject_01/Video/PTZ-Outdoor.mjpg                  videos in three scenes

The 68 landmarks of the frontal scans are published apart, in folders of the
same shape: subject_01/Model/frontal1/obj/110920150452.ljson. Frames are looked
for as <frames>/subject_01/PTZ-Outdoor/*.jpg, which `ffmpeg -i
PTZ-Outdoor.mjpg <frames>/subject_01/PTZ-Outdoor/%06d.jpg` makes of a video.
"""

import os
import pathlib

from data_prep.evaluation_sets.scans import ScanFiles
from data_prep.photos.listing import SUFFIXES, natural_key
from disentangle3d.input_files import existing_folder
from disentangle3d.types import UserError

_SCENES = ("Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor")


def list_florence(
  root: str | os.PathLike[str],
  *,
  landmarks: str | os.PathLike[str] | None = None,
  frames: str | os.PathLike[str] | None = None,
) -> list[ScanFiles]:
  """All scans, by subject and view.

  Args:
    root: The folder that holds subject_01 to subject_53.
    landmarks: The folder of the .ljson files; None looks beside the scans.
    frames: The folder of the videos' frames; None looks in `root`.

  Returns:
    The scans, as OBJ where there is one and else as VRML; the parent folder of
    a photo is its scene, one of `_SCENES`.

  Raises:
    UserFileNotFoundError: One of the folders is missing.
    UserError: There is no scan.
  """
  root = pathlib.Path(os.path.abspath(root))
  places = [
    root if given is None else pathlib.Path(os.path.abspath(given))
    for given in (landmarks, frames)
  ]
  for place in (root, *places):
    existing_folder(place)
  scans = []
  for subject in sorted(root.glob("subject_*"), key=_by_name):
    photos = _photos(places[1] / subject.name)
    for view in sorted((subject / "Model").glob("*"), key=_by_name):
      found = sorted(view.glob("obj/*.obj")) or sorted(view.glob("vrml/*.wrl"))
      for mesh in found:
        folder = places[0] / subject.name / "Model" / view.name / "obj"
        ljson = folder / f"{mesh.stem}.ljson"
        scans.append(
          ScanFiles(
            subject=subject.name,
            expression=view.name,
            level=0,
            mesh_path=mesh,
            landmarks_path=ljson if ljson.is_file() else None,
            photo_paths=photos,
          )
        )
  if not scans:
    raise UserError(
      f"{root}: expected scans as subject_01/Model/frontal1/obj/*.obj, found"
      " none"
    )
  return scans


def _photos(folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
  return tuple(
    photo
    for scene in _SCENES
    for photo in sorted((folder / scene).glob("*"), key=_by_name)
    if photo.suffix.lower() in SUFFIXES
  )


def _by_name(path: pathlib.Path) -> list[tuple[int, str]]:
  return natural_key(path.name)
