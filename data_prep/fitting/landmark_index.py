"""Where the landmarks of each subject lie, in files too large to keep.

The files are read once from end to end, and checked; what stays in memory is
a place for each photo. The rows of any subjects are then read from there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from data_prep.faces.pts import PTS_DETECTOR, read_pts
from data_prep.photos.crops import crop_matrix
from data_prep.photos.listing import SUFFIXES, files_in
from data_prep.stages.about import read_licences, read_stages
from data_prep.stages.rows import PhotoRow, list_manifests, parse_row
from disentangle3d.geometry import five_points
from disentangle3d.types import NUM_LANDMARKS, UserError, UserFileNotFoundError


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
  """Where one photo's row lies.

  Attributes:
    subject: Who is in it.
    image_id: Its name.
    ok: Whether its landmarks are there.
    file: Which of `LandmarkIndex.files`; of a .pts file its own number.
    offset: The row's first byte in it.
    line: The row's line, from 1.
  """

  subject: str
  image_id: str
  ok: bool
  file: int
  offset: int
  line: int


@dataclasses.dataclass(frozen=True)
class BadRow:
  """A row that cannot be used.

  Attributes:
    path: The file.
    line: The line, from 1; 0 is the file as a whole.
    problem: What was expected, and what is there.
  """

  path: pathlib.Path
  line: int
  problem: str

  def __str__(self) -> str:
    row = f", row {self.line}" if self.line else ""
    return f"{self.path}{row}: {self.problem}"


@dataclasses.dataclass(frozen=True)
class LandmarkIndex:
  """All photos of a source.

  Attributes:
    files: Manifest shards, or .pts files.
    entries: The photos, in the files' order.
    bad: Rows that cannot be used.
    licences: Terms of what made them, by name.
    sha256: Of all files.
    detectors: What found the landmarks that are there, by name.
    stages: What led to them, from `read_stages`; none for .pts files.
  """

  files: Sequence[pathlib.Path]
  entries: Sequence[Entry]
  bad: Sequence[BadRow]
  licences: dict[str, str]
  sha256: str
  detectors: Set[str]
  stages: Sequence[Mapping[str, Any]] = ()


def index_landmarks(source: pathlib.Path) -> LandmarkIndex:
  """Reads and checks every row.

  Args:
    source: What align_faces wrote, or one manifest shard of it; or a folder
      with a folder a person of iBUG .pts files, where a photo of the same
      name may lie beside each.

  Returns:
    The index; bad rows are in it, not raised.

  Raises:
    UserFileNotFoundError: There is nothing, or a shard is missing.
    UserError: There are shards of two runs, or no .pts file.
  """
  if not source.exists():
    raise UserFileNotFoundError(f"{source}: no such file or folder")
  if source.is_dir() and not any(source.glob("manifest-*.jsonl")):
    return _index_pts(source)
  files = list_manifests(source) if source.is_dir() else [source]
  folder = source if source.is_dir() else source.parent
  digest = hashlib.sha256()
  entries: list[Entry] = []
  bad: list[BadRow] = []
  seen: dict[str, str] = {}
  detectors: set[str] = set()
  for number, path in enumerate(files):
    for line, offset, raw in _lines(path, digest):
      try:
        row = _parse(raw, path.parent)
        if row.image_id in seen:
          raise UserError(
            f"image_id {row.image_id!r} is already in {seen[row.image_id]}"
          )
      except ValueError as error:
        bad.append(BadRow(path, line, str(error)))
        continue
      seen[row.image_id] = f"{path.name}, row {line}"
      if row.status == "ok":
        detectors.add(row.detector)
      entries.append(
        Entry(
          row.subject, row.image_id, row.status == "ok", number, offset, line
        )
      )
  return LandmarkIndex(
    files,
    entries,
    bad,
    read_licences(folder),
    digest.hexdigest(),
    detectors,
    read_stages(folder),
  )


def read_entries(
  index: LandmarkIndex, entries: Iterable[Entry]
) -> list[PhotoRow]:
  """The rows at some places, in the order asked for.

  Raises:
    UserError: A file has changed since it was indexed; names it.
  """
  entries = list(entries)
  rows: dict[Entry, PhotoRow] = {}
  for number in sorted({entry.file for entry in entries}):
    path = index.files[number]
    here = [entry for entry in entries if entry.file == number]
    if path.suffix.lower() == ".pts":
      rows[here[0]] = _pts_row(path, here[0].subject, here[0].image_id)
      continue
    with path.open("rb") as file:
      for entry in sorted(here, key=lambda entry: entry.offset):
        file.seek(entry.offset)
        try:
          row = _parse(file.readline(), path.parent)
        except ValueError as error:
          raise UserError(f"{path}, row {entry.line}: {error}") from error
        if row.image_id != entry.image_id:
          raise UserError(f"{path}: changed while it was being read")
        rows[entry] = row
  return [rows[entry] for entry in entries]


def _lines(
  path: pathlib.Path, digest: "hashlib._Hash"
) -> Iterator[tuple[int, int, bytes]]:
  """Line number, offset and content of each line; hashed on the way."""
  offset = 0
  with path.open("rb") as file:
    for line, raw in enumerate(file, start=1):
      digest.update(raw)
      yield line, offset, raw
      offset += len(raw)


def _parse(raw: bytes, folder: pathlib.Path) -> PhotoRow:
  try:
    text = raw.decode("utf-8")
  except UnicodeDecodeError as error:
    raise UserError(f"expected UTF-8 text, {error.reason}") from error
  return parse_row(text, folder, aligned=True)


def _index_pts(source: pathlib.Path) -> LandmarkIndex:
  files = [path for path in files_in(source) if path.suffix.lower() == ".pts"]
  if not files:
    raise UserError(
      f"{source}: expected manifest-*.jsonl as align_faces writes it, or"
      " folders of .pts files, found neither"
    )
  digest = hashlib.sha256()
  entries: list[Entry] = []
  bad: list[BadRow] = []
  for number, path in enumerate(files):
    parts = path.relative_to(source).parts
    image_id = path.relative_to(source).with_suffix("").as_posix()
    digest.update(json.dumps(image_id).encode())
    digest.update(hashlib.sha256(path.read_bytes()).digest())
    try:
      if len(parts) < 2:
        raise UserError("expected a folder a person, got an unknown subject")
      _pts_row(path, parts[0], image_id)
    except ValueError as error:
      problem = str(error).removeprefix(str(path)).lstrip(":, ")
      bad.append(BadRow(path, 0, problem))
      continue
    entries.append(Entry(parts[0], image_id, True, number, 0, 1))
  return LandmarkIndex(
    files, entries, bad, {}, digest.hexdigest(), {PTS_DETECTOR}
  )


def _pts_row(path: pathlib.Path, subject: str, image_id: str) -> PhotoRow:
  """A row of a .pts file, its crop the five-point one."""
  landmarks = read_pts(path)
  five = np.asarray(five_points(landmarks))
  photos = [path.with_suffix(suffix) for suffix in SUFFIXES]
  return PhotoRow(
    image_path=next((photo for photo in photos if photo.is_file()), path),
    subject=subject,
    image_id=image_id,
    status="ok",
    detector=PTS_DETECTOR,
    box=np.concatenate([landmarks.min(0), landmarks.max(0)]),
    five_points=five,
    landmarks=landmarks,
    visibility=np.ones(NUM_LANDMARKS, np.float32),
    crop_from_photo=crop_matrix(five),
  )
