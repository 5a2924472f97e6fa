"""Photos given by name, pattern, folder or video, one after another.

Unlike a set (`photo_sets.py`) nobody's folders are expected. What is odd about
a photo is told beside its pixels; a photo that cannot be read is told of, too,
and the rest goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import glob
import os
import pathlib

import cv2
from jaxtyping import UInt8
import numpy as np

from data_prep.photos.decoding import MOST_MEGAPIXELS, decode_photo
from data_prep.photos.listing import (
  BROKEN_LINK,
  NO_FILE,
  PassedOver,
  is_hidden,
  is_photo,
  kind_of,
  natural_key,
)
from data_prep.photos.photo_sets import read_encoded
from disentangle3d.output_files import readable
from disentangle3d.types import UserFileNotFoundError

_VIDEO_SUFFIXES = (
  *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov"),
  *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv"),
)
# A container's number of frames may be its length by its rate.
_FRAMES_TOLERATED = 0.02
_FOLDERS = "folders"


@dataclasses.dataclass(frozen=True, eq=False)
class LoosePhoto:
  """One photo or frame.

  Attributes:
    name: Its path, with `::<frame>` after it for a frame of a video.
    image: RGB, `[H, W, 3]`; None where there is none.
    notes: What was odd and how it was handled.
    reason: Why there is no image; empty if there is one.
  """

  name: str
  image: UInt8[np.ndarray, "H W 3"] | None
  notes: tuple[str, ...] = ()
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class LooseFiles:
  """What names, patterns and folders stand for.

  Attributes:
    files: Photos and videos, each once, in the order given.
    passed_over: What else is in folders and patterns, by their names.
  """

  files: list[pathlib.Path]
  passed_over: Mapping[str, PassedOver]


def list_files(patterns: Sequence[str]) -> LooseFiles:
  """The photos and videos that names, patterns and folders stand for.

  Args:
    patterns: Files, patterns (`*.jpg`, `**` for any depth), or folders, whose
      photos and videos are taken in natural order (1, 2, 10); a line is logged
      on what else is there.

  Raises:
    UserFileNotFoundError: A pattern stands for nothing.
  """
  found: dict[pathlib.Path, None] = {}
  others: dict[str, PassedOver] = {}
  for pattern in patterns:
    path = pathlib.Path(pattern)
    if path.is_dir():
      names, passed_over = _known(path)
    elif path.is_file():
      names, passed_over = [path], PassedOver()
    else:
      names, passed_over = _matches(os.path.expanduser(pattern))
    if passed_over.names:
      others[pattern] = passed_over
      passed_over.tell(pattern)
    if not names:
      raise UserFileNotFoundError(
        f"--photos: expected photos or a video, got {pattern!r}, which stands"
        " for none"
      )
    for name in sorted(names, key=lambda name: natural_key(str(name))):
      found[name] = None
  return LooseFiles(list(found), others)


def read_photos(
  files: Sequence[pathlib.Path],
  *,
  every: int = 1,
  most_megapixels: float | None = MOST_MEGAPIXELS,
  start: int = 0,
) -> Iterator[LoosePhoto]:
  """Reads files one after another.

  Args:
    files: From `list_files`.
    every: Of a video every so many-th frame.
    most_megapixels: As for `decode_photo`.
    start: So many photos and frames are passed over.

  Yields:
    The photos, unreadable ones with their reason.
  """
  number = 0
  for path in files:
    if path.suffix.lower() in _VIDEO_SUFFIXES:
      for photo in _frames(path, every):
        if number >= start:
          yield photo
        number += 1
    else:
      if number >= start:
        yield read_loose_photo(path, most_megapixels=most_megapixels)
      number += 1


def read_loose_photo(
  path: str | os.PathLike[str],
  *,
  most_megapixels: float | None = MOST_MEGAPIXELS,
) -> LoosePhoto:
  """One photo, or why it cannot be read.

  Args:
    path: A file, or a photo in one (`set.zip::ann/1.png`).
    most_megapixels: As for `decode_photo`.

  Returns:
    The photo, as `decode_photo` decodes it.
  """
  try:
    photo = decode_photo(
      read_encoded(path), path, most_megapixels=most_megapixels
    )
  except (ValueError, OSError) as error:
    return LoosePhoto(
      str(path), None, reason=str(error).removeprefix(f"{path}: ")
    )
  return LoosePhoto(str(path), photo.image, photo.notes)


def _known(folder: pathlib.Path) -> tuple[list[pathlib.Path], PassedOver]:
  """The photos and videos of a folder, and what else is in it."""
  paths = [path for path in folder.iterdir() if not is_hidden(path.name)]
  files, others = _files_of(sorted(paths))
  known = []
  for path in files:
    if is_photo(path.name) or path.suffix.lower() in _VIDEO_SUFFIXES:
      known.append(path)
    else:
      others.setdefault(kind_of(path.name), []).append(path.name)
  return known, PassedOver(others)


def _matches(pattern: str) -> tuple[list[pathlib.Path], PassedOver]:
  """The files of a pattern, whatever they are, and what is no file."""
  matches = sorted(glob.glob(pattern, recursive=True))
  files, others = _files_of([pathlib.Path(match) for match in matches])
  # Patterns for any depth are meant to go through folders.
  if "**" in pattern:
    others.pop(_FOLDERS, None)
  return files, PassedOver(others)


def _files_of(
  paths: Sequence[pathlib.Path],
) -> tuple[list[pathlib.Path], dict[str, list[str]]]:
  """Files, and the names of what is none, by kind."""
  files: list[pathlib.Path] = []
  others: dict[str, list[str]] = {}
  for path in paths:
    if path.is_file():
      files.append(path)
    else:
      kind = _FOLDERS if path.is_dir() else NO_FILE
      kind = kind if path.exists() else BROKEN_LINK
      others.setdefault(kind, []).append(path.name)
  return files, others


def _frames(path: pathlib.Path, every: int) -> Iterator[LoosePhoto]:
  if readable(str(path)) != str(path):
    # FFmpeg would end the process.
    reason = "a video whose path is no UTF-8 cannot be read; rename it"
    yield LoosePhoto(str(path), None, reason=reason)
    return
  video = cv2.VideoCapture(str(path))
  promised = video.get(cv2.CAP_PROP_FRAME_COUNT)
  number = broken = 0
  try:
    while video.grab():
      if number % every == 0:
        whole, frame = video.retrieve()
        # Of some damage OpenCV says that all is well, and gives no pixel.
        whole = whole and frame is not None and frame.size > 0
        broken += not whole
        if whole:
          image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
          yield LoosePhoto(f"{path}::{number}", image)
      number += 1
  finally:
    video.release()
  if not number:
    yield LoosePhoto(str(path), None, reason="cannot be read as a video")
    return
  missing = promised - number
  if missing <= max(1, _FRAMES_TOLERATED * promised):
    missing = 0
  if lost := round(missing) + broken:
    reason = (
      f"the video is cut off or damaged: {lost} of its"
      f" {max(number, round(promised))} frames cannot be read"
    )
    yield LoosePhoto(str(path), None, reason=reason)
