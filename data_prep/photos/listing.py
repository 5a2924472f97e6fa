"""Which files are photos by their names and places, and what the others are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import importlib.util
import os
import pathlib
import re

from absl import logging

from disentangle3d.stores import StorePath

SUFFIXES = (
  *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm"),
  *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
# Of the extra `heif`.
_HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_VIDEO = re.compile(r"\d{1,2}")
DEEPER = "in deeper folders"
BROKEN_LINK = "broken links"
NO_FILE = "that are no files"
LINKED_FOLDER = "linked folders of people who are there"


@dataclasses.dataclass(frozen=True)
class PassedOver:
  """What is not taken, and a word on it.

  Attributes:
    names: By kind: a suffix, or a phrase like `DEEPER`.
  """

  names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

  def counts(self) -> dict[str, int]:
    """How many of each kind."""
    return {kind: len(names) for kind, names in sorted(self.names.items())}

  def tell(self, where: str | os.PathLike[str]) -> None:
    """Logs a line, if there is anything."""
    if self.names:
      parts = [
        f"{len(names)} {kind} ({names[0]}{_remedy(kind)})"
        for kind, names in sorted(self.names.items())
      ]
      logging.warning("%s: passed over: %s", where, ", ".join(parts))


@dataclasses.dataclass(frozen=True)
class SortedNames:
  """The files of a set by what they are.

  Attributes:
    photos: In people's folders: `ann/1.jpg`, or in their videos',
      `ann/3/3.1.jpg`.
    flat: Photos in nobody's folder.
    passed_over: The others.
  """

  photos: Sequence[str]
  flat: Sequence[str]
  passed_over: PassedOver


def is_photo(name: str) -> bool:
  """Whether a file is a photo that can be decoded here, by its suffix."""
  suffix = os.path.splitext(name)[1].lower()
  return suffix in SUFFIXES or (suffix in _HEIF_SUFFIXES and _reads_heif())


def is_hidden(name: str) -> bool:
  """Whether a file or a folder above it is none of a user's.

  So are those that macOS adds to archives.
  """
  return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def natural_key(name: str) -> list[tuple[int, str]]:
  """Sorts s2 before s10; no two names have one key."""
  # Python reads no number of more than 4,300 digits.
  parts = [
    (int(part), "") if part.isdecimal() else (-1, part)
    for part in re.split(r"(\d{1,1000})", name)
  ]
  return [*parts, (-1, name)]


def kind_of(name: str) -> str:
  """What a file that is no photo is called when it is passed over."""
  return os.path.splitext(name)[1].lower() or "without a suffix"


def sort_names(
  names: Iterable[str], odd: Iterable[tuple[str, str]] = ()
) -> SortedNames:
  """Sorts the files of a set.

  Args:
    names: Relative to the folder that has the people's.
    odd: Kind and name of what is no file.
  """
  photos, flat = [], []
  others: dict[str, list[str]] = {}
  for kind, name in odd:
    others.setdefault(kind, []).append(name)
  for name in names:
    folders = name.split("/")[:-1]
    if is_hidden(name):
      continue
    if not is_photo(name):
      others.setdefault(kind_of(name), []).append(name)
    elif not folders:
      flat.append(name)
    # A folder in a person's folder is none of ours, but for YTF's videos.
    elif len(folders) == 1 or _VIDEO.fullmatch("/".join(folders[1:])):
      photos.append(name)
    else:
      others.setdefault(DEEPER, []).append(name)
  return SortedNames(photos, flat, PassedOver(others))


def names_in(folder: pathlib.Path) -> SortedNames:
  """The files of a folder, and of all folders in it, in natural order."""
  if isinstance(folder, StorePath):
    return sort_names(sorted(folder.names(), key=natural_key))
  odd: list[tuple[str, str]] = []
  return sort_names(list(_walk(folder, "", odd)), odd)


def files_in(folder: pathlib.Path) -> list[pathlib.Path]:
  """All files of a folder, those in linked folders among them."""
  if isinstance(folder, StorePath):
    return sorted(folder / name for name in folder.names())
  return sorted(folder / name for name in _walk(folder, "", []))


def other_files(names: Iterable[str], known: tuple[str, ...]) -> PassedOver:
  """The files that are neither photos nor end as `known` ones do."""
  others: dict[str, list[str]] = {}
  for name in names:
    if not (is_hidden(name) or is_photo(name) or name.endswith(known)):
      others.setdefault(kind_of(name), []).append(name)
  return PassedOver(others)


def _walk(
  folder: pathlib.Path, place: str, odd: list[tuple[str, str]]
) -> Iterator[str]:
  """Names of files, folder after folder; what is no file goes to `odd`."""
  entries = [e for e in os.scandir(folder / place) if not is_hidden(e.name)]
  entries.sort(key=lambda entry: natural_key(entry.name))
  for entry in entries:
    if entry.is_file():
      yield place + entry.name
    elif not entry.is_dir():
      kind = BROKEN_LINK if entry.is_symlink() else NO_FILE
      odd.append((kind, place + entry.name))
  for entry in _folders(entries, place, odd):
    yield from _walk(folder, f"{place}{entry.name}/", odd)


def _folders(
  entries: Sequence[os.DirEntry[str]], place: str, odd: list[tuple[str, str]]
) -> list[os.DirEntry[str]]:
  """Those to go on in: each once, whatever links there are to it."""
  folders = [entry for entry in entries if entry.is_dir()]
  owner: dict[tuple[int, int], os.DirEntry[str]] = {}
  for entry in sorted(folders, key=lambda entry: entry.is_symlink()):
    owner.setdefault((entry.stat().st_dev, entry.stat().st_ino), entry)
  kept = []
  for entry in folders:
    other = owner[entry.stat().st_dev, entry.stat().st_ino]
    # What no photo is taken from is only looked at to be counted.
    deep = "/" in place.rstrip("/") or (
      place and not _VIDEO.fullmatch(entry.name)
    )
    if entry.is_symlink() and _leads_back(entry):
      odd.append(("links that lead back up", f"{place}{entry.name}"))
    elif other is not entry:
      odd.append((LINKED_FOLDER, f"{place}{entry.name} is {other.name}"))
    elif entry.is_symlink() and deep:
      odd.append((DEEPER, f"{place}{entry.name}/"))
    else:
      kept.append(entry)
  return kept


def _leads_back(entry: os.DirEntry[str]) -> bool:
  """Whether a linked folder holds the link itself."""
  here = pathlib.Path(entry.path).parent.resolve()
  return here.is_relative_to(pathlib.Path(entry.path).resolve())


def _remedy(kind: str) -> str:
  if kind in _HEIF_SUFFIXES:
    return "; pip install 'disentangle3d[heif]' reads them"
  return ""


def _reads_heif() -> bool:
  return importlib.util.find_spec("pillow_heif") is not None
