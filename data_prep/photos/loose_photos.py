"""Photos given by name, pattern, folder or video, one after another.

Unlike a set (`photos.py`) nobody's folders are expected. What is odd about a
photo is told beside its pixels; a photo that cannot be read is told of, too,
and the rest goes on.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import glob
import os
import pathlib

import cv2
from jaxtyping import UInt8
import numpy as np

from data_prep.photos.photo_sets import (
  SUFFIXES,
  decode_photo,
  natural_key,
  read_encoded,
)
from disentangle3d.types import UserFileNotFoundError

_VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


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


def list_files(patterns: Sequence[str]) -> list[pathlib.Path]:
  """The photos and videos that names, patterns and folders stand for.

  Args:
    patterns: Files, patterns (`*.jpg`, `**` for any depth), or folders, whose
      photos and videos are taken in natural order (1, 2, 10).

  Returns:
    Files, each once, in the order given.

  Raises:
    UserFileNotFoundError: A pattern stands for nothing.
  """
  found: dict[pathlib.Path, None] = {}
  for pattern in patterns:
    path = pathlib.Path(pattern)
    if path.is_dir():
      names = [entry for entry in path.iterdir() if _is_known(entry)]
    elif path.is_file():
      names = [path]
    else:
      matches = glob.glob(os.path.expanduser(pattern), recursive=True)
      names = [pathlib.Path(m) for m in matches if os.path.isfile(m)]
    if not names:
      raise UserFileNotFoundError(
        f"--photos: expected photos or a video, got {pattern!r}, which stands"
        " for none"
      )
    for name in sorted(names, key=lambda name: natural_key(str(name))):
      found[name] = None
  return list(found)


def read_photos(
  files: Sequence[pathlib.Path], *, every: int = 1
) -> Iterator[LoosePhoto]:
  """Reads files one after another.

  Args:
    files: From `list_files`.
    every: Of a video every so many-th frame.

  Yields:
    The photos, unreadable ones with their reason.
  """
  for path in files:
    if path.suffix.lower() in _VIDEO_SUFFIXES:
      yield from _frames(path, every)
    else:
      yield read_loose_photo(path)


def read_loose_photo(path: str | os.PathLike[str]) -> LoosePhoto:
  """One photo, or why it cannot be read.

  Args:
    path: A file, or a photo in one (`set.zip::ann/1.png`).

  Returns:
    The photo, upright, what is transparent in it laid over white.
  """
  try:
    content = read_encoded(path)
    image = decode_photo(content, path)
  except (ValueError, OSError) as error:
    return LoosePhoto(
      str(path), None, reason=str(error).removeprefix(f"{path}: ")
    )
  stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
  notes = []
  if stored is not None:
    if stored.dtype == np.uint16:
      notes.append("16 bits a channel, reduced to 8")
    if stored.ndim == 2:
      notes.append("a grey photo, read as RGB")
    if stored.ndim == 3 and stored.shape[2] == 4:
      image, told = _over_white(image, stored[..., 3])
      notes += told
  return LoosePhoto(str(path), image, tuple(notes))


def _is_known(path: pathlib.Path) -> bool:
  known = path.suffix.lower() in (*SUFFIXES, *_VIDEO_SUFFIXES)
  return known and path.is_file() and not path.name.startswith(".")


def _over_white(
  image: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, list[str]]:
  """The photo with its transparent part white, and what to say of it."""
  share = alpha / np.float32(np.iinfo(alpha.dtype).max)
  if share.shape != image.shape[:2]:
    return image, ["an alpha channel, passed over"]
  if share.min() == 1:
    return image, ["an alpha channel, opaque"]
  share = share[..., None]
  laid = np.round(share * image + (1 - share) * 255).astype(np.uint8)
  return laid, ["an alpha channel, laid over white"]


def _frames(path: pathlib.Path, every: int) -> Iterator[LoosePhoto]:
  video = cv2.VideoCapture(str(path))
  number = 0
  try:
    while video.grab():
      if number % every == 0:
        whole, frame = video.retrieve()
        if whole:
          image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
          yield LoosePhoto(f"{path}::{number}", image)
      number += 1
  finally:
    video.release()
  if not number:
    yield LoosePhoto(str(path), None, reason="cannot be read as a video")
