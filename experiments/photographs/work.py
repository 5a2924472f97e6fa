"""What a run has done so far, in its output folder, so that it can go on."""

from collections.abc import Iterator, Mapping
import contextlib
import json
import pathlib
import re
import shutil
from typing import Any

import numpy as np

from disentangle3d.folder_use import is_mark, sole_use
from disentangle3d.output_files import new_folder, replace_file, replace_npz
from disentangle3d.reporting.viewer import ViewerFace
from disentangle3d.types import UserError
from experiments.photographs.lines import Lines, SeenPhotos

RESULTS, VIEWER = "results.json", "viewer.html"
_FOLDER, _SETTINGS = ".work", "settings.json"
# A face takes half a megabyte of the page.
_MOST_SHOWN = 24


class Work:
  """The output folder of a run while it is written.

  Attributes:
    rows: What results.json says of each finished photo, in their order.
    seen: The photos that were looked at beforehand, in their order.
  """

  def __init__(self, output: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Takes up what is there; `open_work` makes it."""
    self._output, self._settings = output, settings
    self._folder = output / _FOLDER
    self._rows = Lines(self._folder / "rows.jsonl")
    self.rows = list(self._rows.read(0, len(self._rows)))
    self.seen = SeenPhotos(self._folder / "seen.jsonl")
    self._taken = {
      place.partition("/")[0] for row in self.rows for place in row["faces"]
    }

  def place(self, photo: str) -> str:
    """A folder of its own for a photo with faces; on the disk there is none."""
    place = folder_name(photo, self._taken)
    self._taken.add(place)
    # What a killed run had begun.
    shutil.rmtree(self._output / place, ignore_errors=True)
    return place

  def face_folder(
    self, place: str
  ) -> contextlib.AbstractContextManager[pathlib.Path]:
    """The folder of a face, which gets its name when it is whole."""
    return new_folder(self._output / place)

  def finish_photo(self, photo: str, faces: list[str], reason: str) -> None:
    """Writes down that a photo is done."""
    row = {"photo": photo, "faces": faces, "reason": reason}
    self._rows.append(row)
    self.rows.append(row)

  def shows_more(self) -> bool:
    """Whether the viewer takes another face."""
    return len(self._shown()) < _MOST_SHOWN

  def keep_shown(self, face: ViewerFace) -> None:
    """Keeps a face for the viewer's page, in place of one of its title."""
    arrays = {
      "title": np.array(face.title),
      "photo": face.photo,
      "shape": face.shape,
      "identity_shape": face.identity_shape,
    }
    if face.skin is not None:
      arrays["skin"] = np.frombuffer(face.skin, np.uint8)
    folder = self._folder / "shown"
    folder.mkdir(exist_ok=True)
    again = [place for place, old in self._titles() if old == face.title]
    name = f"{len(self._shown()):02d}.npz"
    replace_npz(again[0] if again else folder / name, arrays)

  def shown(self) -> list[ViewerFace]:
    """The faces for the viewer's page."""
    faces = []
    for path in self._shown():
      with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
      skin = arrays.pop("skin", None)
      title = str(arrays.pop("title"))
      skin = None if skin is None else skin.tobytes()
      faces.append(ViewerFace(title, skin=skin, **arrays))
    return faces

  def finish(self, files: Mapping[str, str], **about: Any) -> None:
    """Writes files beside the photos' folders; nothing of the work is left.

    Args:
      files: By name.
      **about: What results.json says beside the photos and the settings.
    """
    for name, content in files.items():
      replace_file(self._output / name, content)
    # The last that is written says that all is there.
    results = {"photos": self.rows, **about, "settings": dict(self._settings)}
    replace_file(self._output / RESULTS, json.dumps(results, indent=1) + "\n")
    self.discard()

  def discard(self) -> None:
    """Takes away what tells how far the work is."""
    _clear(self._output)

  def _shown(self) -> list[pathlib.Path]:
    return sorted((self._folder / "shown").glob("[0-9]*.npz"))

  def _titles(self) -> Iterator[tuple[pathlib.Path, str]]:
    for path in self._shown():
      with np.load(path, allow_pickle=False) as file:
        yield path, str(file["title"])


@contextlib.contextmanager
def open_work(
  output: pathlib.Path, settings: Mapping[str, Any]
) -> Iterator[Work]:
  """Begins an output folder, or goes on with that of a killed run.

  Args:
    output: New, empty, or of a run with the same settings.
    settings: All that decides what is written, JSON values.

  Yields:
    The work; nobody else writes there meanwhile.

  Raises:
    UserError: The folder has other files in it, was begun with other
      settings, or is in use; says which.
  """
  with sole_use(output):
    told = output / _FOLDER / _SETTINGS
    others = any(
      not is_mark(path.name) and path.name != _FOLDER
      for path in output.iterdir()
    )
    # Settings may change as long as nothing is written.
    if told.is_file() and (others or _has_rows(output / _FOLDER)):
      _check_same(output, _begun(told), settings)
    elif others:
      raise UserError(
        f"{output}: expected a new or an empty folder to write to, got one"
        " with files in it"
      )
    else:
      told.parent.mkdir(exist_ok=True)
      replace_file(told, json.dumps(settings))
    yield Work(output, settings)


def _begun(told: pathlib.Path) -> dict[str, Any]:
  try:
    settings: dict[str, Any] = json.loads(told.read_text("utf-8"))
    return settings
  except ValueError as error:
    raise UserError(
      f"{told}: expected the settings of the run, got no JSON; give another"
      " folder"
    ) from error


def _has_rows(folder: pathlib.Path) -> bool:
  return any(path.name != _SETTINGS for path in folder.iterdir())


def finished_rows(
  output: pathlib.Path, settings: Mapping[str, Any]
) -> list[dict[str, Any]] | None:
  """What results.json says of each photo, if a run with these settings is done.

  What is left of the work of one that was killed at its very end goes.

  Args:
    output: The folder of the run, if there is one.
    settings: See `open_work`.
  """
  try:
    results = json.loads((output / RESULTS).read_text("utf-8"))
    rows: list[dict[str, Any]] = results["photos"]
    if results["settings"] != json.loads(json.dumps(settings)):
      return None
    if not all(
      (output / face).is_dir() for row in rows for face in row["faces"]
    ):
      return None
  except (OSError, ValueError, TypeError, KeyError):
    return None
  if (output / _FOLDER).exists():
    with sole_use(output):
      _clear(output)
  return rows


def folder_name(photo: str, taken: set[str]) -> str:
  """A photo's folder, after its name, unlike those that are taken.

  E.g. `photo` or `photo-2`; frames have their number: `film-000012`.
  """
  path, _, frame = photo.partition("::")
  stem = re.sub(r"[^\w.-]+", "_", pathlib.Path(path).stem)
  # Not `..`, nor one of the names that begin with a dot here.
  stem = stem.lstrip(".") or "photo"
  wanted = f"{stem}-{int(frame):06d}" if frame.isdecimal() else stem
  name, count = wanted, 1
  while name in (*taken, RESULTS, VIEWER):
    count += 1
    name = f"{wanted}-{count}"
  return name


def _clear(output: pathlib.Path) -> None:
  shutil.rmtree(output / _FOLDER)
  for partial in output.glob(".*.partial"):
    partial.unlink()


def _check_same(
  output: pathlib.Path, begun: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
  wanted = json.loads(json.dumps(settings))
  for name in sorted({*begun, *wanted}):
    if begun.get(name) != wanted.get(name):
      raise UserError(
        f"{output}: begun with {name} {begun.get(name)}, got"
        f" {wanted.get(name)}; take the same, or give another folder"
      )
