"""Reads the surfaces of VRML 2 files (`.wrl`), as 3D face scans come in them.

All IndexedFaceSets of a file, one after the other; polygons become triangle
fans. Colours, textures and everything else are passed over, but a file that
moves or scales its shapes is refused, since its numbers alone would be wrong.
"""

import os
import re

from jaxtyping import Float, Int
import numpy as np

from data_prep.files.text_files import read_text
from disentangle3d.faces.meshes import Mesh
from disentangle3d.types import UserError

_HEADER = re.compile(r"#VRML V2\.0 utf8\b")
# A comment ends with the line, unless its # is in a text.
_TEXT_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*')
_POINTS = re.compile(r"\bCoordinate\s*\{\s*point\s*\[([^][]*)\]")
_INDICES = re.compile(r"\bcoordIndex\s*\[([^][]*)\]")
# Fields come in any order.
_MOVED = re.compile(
  r"\bTransform\s*\{\s*(?!children\b)\w+"
  r"|\]\s*(?:translation|rotation|scale|scaleOrientation|center)\s+[-+.\d]"
)
_CLOCKWISE = re.compile(r"\bccw\s+FALSE\b")
_SEPARATOR = re.compile(r"[\s,]+")


def read_vrml(path: str | os.PathLike[str]) -> Mesh:
  """Reads the mesh of a VRML 2 file.

  Returns:
    The mesh without colours; its unit is the file's own.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is no such file, or has no mesh; names file and problem.
  """
  text = read_text(path)
  if not _HEADER.match(text):
    raise UserError(
      f"{path}: expected a first line '#VRML V2.0 utf8', got {text[:20]!r}"
    )
  text = _TEXT_OR_COMMENT.sub(" ", text)
  moved = _MOVED.search(text)
  if moved:
    raise UserError(
      f"{path}: expected shapes in place, got {' '.join(moved[0].split())}"
    )
  points, indices = _POINTS.findall(text), _INDICES.findall(text)
  if not points or len(points) != len(indices):
    raise UserError(
      f"{path}: expected points and a coordIndex for each IndexedFaceSet, got"
      f" {len(points)} and {len(indices)}"
    )
  vertices: list[np.ndarray] = []
  triangles: list[np.ndarray] = []
  offset = 0
  for part, (point, index) in enumerate(
    zip(points, indices, strict=True), start=1
  ):
    here = f"{path}: IndexedFaceSet {part}"
    vertices.append(_vertices(point, here))
    triangles.append(_triangles(index, len(vertices[-1]), here) + offset)
    offset += len(vertices[-1])
  faces = np.concatenate(triangles)
  clockwise = len(_CLOCKWISE.findall(text))
  if clockwise not in (0, len(points)):
    raise UserError(
      f"{path}: expected ccw FALSE in each IndexedFaceSet or in none, got it in"
      f" {clockwise} of {len(points)}"
    )
  if clockwise:
    faces = faces[:, ::-1]
  return Mesh(
    vertices=np.concatenate(vertices).astype(np.float32),
    triangles=np.ascontiguousarray(faces, np.int32),
  )


def _numbers(text: str, dtype: type, here: str) -> np.ndarray:
  words = [word for word in _SEPARATOR.split(text) if word]
  try:
    return np.array(words, str).astype(dtype) if words else np.zeros(0, dtype)
  except (ValueError, OverflowError) as error:
    raise UserError(f"{here}: expected numbers, {error}") from error


def _vertices(text: str, here: str) -> Float[np.ndarray, "V 3"]:
  numbers = _numbers(text, np.float64, f"{here}: point")
  if not numbers.size or numbers.size % 3:
    raise UserError(
      f"{here}: point: expected three numbers a vertex, got {numbers.size}"
    )
  if not (np.abs(numbers) < np.finfo(np.float32).max).all():
    raise UserError(f"{here}: point: expected finite numbers")
  return numbers.reshape(-1, 3)


def _triangles(text: str, count: int, here: str) -> Int[np.ndarray, "F 3"]:
  """Fans of polygons; each ends in -1, the last one's may be left out."""
  indices = _numbers(text, np.int64, f"{here}: coordIndex")
  if indices.size and not (-1 <= indices.min() <= indices.max() < count):
    raise UserError(
      f"{here}: coordIndex: expected indices from 0 to {count - 1} and -1, got"
      f" {indices.min()} to {indices.max()}"
    )
  if indices.size and indices[-1] != -1:
    indices = np.append(indices, -1)
  ends = np.flatnonzero(indices == -1)
  starts = np.concatenate([[0], ends[:-1] + 1])
  sizes = ends - starts[: len(ends)]
  if (sizes < 3).any():
    raise UserError(
      f"{here}: coordIndex: expected at least 3 corners, got {sizes.min()}"
    )
  fans = []
  for size in np.unique(sizes):
    polygons = indices[starts[sizes == size, None] + np.arange(size)]
    fans += [polygons[:, [0, k, k + 1]] for k in range(1, size - 1)]
  return np.concatenate([np.zeros((0, 3), np.int64), *fans])
