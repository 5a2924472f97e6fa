"""From photographs to folders of 3D faces, chunk by chunk."""

from collections.abc import Iterator, Sequence
import dataclasses
import json
import pathlib

from absl import logging
import jax
import numpy as np

from data_prep.photos.loose_photos import read_photos
from data_prep.stages.progress import counted
from disentangle3d.geometry import Camera
from disentangle3d.output_files import new_folder
from disentangle3d.reporting.viewer import ViewerFace, viewer_page
from disentangle3d.types import UserError
from experiments.photographs.files import (
  FORMATS,
  MadeFace,
  face_folders,
  viewer_face,
  write_face,
)
from experiments.photographs.shapes import (
  Codes,
  FaceMaker,
  face_maps,
  has_camera,
  photo_cameras,
)
from experiments.photographs.sightings import (
  Finder,
  Sighting,
  find_sightings,
  track_faces,
)
from experiments.photographs.smoothing import smooth_tracks

_CHUNK = 8


# A face takes half a megabyte of the page.
_MOST_SHOWN = 24


@dataclasses.dataclass(frozen=True)
class Options:
  """What to make of the photos.

  Attributes:
    pool: One person: one identity from all photos, one face a photo.
    smooth: Standard deviation over time, in frames; 0 is none. Faces are
      followed from frame to frame, and each is smoothed by itself.
    largest: Takes only the largest face of a photo.
    every: Of a video every so many-th frame.
    formats: Of the meshes.
    viewer: Writes viewer.html, too.
  """

  pool: bool = False
  smooth: float = 0.0
  largest: bool = False
  every: int = 1
  formats: Sequence[str] = FORMATS
  viewer: bool = False

  @property
  def one_face(self) -> bool:
    """Whether a photo gives one face at most."""
    return self.largest or self.pool


def reconstruct_photos(
  files: Sequence[pathlib.Path],
  output: pathlib.Path,
  maker: FaceMaker,
  finder: Finder,
  options: Options = Options(),
) -> int:
  """Does it all.

  Args:
    files: From `list_files`.
    output: The folder to write; new or empty.
    maker: The method.
    finder: Finds the faces.
    options: What to make of them.

  Returns:
    The number of faces.

  Raises:
    UserError: There is no face in any photo, or `output` is taken.
  """
  with new_folder(output) as folder:
    names, sightings, reasons = find_sightings(
      files, finder, every=options.every, largest=options.one_face
    )
    if maker.name == "fit":
      sightings = _with_landmarks(sightings, reasons)
    if not sightings:
      index, reason = next(iter(reasons.items()), (0, "it has no frame"))
      first = names[index] if names else str(files[0])
      raise UserError(
        f"no face in any of {len(names)} photos; the first, {first}: {reason}"
      )
    places = face_folders(
      names, [(sighting.index, sighting.number) for sighting in sightings]
    )
    images = read_photos(files, every=options.every)
    made = _make_faces(names, sightings, maker, options)
    row = 0
    shown: list[ViewerFace] = []
    for index, photo in enumerate(counted(images, "writing", total=len(names))):
      while row < len(sightings) and sightings[row].index == index:
        face = next(made)
        if photo.image is None:
          raise UserError(f"{photo.name}: {photo.reason}, which it was before")
        colors = write_face(
          folder / places[row],
          face,
          photo.image,
          maker,
          formats=options.formats,
        )
        if options.viewer and len(shown) < _MOST_SHOWN:
          shown.append(viewer_face(places[row], face, photo.image, colors))
        row += 1
    if shown:
      title = f"{maker.provenance['name']}: {len(shown)} faces"
      page = viewer_page(shown, maker.mean_shape, maker.triangles, title=title)
      (folder / "viewer.html").write_text(page, encoding="utf-8")
    _write_results(folder, names, sightings, places, reasons)
  return len(sightings)


def _with_landmarks(
  sightings: Sequence[Sighting], reasons: dict[int, str]
) -> list[Sighting]:
  """Those that a landmark fit can use; tells of the others."""
  usable = has_camera([sighting.face for sighting in sightings])
  for sighting, kept in zip(sightings, usable, strict=True):
    if not kept:
      reasons[sighting.index] = "no 68 landmarks to fit"
  return [s for s, kept in zip(sightings, usable, strict=True) if kept]


def _make_faces(
  names: Sequence[str],
  sightings: Sequence[Sighting],
  maker: FaceMaker,
  options: Options,
) -> Iterator[MadeFace]:
  """Codes and cameras of all, then shapes and maps some at a time."""
  faces = [sighting.face for sighting in sightings]
  codes = maker.encode(faces, options.pool)
  cameras = photo_cameras(maker, codes, faces)
  known = has_camera(faces)
  tracks = None
  if options.smooth > 0:
    tracks = track_faces(names, sightings)
    times = np.array([float(sighting.index) for sighting in sightings])
    codes, cameras = smooth_tracks(
      codes, cameras, known, times, tracks, sigma=options.smooth
    )
  for start in range(0, len(faces), _CHUNK):
    rows = range(start, min(start + _CHUNK, len(faces)))
    part = slice(rows.start, rows.stop)
    maps = face_maps(
      maker,
      Codes(codes.identity[part], codes.residual[part]),
      jax.tree.map(lambda leaf, p=part: leaf[p], cameras),
      faces[part],
    )
    for row, drawn in zip(rows, maps, strict=True):
      yield MadeFace(
        photo=names[sightings[row].index],
        found=faces[row],
        notes=sightings[row].notes,
        codes=dict(
          zip(
            maker.code_names,
            (codes.identity[row], codes.residual[row]),
            strict=True,
          )
        ),
        camera=_camera_of(cameras, row),
        has_camera=bool(known[row]),
        maps=drawn,
        track=None if tracks is None else int(tracks[row]),
      )


def _camera_of(cameras: Camera, row: int) -> Camera:
  return jax.tree.map(lambda leaf: leaf[row], cameras)


def _write_results(
  folder: pathlib.Path,
  names: Sequence[str],
  sightings: Sequence[Sighting],
  places: Sequence[str],
  reasons: dict[int, str],
) -> None:
  faces: dict[int, list[str]] = {}
  for sighting, place in zip(sightings, places, strict=True):
    faces.setdefault(sighting.index, []).append(place)
  rows = [
    {"photo": name, "faces": faces.get(i, []), "reason": reasons.get(i, "")}
    for i, name in enumerate(names)
  ]
  content = json.dumps({"photos": rows}, indent=1) + "\n"
  (folder / "results.json").write_text(content)
  for row in rows:
    if row["reason"]:
      logging.warning("%s: %s", row["photo"], row["reason"])
