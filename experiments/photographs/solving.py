"""Codes, cameras and tracks of the faces of many photos together."""

from collections.abc import Iterator
import dataclasses

import jax
from jaxtyping import Int
import numpy as np

from data_prep.faces.found_faces import FoundFace
from disentangle3d.geometry import Camera
from experiments.photographs.cameras import photo_cameras
from experiments.photographs.files import MadeFace
from experiments.photographs.landmarks import camera_source
from experiments.photographs.lines import Seen, SeenPhotos
from experiments.photographs.maps import face_maps
from experiments.photographs.shapes import Codes, FaceMaker
from experiments.photographs.sightings import track_faces
from experiments.photographs.smoothing import smooth_tracks

_PHOTOS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Solved:
  """What is known of N faces.

  Attributes:
    codes: `[N, ...]`.
    cameras: In photo pixels, `[N]`.
    tracks: Whose a face is in a film, `[N]`; None if none were followed.
  """

  codes: Codes
  cameras: Camera
  tracks: Int[np.ndarray, "N"] | None = None

  def part(self, start: int, stop: int) -> "Solved":
    """That of some of the faces."""
    rows = slice(start, stop)
    return Solved(
      Codes(self.codes.identity[rows], self.codes.residual[rows]),
      jax.tree.map(lambda leaf: leaf[rows], self.cameras),
      None if self.tracks is None else self.tracks[rows],
    )

  def face(
    self, row: int, seen: Seen, found: FoundFace, maker: FaceMaker
  ) -> MadeFace:
    """All about one face, its maps too."""
    own = self.part(row, row + 1)
    codes = (own.codes.identity[0], own.codes.residual[0])
    return MadeFace(
      photo=seen.name,
      found=found,
      notes=seen.notes,
      codes=dict(zip(maker.code_names, codes, strict=True)),
      camera=jax.tree.map(lambda leaf: leaf[0], own.cameras),
      camera_source=camera_source(found),
      maps=face_maps(maker, own.codes, own.cameras, found),
      track=None if own.tracks is None else int(own.tracks[0]),
    )


def solve_together(
  photos: SeenPhotos, maker: FaceMaker, *, pool: bool, smooth: float
) -> tuple[Solved | None, Int[np.ndarray, "P"]]:
  """Solves for faces that belong together; about 1 kB a face in memory.

  Args:
    photos: P of them, with codes where `maker.encode` gives what is needed.
    maker: The method.
    pool: One person: one identity from all photos. (The faces themselves are
      in memory, without crops.)
    smooth: Standard deviation over time, in frames; 0 is none.

  Returns:
    Of all faces in their order (None if there is none), and how many each
    photo has.
  """
  counts, tracks = np.zeros(len(photos), int), None
  names, indices, boxes, known = [], [], [], []
  parts: list[tuple[np.ndarray, np.ndarray]] = []
  for index, seen in enumerate(photos.read(0, len(photos))):
    counts[index] = len(seen.faces)
    names.append(seen.name)
    indices += [index] * len(seen.faces)
    boxes += [face.box for face in seen.faces]
    known += [camera_source(face) is not None for face in seen.faces]
    parts += seen.codes
  if not indices:
    return None, counts
  codes = Codes(np.zeros((0, 0)), np.zeros((0, 0)))
  if parts:
    codes = Codes(*(np.stack(some) for some in zip(*parts, strict=True)))
  if pool:
    faces = [f for some in _blocks(photos) for s in some for f in s.faces]
    codes = maker.pool(faces, codes)
  cameras = _cameras(photos, maker, codes)
  if smooth > 0:
    tracks = track_faces(names, indices, boxes)
    codes, cameras = smooth_tracks(
      codes,
      cameras,
      np.array(known),
      np.array(indices, np.float64),
      tracks,
      sigma=smooth,
    )
  return Solved(codes, cameras, tracks), counts


def _cameras(photos: SeenPhotos, maker: FaceMaker, codes: Codes) -> Camera:
  """Cameras of all faces, of some photos at a time."""
  parts, row = [], 0
  for some in _blocks(photos):
    faces = [face for seen in some for face in seen.faces]
    own = slice(row, row + len(faces))
    row += len(faces)
    if faces:
      some_codes = Codes(codes.identity[own], codes.residual[own])
      parts.append(photo_cameras(maker, some_codes, faces))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _blocks(photos: SeenPhotos) -> Iterator[list[Seen]]:
  for start in range(0, len(photos), _PHOTOS_AT_ONCE):
    stop = min(start + _PHOTOS_AT_ONCE, len(photos))
    yield list(photos.read(start, stop))
