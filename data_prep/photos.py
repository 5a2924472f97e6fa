"""Photographs on disk: a folder a person, and RGB arrays out of any format."""

from collections.abc import Iterable
import os
import pathlib
import re

import cv2
from jaxtyping import UInt8
import numpy as np

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")


def list_photos(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """All photos of a folder that has a folder a person, in natural order.

  Args:
    folder: E.g. of CASIA-WebFace, LFW or ORL. Other files are passed over.

  Returns:
    The photos; the name of a photo's folder is its subject.

  Raises:
    FileNotFoundError: There is no such folder.
    ValueError: It holds no photo, or photos that are in nobody's folder.
  """
  folder = pathlib.Path(os.path.abspath(folder))
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder}: no such folder")
  loose = _photos_in(folder)
  if loose:
    raise ValueError(
      f"{folder}: expected a folder a person, got the photo {loose[0].name}"
      " right in it"
    )
  photos = [
    photo
    for person in sorted(
      folder.iterdir(), key=lambda path: natural_key(path.name)
    )
    if person.is_dir() and not person.name.startswith(".")
    for photo in _photos_in(person)
  ]
  if not photos:
    raise ValueError(
      f"{folder}: expected a folder a person with photos"
      f" ({', '.join(SUFFIXES)}), found none"
    )
  return photos


def read_photo(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "H W 3"]:
  """Reads a photo, grey or colour, upright as its EXIF tag says.

  Returns:
    RGB, `[H, W, 3]`.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It is no image that OpenCV can read.
  """
  content = pathlib.Path(path).read_bytes()
  image = None
  if content:
    try:
      image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
      raise ValueError(f"{path}: cannot be read as an image") from error
  if image is None:
    raise ValueError(f"{path}: cannot be read as an image")
  return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def natural_key(name: str) -> list[tuple[int, str]]:
  """Sorts s2 before s10."""
  return [
    (int(part), "") if part.isdecimal() else (-1, part)
    for part in re.split(r"(\d+)", name)
  ]


def _photos_in(folder: pathlib.Path) -> list[pathlib.Path]:
  return _sorted(
    path
    for path in folder.iterdir()
    if path.suffix.lower() in SUFFIXES
    and not path.name.startswith(".")
    and path.is_file()
  )


def _sorted(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  return sorted(paths, key=lambda path: natural_key(path.name))
