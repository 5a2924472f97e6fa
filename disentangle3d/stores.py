"""Paths on a disk and in object stores, used alike.

`as_path` makes the one or the other out of a text: `runs/x` is a
`pathlib.Path`, `gs://bucket/x`, `s3://bucket/x` or `memory://x` a `StorePath`,
which does what stages do with paths, over fsspec. A store has no folders, no
renames and no locks: a folder is there as soon as something is in it, and a
file is there whole once its upload ends, which is the commit that on a disk is
a rename.
"""

from collections.abc import Iterator, Sequence
import fnmatch
import functools
import io
import os
import pathlib
import posixpath
import re
from typing import IO, Any, cast

from disentangle3d.types import UserError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")
# What is read at a time where nobody says how much: an archive's directory, a
# member of it.
_BLOCK_BYTES = 1 << 18
_MODULES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "abfs": "adlfs"}


def as_path(text: str | os.PathLike[str]) -> pathlib.Path:
  """A path on a disk, or in a store if the text is a URL.

  Args:
    text: A path, or what `str` says of one.

  Returns:
    A `pathlib.Path`, or a `StorePath`, which does the same.
  """
  if isinstance(text, (pathlib.Path, StorePath)):
    return cast(pathlib.Path, text)
  text = os.fspath(text)
  if _SCHEME.match(text):
    return cast(pathlib.Path, StorePath(text))
  return pathlib.Path(text)


def in_store(path: str | os.PathLike[str]) -> bool:
  """Whether a path is a store's."""
  return _SCHEME.match(os.fspath(path)) is not None


def absolute(path: str | os.PathLike[str]) -> pathlib.Path:
  """The whole path, without `..`."""
  if not in_store(path):
    return pathlib.Path(os.path.abspath(path))
  scheme, _, rest = os.fspath(path).partition("://")
  # A store may have one that means something.
  start, _, tail = rest.partition("/")
  tail = posixpath.normpath(f"/{tail}").lstrip("/")
  return as_path(
    f"{scheme}://{start}/{tail}" if tail else f"{scheme}://{start}"
  )


def relative(
  path: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> str:
  """A path as seen from a folder; whole, where it is in another store."""
  here, there = os.fspath(absolute(folder)), os.fspath(absolute(path))
  if not in_store(here) and not in_store(there):
    return pathlib.Path(os.path.relpath(there, here)).as_posix()
  if _root(here) != _root(there):
    return there
  return posixpath.relpath(_inside(there), _inside(here))


def joined(folder: str | os.PathLike[str], place: str) -> pathlib.Path:
  """What `relative` says of a path, seen from a folder, as a path again."""
  if in_store(place) or os.path.isabs(place):
    return absolute(place)
  return absolute(as_path(folder) / place)


def _root(text: str) -> str:
  """Store and bucket; nothing for a disk."""
  if not in_store(text):
    return ""
  scheme, _, rest = text.partition("://")
  return f"{scheme}://{rest.partition('/')[0]}"


def _inside(text: str) -> str:
  return "/" + text[len(_root(text)) :].lstrip("/")


def read_range(path: pathlib.Path, start: int, size: int) -> bytes:
  """Some bytes of a file, of a store's by one request for them alone."""
  (content,) = read_ranges(path, [(start, size)])
  return content


def read_ranges(
  path: pathlib.Path, ranges: Sequence[tuple[int, int]]
) -> list[bytes]:
  """Same of many parts, start and size of each; a store's come side by side."""
  if isinstance(path, StorePath):
    return path.ranges([(start, start + size) for start, size in ranges])
  contents = []
  with path.open("rb") as file:
    for start, size in ranges:
      file.seek(start)
      contents.append(file.read(size))
  return contents


def download(path: pathlib.Path, file: pathlib.Path) -> None:
  """Copies a file of a store to one of the disk."""
  _file_system(os.fspath(path).partition("://")[0]).get_file(
    os.fspath(path), str(file)
  )


@functools.cache
def _file_system(scheme: str) -> Any:
  try:
    import fsspec

    # Other machines write there, too, so nothing is remembered.
    return fsspec.filesystem(scheme, use_listings_cache=False)
  except (ImportError, ValueError) as error:
    needed = _MODULES.get(scheme, "fsspec")
    raise UserError(
      f"{scheme}://: expected a store that fsspec knows, with its package"
      f" installed (pip install {needed}) ({error})"
    ) from error


@functools.total_ordering
class StorePath:
  """A file or folder of an object store; the part of `pathlib.Path` in use."""

  def __init__(self, url: str):
    scheme, _, rest = url.partition("://")
    self._scheme, self._key = scheme, rest.rstrip("/")

  def __fspath__(self) -> str:
    return f"{self._scheme}://{self._key}"

  __str__ = __fspath__

  def __repr__(self) -> str:
    return f"StorePath({str(self)!r})"

  def __eq__(self, other: object) -> bool:
    return isinstance(other, StorePath) and str(self) == str(other)

  def __lt__(self, other: "StorePath") -> bool:
    return str(self) < str(other)

  def __hash__(self) -> int:
    return hash(str(self))

  def __truediv__(self, name: str | os.PathLike[str]) -> "StorePath":
    return StorePath(f"{self}/{os.fspath(name)}")

  @property
  def _store(self) -> Any:
    return _file_system(self._scheme)

  @property
  def name(self) -> str:
    """The last part."""
    return posixpath.basename(self._key)

  @property
  def stem(self) -> str:
    """The last part without its suffix."""
    return posixpath.splitext(self.name)[0]

  @property
  def suffix(self) -> str:
    """The end of the last part, from its last dot."""
    return posixpath.splitext(self.name)[1]

  @property
  def parent(self) -> "StorePath":
    """The folder that it is in."""
    return StorePath(f"{self._scheme}://{posixpath.dirname(self._key)}")

  def with_name(self, name: str) -> "StorePath":
    """Another file of the same folder."""
    return self.parent / name

  def with_suffix(self, suffix: str) -> "StorePath":
    """The file of the same name with another suffix."""
    return self.with_name(self.stem + suffix)

  def exists(self) -> bool:
    """Whether there is a file, or something in the folder."""
    return bool(self._store.exists(str(self)))

  def is_file(self) -> bool:
    """Whether there is a file."""
    return bool(self._store.isfile(str(self)))

  def is_dir(self) -> bool:
    """Whether there is something in the folder."""
    return bool(self._store.isdir(str(self)))

  def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
    """Does nothing: a store makes its folders."""

  def iterdir(self) -> Iterator["StorePath"]:
    """What is in the folder; nothing where there is none."""
    try:
      found = self._store.ls(str(self), detail=False)
    except FileNotFoundError:
      return
    for key in sorted(found):
      yield self / posixpath.basename(key.rstrip("/"))

  def glob(self, pattern: str) -> Iterator["StorePath"]:
    """What is in the folder under such a name; of `**/` what is below."""
    if pattern.startswith("**/"):
      names = [(name, posixpath.basename(name)) for name in self.names()]
      wanted = pattern.removeprefix("**/")
    else:
      names = [(path.name, path.name) for path in self.iterdir()]
      wanted = pattern
    for name, last in names:
      if fnmatch.fnmatchcase(last, wanted):
        yield self / name

  def names(self) -> list[str]:
    """All files below, as seen from here."""
    store = self._store
    root = store._strip_protocol(str(self)).rstrip("/")
    return sorted(key[len(root) :].lstrip("/") for key in store.find(root))

  def stat(self) -> os.stat_result:
    """Size, and for the time what changes with the content."""
    about = self._store.info(str(self))
    changed = int(self._store.ukey(str(self)), 16) % (1 << 48)
    values = [0] * 6 + [int(about["size"] or 0), changed, changed, changed]
    return os.stat_result(values, {"st_mtime_ns": changed})

  def open(self, mode: str = "r", encoding: str | None = None) -> IO[Any]:
    """The file; what is not there is an error of the system, named."""
    if "r" in mode and not self.is_file():
      raise FileNotFoundError(2, "No such file or directory", str(self))
    binary = self._store.open(
      str(self),
      mode.replace("t", "").rstrip("b") + "b",
      block_size=_BLOCK_BYTES,
    )
    if "b" in mode:
      return cast(IO[Any], binary)
    return io.TextIOWrapper(binary, encoding=encoding or "utf-8")

  def ranges(self, parts: Sequence[tuple[int, int]]) -> list[bytes]:
    """Some of the file's bytes, from each start to its stop."""
    # A store refuses to send nothing.
    asked = [(start, stop) for start, stop in parts if stop > start]
    starts, stops = [one for one, _ in asked], [one for _, one in asked]
    paths = [str(self)] * len(asked)
    found = iter(self._store.cat_ranges(paths, starts, stops, on_error="raise"))
    return [
      bytes(next(found)) if stop > start else b"" for start, stop in parts
    ]

  def read_bytes(self) -> bytes:
    """All of the file."""
    try:
      return bytes(self._store.cat_file(str(self)))
    except FileNotFoundError as error:
      raise FileNotFoundError(
        2, "No such file or directory", str(self)
      ) from error

  def read_text(self, encoding: str = "utf-8") -> str:
    """All of the file as text."""
    return self.read_bytes().decode(encoding)

  def write_bytes(self, content: bytes) -> int:
    """Makes or replaces the file, whole."""
    self._store.pipe_file(str(self), content)
    return len(content)

  def unlink(self, missing_ok: bool = False) -> None:
    """Removes the file."""
    if not missing_ok or self.is_file():
      self._store.rm_file(str(self))

  def upload(self, file: pathlib.Path) -> None:
    """Makes or replaces it by a file of the disk, whole."""
    self._store.put_file(str(file), str(self))
