"""Photographs as people have them: who is in each, and RGB out of any format.

A set is a folder with a folder a person (CASIA-WebFace, LFW, ORL; YTF's with a
numbered folder a video in it), a zip or tar file of such a folder, a RecordIO
file, or a folder of tar shards as WebDataset has them. A photo inside a file is
named `set.zip::ann/1.png`, or `train.rec::17` by its record's key; every path
to a photo may be such a name.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import itertools
import os
import pathlib
from typing import cast

from jaxtyping import UInt8
import numpy as np

from data_prep.files.archives import TarArchive, ZipArchive
from data_prep.files.recordio import RecordFile, read_names
from data_prep.files.tar_shards import has_examples, key_of, read_labels
from data_prep.photos.decoding import MOST_MEGAPIXELS, decode_photo
from data_prep.photos.listing import (
  DEEPER,
  SUFFIXES,
  PassedOver,
  SortedNames,
  is_hidden,
  is_photo,
  names_in,
  natural_key,
  other_files,
  sort_names,
)
from disentangle3d.stores import absolute, as_path
from disentangle3d.types import UserError, UserFileNotFoundError

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


@dataclasses.dataclass(frozen=True)
class PhotoSet:
  """A set as it was found.

  Attributes:
    photos: In natural order (of a compressed tar, in its own).
    passed_over: What else lies there.
  """

  photos: list[Photo]
  passed_over: PassedOver


def list_photos(source: str | os.PathLike[str]) -> list[Photo]:
  """The photos of a set; a line is logged on what is passed over.

  Args:
    source: See `list_set`.

  Raises:
    UserFileNotFoundError: See `list_set`.
    UserError: Same.
  """
  found = list_set(source)
  found.passed_over.tell(source)
  return found.photos


def list_set(source: str | os.PathLike[str]) -> PhotoSet:
  """All photos of a set, and what is no photo by its name or place.

  Args:
    source: A folder that has a folder a person; or a .zip or a .tar (.tar.gz,
      .tgz, .tar.bz2, .tar.xz) of one, where `set.zip::folder` says which of
      the folders in it has them, if several could; or a .rec, or a folder with
      one; or a .tar with labels beside the photos, or a folder of such. A
      person's folder may be a link; one to another person's folder is that
      person.

  Raises:
    UserFileNotFoundError: There is no such folder or file.
    UserError: It holds no photo, or photos that are in nobody's folder, or
      the file is broken; names it.
  """
  path, root = _split(absolute(source))
  if not path.exists():
    raise UserFileNotFoundError(f"{path}: no such file or folder")
  records = sorted(path.glob("*.rec")) if path.is_dir() else [path]
  if len(records) == 1 and records[0].suffix.lower() == ".rec":
    return PhotoSet(_record_photos(records[0]), PassedOver())
  if shards := _tar_shards(path):
    return PhotoSet(
      [photo for shard in shards for photo in _shard_photos(shard)],
      other_files(
        itertools.chain.from_iterable(
          cast(TarArchive, open_archive(shard)).names() for shard in shards
        ),
        known=(".cls", ".json"),
      ),
    )
  if path.is_dir():
    found, prefix = names_in(path), f"{path}/"
  else:
    found, prefix = _names_in_archive(path, root)
  _check_places(found, prefix)
  photos = [
    Photo(as_path(prefix + name), name.split("/")[0], name)
    for name in found.photos
  ]
  return PhotoSet(photos, found.passed_over)


def _check_places(found: SortedNames, prefix: str) -> None:
  where = prefix.rstrip("/:")
  if found.flat:
    raise UserError(
      f"{where}: expected a folder a person, got the photo {found.flat[0]}"
      f" right in it, {len(found.flat)} in all; put them into their people's"
      " folders"
    )
  if found.photos:
    return
  deeper = found.passed_over.names.get(DEEPER)
  if deeper:
    above = "/".join(deeper[0].rstrip("/").split("/")[:-2])
    raise UserError(
      f"{where}: expected a folder a person with photos, got photos in deeper"
      f" folders only, as {deeper[0]}; give the folder with the people's, e.g."
      f" {prefix}{above}"
    )
  counts = found.passed_over.counts()
  others = ", ".join(f"{count} {kind}" for kind, count in counts.items())
  raise UserError(
    f"{where}: expected a folder a person with photos ({', '.join(SUFFIXES)}),"
    f" found none" + f", but {others}" * bool(others)
  )


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


class PhotoFiles(Sequence[UInt8[np.ndarray, "H W 3"]]):
  """Photos by their paths, each read when it is looked at, as `read_photo`.

  So that as many as there are need no memory. There are no slices of them.
  """

  def __init__(
    self,
    paths: Sequence[str | os.PathLike[str]],
    *,
    most_megapixels: float | None = MOST_MEGAPIXELS,
  ) -> None:
    self._paths = paths
    self._most_megapixels = most_megapixels

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(  # type: ignore[override]
    self, place: int
  ) -> UInt8[np.ndarray, "H W 3"]:
    return read_photo(self._paths[place], most_megapixels=self._most_megapixels)


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
    return open_archive(file).read(member)
  try:
    return file.read_bytes()
  except FileNotFoundError as error:
    raise UserFileNotFoundError(f"{path}: no such file") from error


def _split(path: str | os.PathLike[str]) -> tuple[pathlib.Path, str]:
  """The file, and what is named in it (empty for the file itself)."""
  text = os.fspath(path)
  at = text.find(_SEPARATOR)
  while at >= 0:
    if as_path(text[:at]).is_file():
      return as_path(text[:at]), text[at + len(_SEPARATOR) :]
    at = text.find(_SEPARATOR, at + 1)
  return as_path(text), ""


def open_archive(path: pathlib.Path) -> ZipArchive | TarArchive | RecordFile:
  """The archive; indexed once a process, and anew where the file changed.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no archive.
  """
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


def in_archive(path: pathlib.Path, member: str) -> pathlib.Path:
  """The path of a photo in a file, as `read_photo` takes it."""
  return as_path(f"{path}{_SEPARATOR}{member}")


def _tar_shards(path: pathlib.Path) -> list[pathlib.Path]:
  """The tar shards that a set is made of, if it is."""
  if not path.is_dir():
    shards = [path] if path.suffix == ".tar" else []
  else:
    shards = sorted(path.glob("*.tar"))
    if shards and any(place.is_dir() for place in path.iterdir()):
      return []
  if shards and has_examples(cast(TarArchive, open_archive(shards[0])).names()):
    return shards
  return []


def _shard_photos(path: pathlib.Path) -> list[Photo]:
  """The photos of a tar shard that have a label."""
  archive = cast(TarArchive, open_archive(path))
  labels = read_labels(archive)
  photos = []
  for name in filter(is_photo, archive.names()):
    label = labels.get(key_of(name))
    if label is None:
      raise UserError(
        f"{path}::{name}: expected a .cls or a .json with the subject beside"
        " it, found none"
      )
    subject = label["subject"]
    last = f"{path.stem}.{name.replace('/', '_')}"
    image_id = label.get("image_id", f"{subject}/{last}")
    photos.append(Photo(in_archive(path, name), subject, image_id))
  return photos


def _record_photos(path: pathlib.Path) -> list[Photo]:
  labels = RecordFile(path).photo_labels()
  subjects = {key: str(label) for key, label in labels.items()}
  if path.with_suffix(".lst").is_file():
    subjects = read_names(path.with_suffix(".lst"), labels)
  return [
    Photo(in_archive(path, str(key)), subject, f"{subject}/{key}")
    for key, subject in subjects.items()
  ]


def _names_in_archive(path: pathlib.Path, root: str) -> tuple[SortedNames, str]:
  """Files from the folder `root` on, and what to put before their names."""
  archive = cast(ZipArchive | TarArchive, open_archive(path))
  names = [name for name in archive.names() if not is_hidden(name)]
  if not archive.in_order:
    names.sort(key=natural_key)
  photos = filter(is_photo, names)
  root = f"{root.strip('/')}/" if root else _common_root(path, photos)
  inside = [name.removeprefix(root) for name in names if name.startswith(root)]
  odd = [("that are links", name) for name in archive.links]
  return sort_names(inside, odd), f"{path}{_SEPARATOR}{root}"


def _common_root(path: pathlib.Path, names: Iterable[str]) -> str:
  """The one folder of an archive that holds the people's folders."""
  roots = sorted({"/".join(name.split("/")[:-2]) for name in names})
  if len(roots) > 1 and not all(
    f"{root}/".startswith(f"{roots[0]}/") or not roots[0] for root in roots
  ):
    raise UserError(
      f"{path}: expected one folder with a folder a person, got photos in"
      f" several; name one, e.g. {path}{_SEPARATOR}{roots[-1]}"
    )
  return f"{roots[0]}/" if roots and roots[0] else ""
