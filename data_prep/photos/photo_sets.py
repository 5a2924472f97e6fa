"""Photographs as people have them: who is in each, and RGB out of any format.

A set is a folder with a folder a person (CASIA-WebFace, LFW, ORL; YTF's with a
numbered folder a video in it), a zip or tar file of such a folder, or a
RecordIO file. A photo inside a file is named `set.zip::ann/1.png`, or
`train.rec::17` by its record's key; every path to a photo may be such a name.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
import os
import pathlib
import re
from typing import cast

from jaxtyping import UInt8
import numpy as np

from data_prep.files.archives import TarArchive, ZipArchive
from data_prep.files.recordio import RecordFile, read_names
from data_prep.photos.decoding import MOST_MEGAPIXELS, decode_photo
from disentangle3d.types import UserError, UserFileNotFoundError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
_SEPARATOR = "::"
_ARCHIVES: Mapping[
  str, type[ZipArchive] | type[TarArchive] | type[RecordFile]
] = {
  ".zip": ZipArchive,
  ".rec": RecordFile,
  ".tar": TarArchive,
  ".tgz": TarArchive,
  ".gz": TarArchive,
  ".bz2": TarArchive,
  ".xz": TarArchive,
}
_VIDEO = re.compile(r"\d{1,2}")


@dataclasses.dataclass(frozen=True, slots=True)
class Photo:
  """One photo of a set.

  Attributes:
    path: For `read_photo`; as in `PhotoRow.image_path`.
    subject: Who is in it.
    image_id: Names it in the set: subject, perhaps video, and file or key.
  """

  path: pathlib.Path
  subject: str
  image_id: str


def list_photos(source: str | os.PathLike[str]) -> list[Photo]:
  """All photos of a set, in natural order (of a compressed tar, in its own).

  Args:
    source: A folder that has a folder a person; or a .zip or a .tar (.tar.gz,
      .tgz, .tar.bz2, .tar.xz) of one, where `set.zip::folder` says which of
      the folders in it has them, if several could; or a .rec, or a folder with
      one. Files that are no photos by their suffix are passed over.

  Returns:
    The photos.

  Raises:
    UserFileNotFoundError: There is no such folder or file.
    UserError: It holds no photo, or photos that are in nobody's folder, or
      the file is broken; names it.
  """
  path, root = _split(os.path.abspath(source))
  if not path.exists():
    raise UserFileNotFoundError(f"{path}: no such folder")
  records = sorted(path.glob("*.rec")) if path.is_dir() else [path]
  if len(records) == 1 and records[0].suffix.lower() == ".rec":
    return _record_photos(records[0])
  if path.is_dir():
    names, prefix = _names_in(path), f"{path}/"
  else:
    names, prefix = _names_in_archive(path, root)
  photos = []
  for name in names:
    folders = name.split("/")[:-1]
    if not folders:
      raise UserError(
        f"{path}: expected a folder a person, got the photo {name} right in it"
      )
    # A folder in a person's folder is none of ours, but for YTF's videos.
    if len(folders) == 1 or _VIDEO.fullmatch("/".join(folders[1:])):
      found = pathlib.Path(prefix + name)
      photos.append(Photo(found, folders[0], name))
  if not photos:
    raise UserError(
      f"{path}: expected a folder a person with photos"
      f" ({', '.join(SUFFIXES)}), found none"
    )
  return photos


def read_photo(
  path: str | os.PathLike[str],
  *,
  most_megapixels: float | None = MOST_MEGAPIXELS,
) -> UInt8[np.ndarray, "H W 3"]:
  """Reads a photo as `decode_photo` decodes it.

  Args:
    path: A file, or a photo in one: `set.zip::ann/1.png`, `train.rec::17`.
    most_megapixels: A larger photo is refused; None takes any.

  Returns:
    RGB, upright, `[H, W, 3]`.

  Raises:
    UserFileNotFoundError: There is no such file, or no such photo in it.
    UserError: It is no image, is cut off or too large; starts with `path` and
      the kind of problem.
  """
  content = read_encoded(path)
  return decode_photo(content, path, most_megapixels=most_megapixels).image


def read_encoded(path: str | os.PathLike[str]) -> bytes:
  """A photo's bytes as they are stored, e.g. JPEG.

  Args:
    path: As for `read_photo`.

  Raises:
    UserFileNotFoundError: There is no such file, or no such photo in it.
    UserError: The file around it is broken; names it.
  """
  file, member = _split(path)
  if member:
    return _opened(file).read(member)
  try:
    return file.read_bytes()
  except FileNotFoundError as error:
    raise UserFileNotFoundError(f"{path}: no such file") from error


def natural_key(name: str) -> list[tuple[int, str]]:
  """Sorts s2 before s10."""
  return [
    (int(part), "") if part.isdecimal() else (-1, part)
    for part in re.split(r"(\d+)", name)
  ]


def _split(path: str | os.PathLike[str]) -> tuple[pathlib.Path, str]:
  """The file, and what is named in it (empty for the file itself)."""
  text = os.fspath(path)
  at = text.find(_SEPARATOR)
  while at >= 0:
    if os.path.isfile(text[:at]):
      return pathlib.Path(text[:at]), text[at + len(_SEPARATOR) :]
    at = text.find(_SEPARATOR, at + 1)
  return pathlib.Path(text), ""


def _opened(path: pathlib.Path) -> ZipArchive | TarArchive | RecordFile:
  """The archive; indexed once a process, and anew where the file changed."""
  status = path.stat()
  return _index(path, status.st_mtime_ns, status.st_size, os.getpid())


@functools.lru_cache(maxsize=4)
def _index(
  path: pathlib.Path, *state: int
) -> ZipArchive | TarArchive | RecordFile:
  kind = _ARCHIVES.get(path.suffix.lower())
  if kind is None:
    raise UserError(
      f"{path}: expected a folder, or a file ending in"
      f" {', '.join(sorted(_ARCHIVES))}"
    )
  return kind(path)


def _record_photos(path: pathlib.Path) -> list[Photo]:
  labels = RecordFile(path).photo_labels()
  subjects = {key: str(label) for key, label in labels.items()}
  if path.with_suffix(".lst").is_file():
    subjects = read_names(path.with_suffix(".lst"), labels)
  return [
    Photo(pathlib.Path(f"{path}{_SEPARATOR}{key}"), subject, f"{subject}/{key}")
    for key, subject in subjects.items()
  ]


def _names_in(folder: pathlib.Path) -> list[str]:
  """Photos right in a folder, in its people's folders, and in their videos'."""
  names = _photos_in(folder)
  for person in _folders_in(folder):
    names += [f"{person}/{name}" for name in _photos_in(folder / person)]
    for video in filter(_VIDEO.fullmatch, _folders_in(folder / person)):
      place = f"{person}/{video}"
      names += [f"{place}/{name}" for name in _photos_in(folder / place)]
  return names


def _photos_in(folder: pathlib.Path) -> list[str]:
  names = [
    entry.name
    for entry in os.scandir(folder)
    if _is_photo(entry.name) and entry.is_file()
  ]
  return sorted(names, key=natural_key)


def _folders_in(folder: pathlib.Path) -> list[str]:
  names = [
    entry.name
    for entry in os.scandir(folder)
    if entry.is_dir() and not entry.name.startswith(".")
  ]
  return sorted(names, key=natural_key)


def _is_photo(name: str) -> bool:
  """Judged by the suffix; what macOS adds to archives is none."""
  return name.lower().endswith(SUFFIXES) and not any(
    part.startswith((".", "__MACOSX")) for part in name.split("/")
  )


def _names_in_archive(path: pathlib.Path, root: str) -> tuple[list[str], str]:
  """Photos from the folder `root` on, and what to put before their names."""
  archive = cast(ZipArchive | TarArchive, _opened(path))
  names = [name for name in archive.names() if _is_photo(name)]
  if not archive.in_order:
    names.sort(key=natural_key)
  root = f"{root.strip('/')}/" if root else _common_root(path, names)
  inside = [name.removeprefix(root) for name in names if name.startswith(root)]
  return inside, f"{path}{_SEPARATOR}{root}"


def _common_root(path: pathlib.Path, names: Iterable[str]) -> str:
  """The one folder of an archive that holds the people's folders."""
  roots = sorted({"/".join(name.split("/")[:-2]) for name in names})
  if len(roots) > 1:
    raise UserError(
      f"{path}: expected one folder with a folder a person, got photos in"
      f" several; name one, e.g. {path}{_SEPARATOR}{roots[-1]}"
    )
  return f"{roots[0]}/" if roots and roots[0] else ""
