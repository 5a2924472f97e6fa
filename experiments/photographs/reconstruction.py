"""From photographs to folders of 3D faces, some photos at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import pathlib
import types
from typing import Any, cast

from absl import logging
import numpy as np

from data_prep.faces.found_faces import FoundFace
from data_prep.photos.crops import warp_crop
from data_prep.photos.decoding import MOST_MEGAPIXELS
from data_prep.photos.listing import PassedOver
from data_prep.photos.loose_photos import LoosePhoto, read_photos
from data_prep.stages.progress import counted
from disentangle3d.machine import return_freed_memory
from disentangle3d.reporting.viewer import viewer_page
from disentangle3d.types import UserError
from experiments.photographs.cameras import photo_cameras
from experiments.photographs.files import (
  FORMATS,
  OUTPUTS,
  OVERLAY_SIDE,
  MadeFace,
  viewer_face,
  write_face,
)
from experiments.photographs.landmarks import has_landmarks
from experiments.photographs.lines import Seen
from experiments.photographs.shapes import FaceMaker
from experiments.photographs.sightings import Finder
from experiments.photographs.solving import Solved, solve_together
from experiments.photographs.work import VIEWER, Work, finished_rows, open_work
from experiments.photographs.writing import Writer, open_writer

_CHUNK = 8
_CHUNK_BYTES = 64 << 20


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
    outputs: Of each face, some of `files.OUTPUTS`.
    overlay_side: Its overlay's longer side at most; 0 is the photo's.
    most_megapixels: Larger photos are told of and left out.
  """

  pool: bool = False
  smooth: float = 0.0
  largest: bool = False
  every: int = 1
  formats: Sequence[str] = FORMATS
  viewer: bool = False
  outputs: Sequence[str] = OUTPUTS
  overlay_side: int = OVERLAY_SIDE
  most_megapixels: float = MOST_MEGAPIXELS

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
  *,
  passed_over: Mapping[str, PassedOver] = types.MappingProxyType({}),
) -> int:
  """Does it all, and after a kill what is left of it.

  Each photo's faces are written as soon as they are made. With `pool` or
  `smooth`, which need every photo, all are looked at first, and what is known
  of their faces is kept on the disk. At most a few photos are in memory.

  Args:
    files: Of `list_files`.
    output: The folder to write; new, empty, or of a run that was killed.
    maker: The method.
    finder: Finds the faces.
    options: What to make of them.
    passed_over: What of the user's was not taken for photos, by place.

  Returns:
    The number of faces.

  Raises:
    UserError: There is no face in any photo, `output` is taken, or was begun
      with something else.
  """
  settings = _settings(files, maker, finder, options)
  rows = finished_rows(output, settings)
  if rows is not None:
    logging.info("%s: done before; another folder does it again.", output)
  else:
    with open_work(output, settings) as work:
      if options.pool or options.smooth > 0:
        write = _write_together
      else:
        write = _write_each
      with open_writer() as writer:
        write(files, work, maker, finder, options, writer)
      _finish(work, files, maker, passed_over)
    rows = work.rows
  for row in rows:
    if row["reason"]:
      logging.warning("%s: %s", row["photo"], row["reason"])
  return sum(len(row["faces"]) for row in rows)


def _finish(
  work: Work,
  files: Sequence[pathlib.Path],
  maker: FaceMaker,
  passed_over: Mapping[str, PassedOver],
) -> None:
  """Writes what is of all photos; a `UserError` where there is no face."""
  if not any(row["faces"] for row in work.rows):
    work.discard()
    first = work.rows[0] if work.rows else None
    raise UserError(
      f"no face in any of {len(work.rows)} photos; the first,"
      f" {first['photo'] if first else files[0]}:"
      f" {first['reason'] if first else 'it has no frame'}"
    )
  pages = {}
  if shown := work.shown():
    faces = "1 face" if len(shown) == 1 else f"{len(shown)} faces"
    layout = maker.layout
    pages[VIEWER] = viewer_page(
      shown,
      layout.mesh.vertices(maker.mean_shape),
      layout.mesh.triangles,
      places=layout.places,
      title=f"{maker.provenance['name']}: {faces}",
    )
  counts = {place: kinds.counts() for place, kinds in passed_over.items()}
  work.finish(pages, passed_over=counts)


def _settings(
  files: Sequence[pathlib.Path],
  maker: FaceMaker,
  finder: Finder,
  options: Options,
) -> dict[str, Any]:
  """What a run that goes on must have as before."""
  told = "\n".join(
    f"{path} {found.st_size} {found.st_mtime_ns}"
    for path, found in ((path, path.stat()) for path in files)
  ).encode("utf-8", "surrogateescape")
  return {
    "photos": f"{len(files)} files, sha256 {hashlib.sha256(told).hexdigest()}",
    "method": maker.name,
    "model": f"{maker.provenance['name']}, sha256 {maker.sha256}",
    "precropped": finder.precropped,
    "detection_side": finder.side,
    "locator": finder.locator,
    "template": finder.template,
    **dataclasses.asdict(options),
  }


def _write_each(
  files: Sequence[pathlib.Path],
  work: Work,
  maker: FaceMaker,
  finder: Finder,
  options: Options,
  writer: Writer,
) -> None:
  """Each photo by itself; some at a time, which are as many as in a batch."""
  photos = _photos(files, options, start=len(work.rows))
  looked = _looked(counted(photos, "reconstructing"), maker, finder, options)
  for some in _chunks(looked):
    faces = _faces(some)
    solved = None
    if faces:
      codes = maker.encode(faces)
      solved = Solved(codes, photo_cameras(maker, codes, faces))
    _begin_photos(work, some, solved, maker, options, writer)


def _write_together(
  files: Sequence[pathlib.Path],
  work: Work,
  maker: FaceMaker,
  finder: Finder,
  options: Options,
  writer: Writer,
) -> None:
  """All photos are looked at, then solved for together, then written."""
  photos = _photos(files, options, start=len(work.seen))
  looked = _looked(counted(photos, "looking for faces"), maker, finder, options)
  for some in _chunks(looked):
    faces = _faces(some)
    # The landmark fit of one person needs no fits of single photos.
    codes = None
    if faces and not (options.pool and maker.name == "fit"):
      codes = maker.encode(faces)
    row = 0
    for _, seen in some:
      own = range(row, row + len(seen.faces))
      row = own.stop
      if codes is not None:
        own_codes = tuple((codes.identity[i], codes.residual[i]) for i in own)
        seen = dataclasses.replace(seen, codes=own_codes)
      work.seen.append(seen)
  solved, counts = solve_together(
    work.seen, maker, pool=options.pool, smooth=options.smooth
  )
  start = len(work.rows)
  row = int(counts[:start].sum())
  photos = _photos(files, options, start=start)
  known = work.seen.read(start, len(work.seen))
  pairs = zip(counted(photos, "writing", total=len(counts)), known, strict=True)
  for some in _chunks(_recut(pairs)):
    end = row + len(_faces(some))
    part = solved and solved.part(row, end)
    _begin_photos(work, some, part, maker, options, writer)
    row = end


def _photos(
  files: Sequence[pathlib.Path], options: Options, *, start: int
) -> Iterator[LoosePhoto]:
  return read_photos(
    files,
    every=options.every,
    most_megapixels=options.most_megapixels,
    start=start,
  )


def _looked(
  photos: Iterable[LoosePhoto],
  maker: FaceMaker,
  finder: Finder,
  options: Options,
) -> Iterator[tuple[LoosePhoto, Seen]]:
  for photo in photos:
    yield photo, _look(photo, maker, finder, options)


def _look(
  photo: LoosePhoto, maker: FaceMaker, finder: Finder, options: Options
) -> Seen:
  """The faces of a photo that are taken, or why there is none."""
  try:
    faces = finder.faces(photo)
  except ValueError as error:
    return Seen(photo.name, str(error), photo.notes, ())
  notes, reason = photo.notes, ""
  if options.one_face and len(faces) > 1:
    notes = (*notes, f"{len(faces)} faces, the largest was taken")
    faces = faces[:1]
  if maker.name == "fit":
    kept = has_landmarks(faces)
    if not kept.all():
      reason = "no 68 landmarks to fit"
    faces = [face for face, usable in zip(faces, kept, strict=True) if usable]
  return Seen(photo.name, reason, notes, tuple(faces))


def _faces(some: Sequence[tuple[LoosePhoto, Seen]]) -> list[FoundFace]:
  return [face for _, seen in some for face in seen.faces]


def _chunks(
  looked: Iterable[tuple[LoosePhoto, Seen]],
) -> Iterator[list[tuple[LoosePhoto, Seen]]]:
  """Photos until their faces fill a batch, or their pixels enough memory."""
  some: list[tuple[LoosePhoto, Seen]] = []
  faces = size = 0
  for photo, seen in looked:
    some.append((photo, seen))
    faces += len(seen.faces)
    size += 0 if photo.image is None else photo.image.nbytes
    if faces >= _CHUNK or size >= _CHUNK_BYTES:
      # What compiling took is more than a large photo.
      return_freed_memory()
      yield some
      some, faces, size = [], 0, 0
  if some:
    yield some


def _recut(
  pairs: Iterable[tuple[LoosePhoto, Seen]],
) -> Iterator[tuple[LoosePhoto, Seen]]:
  """Photos with faces that were kept without their crops, with them again."""
  for photo, seen in pairs:
    image = photo.image
    if image is None and seen.faces:
      raise UserError(f"{photo.name}: {photo.reason}, which it was not before")
    faces = []
    for face in seen.faces:
      crop = warp_crop(cast(np.ndarray, image), face.crop_from_photo)
      faces.append(dataclasses.replace(face, crop=crop))
    yield photo, dataclasses.replace(seen, faces=tuple(faces))


def _begin_photos(
  work: Work,
  some: Sequence[tuple[LoosePhoto, Seen]],
  solved: Solved | None,
  maker: FaceMaker,
  options: Options,
  writer: Writer,
) -> None:
  """Begins to make and to write some photos' faces."""
  # What compiling took, before pictures take theirs.
  return_freed_memory()
  # What was begun before is written by now, or waited for.
  writer.finish()
  row = 0
  for photo, seen in some:
    places: list[str] = []
    image = photo.image
    if solved is not None and seen.faces and image is not None:
      place = work.place(seen.name)
      places = [f"{place}/face{n + 1}" for n in range(len(seen.faces))]
      for name, found in zip(places, seen.faces, strict=True):
        face = functools.partial(solved.face, row, seen, found, maker)
        about = (work, name, image, maker, options)
        writer.write(
          functools.partial(_write, face, *about),
          functools.partial(_show, *about),
        )
        row += 1
    done = (seen.name, places, seen.reason)
    writer.write(lambda: None, functools.partial(_finish_photo, work, done))
  if _bytes_of(some) > _CHUNK_BYTES:
    # Large photos are not kept in memory beside the next ones.
    writer.finish()


def _write(
  make_face: Callable[[], MadeFace],
  work: Work,
  name: str,
  image: np.ndarray,
  maker: FaceMaker,
  options: Options,
) -> tuple[MadeFace, bytes | None]:
  """Makes a face and writes it; gives its skin, too."""
  face = make_face()
  with work.face_folder(name) as folder:
    skin = write_face(
      folder,
      face,
      image,
      maker,
      outputs=options.outputs,
      formats=options.formats,
      overlay_side=options.overlay_side,
      viewer=options.viewer,
    )
  return face, skin


def _show(
  work: Work,
  name: str,
  image: np.ndarray,
  maker: FaceMaker,
  options: Options,
  written: tuple[MadeFace, bytes | None],
) -> None:
  if options.viewer and work.shows_more():
    face, skin = written
    work.keep_shown(viewer_face(name, face, image, maker, skin))


def _finish_photo(work: Work, row: tuple[str, list[str], str], _: None) -> None:
  work.finish_photo(*row)


def _bytes_of(some: Sequence[tuple[LoosePhoto, Seen]]) -> int:
  return sum(photo.image.nbytes for photo, _ in some if photo.image is not None)
