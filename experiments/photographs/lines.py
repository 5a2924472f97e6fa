"""Lines of JSON that a kill leaves whole, and photos looked at in them."""

import base64
from collections.abc import Iterator, Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from data_prep.faces.found_faces import FoundFace
from disentangle3d.output_files import named_errors

_NO_CROP = np.zeros((0, 0, 3), np.uint8)
_SHAPES = {
  "crop_from_photo": (2, 3),
  "box": (4,),
  "landmarks": (68, 2),
  "visibility": (68,),
  "five_points": (5, 2),
}


class Lines:
  """A file of JSON lines that grows; what was cut off at its end is gone."""

  def __init__(self, path: pathlib.Path) -> None:
    """Finds the lines; the file need not be there."""
    self._path = path
    self._ends = [0]
    if path.is_file():
      with path.open("rb") as file:
        for line in file:
          if line.endswith(b"\n"):
            self._ends.append(self._ends[-1] + len(line))
      os.truncate(path, self._ends[-1])

  def __len__(self) -> int:
    return len(self._ends) - 1

  def append(self, line: Mapping[str, Any]) -> None:
    """Writes a line at the end."""
    content = json.dumps(line).encode() + b"\n"
    with named_errors(self._path), self._path.open("ab") as file:
      file.write(content)
    self._ends.append(self._ends[-1] + len(content))

  def read(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """The lines from one number to before another."""
    if start >= stop:
      return
    with self._path.open("rb") as file:
      file.seek(self._ends[start])
      for number in range(start, stop):
        size = self._ends[number + 1] - self._ends[number]
        yield json.loads(file.read(size))


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
  """A photo that was looked at.

  Attributes:
    name: The photo's.
    reason: Why faces of it are not taken; empty if all are.
    notes: What was odd about the photo.
    faces: Those taken, the largest first; where read back, without crops.
    codes: Of each face, `[I]` and `[E]`; empty where they are not known yet.
  """

  name: str
  reason: str
  notes: tuple[str, ...]
  faces: tuple[FoundFace, ...]
  codes: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


class SeenPhotos:
  """Photos that were looked at, on the disk."""

  def __init__(self, path: pathlib.Path) -> None:
    """Finds those that are there."""
    self._lines = Lines(path)

  def __len__(self) -> int:
    return len(self._lines)

  def append(self, seen: Seen) -> None:
    """Keeps a photo, less the crops of its faces."""
    faces = []
    for number, face in enumerate(seen.faces):
      arrays = {name: _packed(getattr(face, name)) for name in _SHAPES}
      codes = seen.codes[number] if seen.codes else ()
      faces.append(
        {
          **arrays,
          "score": face.score,
          "notes": face.notes,
          "codes": [_packed(code) for code in codes],
        }
      )
    self._lines.append(
      {
        "photo": seen.name,
        "reason": seen.reason,
        "notes": seen.notes,
        "faces": faces,
      }
    )

  def read(self, start: int, stop: int) -> Iterator[Seen]:
    """The photos from one number to before another."""
    for line in self._lines.read(start, stop):
      yield Seen(
        line["photo"],
        line["reason"],
        tuple(line["notes"]),
        tuple(_face_of(face) for face in line["faces"]),
        tuple(
          (_unpacked(face["codes"][0]), _unpacked(face["codes"][1]))
          for face in line["faces"]
          if face["codes"]
        ),
      )


def _face_of(line: Mapping[str, Any]) -> FoundFace:
  arrays: dict[str, Any] = {
    name: None if line[name] is None else _unpacked(line[name]).reshape(shape)
    for name, shape in _SHAPES.items()
  }
  return FoundFace(
    crop=_NO_CROP, score=line["score"], notes=tuple(line["notes"]), **arrays
  )


def _packed(array: np.ndarray | None) -> str | None:
  if array is None:
    return None
  return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> np.ndarray:
  return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
