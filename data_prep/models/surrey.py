"""Reads the Surrey Face Model as eos stores it (cereal's binary archive).

Little-endian, no magic: a version from 1 to 4, then
- a PCA model of the shape: mean, orthonormal basis, variances, triangles;
- the same for colour;
- from version 2, perhaps an expression model: a PCA model or blendshapes;
- from version 3, perhaps landmark names with vertices;
- texture coordinates; in version 4 their triangles.

A matrix is int32 rows and columns and float32 column by column; a list is its
uint64 length and its elements. Millimetres, y up, 0-based.
"""

import pathlib
import struct
from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np

from data_prep.models.assembly import assemble_model
from data_prep.models.blendshapes import (
  EXPRESSION_MEANS,
  BlendshapeModes,
  blendshape_modes,
  modes_about_neutral,
)
from data_prep.models.landmark_lists import landmarks_of_mesh
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import UserError, check_choice

_VERSIONS = (1, 2, 3, 4)
# eos stores other models, too.
_NUM_VERTICES = 3_448
_LICENCE = (
  "Surrey Face Model licence (University of Surrey): not for commercial use"
)


class _Pca(NamedTuple):
  mean: Float[np.ndarray, "V3"]
  basis: Float[np.ndarray, "V3 C"]
  variances: Float[np.ndarray, "C"]
  triangles: Int[np.ndarray, "F 3"]

  def scaled(self) -> Float[np.ndarray, "V3 C"]:
    """The modes times their standard deviations."""
    return self.basis * np.sqrt(self.variances)[None]


def read_surrey(
  source: pathlib.Path,
  *,
  expression_source: pathlib.Path | None = None,
  expression_dim: int | None = None,
  expression_mean: str = "modes",
  seed: int = 0,
  landmarks: Int[np.ndarray, "68"] | None = None,
) -> MorphableModel:
  """Reads a model and, where it has no expressions of its own, blendshapes.

  Args:
    source: `sfm_shape_3448.bin`, or another model that eos wrote.
    expression_source: `expression_blendshapes_3448.bin`.
    expression_dim: How many modes to make of blendshapes; None as many as
      they give, at most 29.
    expression_mean: Where the mean of a PCA model of expressions goes,
      `"modes"` or `"neutral"`.
    seed: Of the random expressions that the modes come from.
    landmarks: 0-based vertices in place of eos's list for 3,448 vertices.

  Returns:
    The model.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is malformed; names it and the byte.
  """
  check_choice("expression_mean", expression_mean, EXPRESSION_MEANS)
  archive = _Archive(source)
  version = archive.number("<I", "the version")
  if version not in _VERSIONS:
    raise UserError(
      f"{source}: expected a version from {_VERSIONS[0]} to {_VERSIONS[-1]} at"
      f" byte 0, got {version}"
    )
  shape = _read_pca(archive, "shape")
  _read_pca(archive, "colour")
  found = _read_expression_model(archive) if version >= 2 else None
  if version >= 3:
    _skip_landmark_names(archive)
  archive.skip_list(16, "texture coordinates")
  if version >= 4:
    archive.skip_list(12, "texture triangles")
  archive.finish()
  origin = source.name
  if expression_source is not None:
    found = _read_blendshape_file(expression_source)
    origin = f"{source.name}, {expression_source.name}"
  if found is None:
    raise UserError(
      f"{source}: expected expressions in the model or a file of blendshapes"
      " (--expression_source), got neither"
    )
  mean, modes = shape.mean.astype(np.float64), None
  if isinstance(found, _Pca):
    mean, expression = _mean_and_modes(source, mean, found, expression_mean)
  else:
    modes = _modes(expression_source or source, found, expression_dim, seed)
    expression = found @ modes.mixing
  landmarks, listed = landmarks_of_mesh(str(source), mean.size // 3, landmarks)
  surrey = mean.size == 3 * _NUM_VERTICES
  return assemble_model(
    where=str(source),
    unit_mm=1.0,
    mean=mean,
    identity=shape.scaled(),
    expression=expression,
    triangles=shape.triangles,
    landmarks=landmarks,
    blendshapes=modes,
    name="Surrey Face Model" if surrey else "model in eos's format",
    source=f"{origin}; landmarks: {listed}",
    licence=_LICENCE if surrey else "the model's own, which is not in the file",
  )


def _mean_and_modes(
  source: pathlib.Path, mean: np.ndarray, found: _Pca, expression_mean: str
) -> tuple[np.ndarray, np.ndarray]:
  """The mean with that of the expressions, or else the modes with it."""
  expression = found.scaled()
  offset = found.mean.astype(np.float64)
  if offset.size != mean.size:
    raise UserError(
      f"{source}: expected an expression mean of {mean.size} numbers, as the"
      f" shape mean has, got {offset.size}"
    )
  if expression_mean == "neutral":
    return mean + offset, expression
  return mean, modes_about_neutral(expression, offset)


class _Archive:
  """Reads numbers off a file, and says where it ended too early."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._content = path.read_bytes()
    self._at = 0

  def take(self, count: int, what: str) -> bytes:
    left = len(self._content) - self._at
    if not 0 <= count <= left:
      raise UserError(
        f"{self._path}: expected {count} bytes of {what} at byte {self._at},"
        f" got {left}"
      )
    self._at += count
    return self._content[self._at - count : self._at]

  def number(self, kind: str, what: str) -> int:
    return struct.unpack(kind, self.take(struct.calcsize(kind), what))[0]

  def matrix(self, what: str) -> Float[np.ndarray, "R C"]:
    start = self._at
    rows = self.number("<i", f"the rows of the {what}")
    columns = self.number("<i", f"the columns of the {what}")
    if rows < 0 or columns < 0:
      raise UserError(
        f"{self._path}: expected the size of the {what} at byte {start}, got"
        f" {rows} x {columns}"
      )
    numbers = np.frombuffer(self.take(4 * rows * columns, f"the {what}"), "<f4")
    if not np.isfinite(numbers).all():
      raise UserError(
        f"{self._path}: expected finite numbers in the {what} from byte"
        f" {start}, got NaN or inf"
      )
    return numbers.reshape(rows, columns, order="F")

  def triangles(self, what: str) -> Int[np.ndarray, "F 3"]:
    count = self.number("<Q", f"the number of {what}")
    return np.frombuffer(self.take(12 * count, what), "<i4").reshape(-1, 3)

  def skip_list(self, item_size: int, what: str) -> None:
    count = self.number("<Q", f"the number of {what}")
    self.take(item_size * count, what)

  def present(self, what: str) -> bool:
    """Of something optional: a byte that is 1 where there is nothing."""
    absent = self.number("<B", f"whether there are {what}")
    if absent > 1:
      raise UserError(
        f"{self._path}: expected 0 or 1 for {what} at byte {self._at - 1}, got"
        f" {absent}"
      )
    return absent == 0

  def finish(self) -> None:
    left = len(self._content) - self._at
    if left:
      raise UserError(
        f"{self._path}: expected the end at byte {self._at}, got {left} bytes"
        " more"
      )

  def refuse(self, what: str, got: object) -> UserError:
    return UserError(
      f"{self._path}: expected {what} before byte {self._at}, got {got}"
    )


def _read_pca(archive: _Archive, part: str) -> _Pca:
  mean = archive.matrix(f"{part} mean")
  basis = archive.matrix(f"{part} basis")
  variances = archive.matrix(f"{part} variances")
  triangles = archive.triangles(f"{part} triangles")
  if basis.shape != (mean.size, variances.size):
    raise archive.refuse(
      f"a {part} basis of {mean.size} x {variances.size}, as mean and variances"
      " have",
      f"{basis.shape[0]} x {basis.shape[1]}",
    )
  if (variances < 0).any():
    raise archive.refuse(f"{part} variances from 0", variances.min())
  return _Pca(mean.reshape(-1), basis, variances.reshape(-1), triangles)


def _read_expression_model(
  archive: _Archive,
) -> _Pca | Float[np.ndarray, "V3 X"] | None:
  if not archive.present("expressions"):
    return None
  match archive.number("<i", "the kind of expressions"):
    case 0:
      return _read_pca(archive, "expression")
    case 1:
      return _read_blendshapes(archive)
    case other:
      raise archive.refuse("0 (PCA) or 1 (blendshapes)", other)


def _read_blendshape_file(path: pathlib.Path) -> Float[np.ndarray, "V3 X"]:
  archive = _Archive(path)
  blendshapes = _read_blendshapes(archive)
  archive.finish()
  return blendshapes


def _read_blendshapes(archive: _Archive) -> Float[np.ndarray, "V3 X"]:
  """The offsets, a column each."""
  columns: list[np.ndarray] = []
  for _ in range(archive.number("<Q", "the number of blendshapes")):
    archive.skip_list(1, "a blendshape's name")
    columns.append(archive.matrix("blendshape").reshape(-1))
    if columns[-1].size != columns[0].size or not columns[0].size:
      raise archive.refuse(
        f"a blendshape of {columns[0].size} numbers", columns[-1].size
      )
  if not columns:
    raise archive.refuse("at least one blendshape", 0)
  return np.stack(columns, axis=1).astype(np.float64)


def _skip_landmark_names(archive: _Archive) -> None:
  if archive.present("landmark names"):
    for _ in range(archive.number("<Q", "the number of landmark names")):
      archive.skip_list(1, "a landmark's name")
      archive.number("<i", "a landmark's vertex")


def _modes(
  path: pathlib.Path,
  blendshapes: Float[np.ndarray, "V3 X"],
  expression_dim: int | None,
  seed: int,
) -> BlendshapeModes:
  length, count = blendshapes.shape
  if length % 3:
    raise UserError(f"{path}: expected 3 numbers a vertex, got {length}")
  try:
    return blendshape_modes(
      blendshapes.T.reshape(count, -1, 3), expression_dim, seed=seed
    )
  except ValueError as error:
    raise UserError(f"{path}: {error}") from error
