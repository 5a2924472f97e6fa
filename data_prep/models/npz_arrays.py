"""Reads any morphable model that someone has put into a plain `.npz`.

| array | shape | what |
|---|---|---|
| `mean_shape` | `[V, 3]` or `[3 V]` | x1 y1 z1 x2 ...; y up, z to the viewer |
| `identity_basis` | `[V, 3, I]` or `[3 V, I]` | |
| `identity_std` | `[I]` | optional: the basis has it already |
| `expression_basis` | `[V, 3, E]` or `[3 V, E]` | or blendshapes in its place |
| `expression_std` | `[E]` | optional |
| `blendshapes` | `[X, V, 3]` or `[X, 3 V]` | offsets at weight 1 |
| `triangles` | `[F, 3]` | all turning the same way |
| `landmark_vertices` | `[68]` | iBUG order, -1 (0 if 1-based) for none |
| `name`, `source`, `licence` | text or bytes | the last one is required |

Unit and index base are options.
"""

import math
import pathlib

from jaxtyping import Float, Int
import numpy as np

from data_prep.files.npy_files import NpzFile, open_npz
from data_prep.models.assembly import assemble_model
from data_prep.models.blendshapes import blendshape_modes
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import UserError, check_choice

UNITS_MM = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1e3, "um": 1e-3}


def read_npz_arrays(
  source: pathlib.Path,
  *,
  unit: str = "mm",
  index_base: int = 0,
  expression_dim: int | None = None,
  seed: int = 0,
  licence: str | None = None,
  landmarks: Int[np.ndarray, "68"] | None = None,
) -> MorphableModel:
  """Reads the arrays named above.

  Args:
    source: The `.npz`.
    unit: Its unit of length, a key of `UNITS_MM`.
    index_base: What the first vertex is called in it: 0 or 1.
    expression_dim: How many modes to make of blendshapes; None as many as
      they give, at most 29.
    seed: Of the random expressions that the modes come from.
    licence: Terms of use, where the file does not say.
    landmarks: 0-based vertices in place of the file's.

  Returns:
    The model.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: An option is unknown, or the file is malformed; names it and
      the array.
  """
  check_choice("unit", unit, UNITS_MM)
  if index_base not in (0, 1):
    raise UserError(f"index_base: expected 0 or 1, got {index_base}")
  where = str(source)
  with open_npz(source) as file:
    mean = _numbers(file, "mean_shape").reshape(-1)
    identity = _modes(file, "identity", mean.size)
    modes = None
    if "blendshapes" in file.names:
      blendshapes = _numbers(file, "blendshapes").astype(np.float64)
      flat = blendshapes.reshape(len(blendshapes), -1)
      if flat.shape[1] != mean.size or mean.size % 3:
        raise UserError(
          f"{where}: blendshapes: expected {mean.size} numbers each, as"
          f" mean_shape has, got {flat.shape[1]}"
        )
      try:
        modes = blendshape_modes(
          flat.reshape(len(flat), -1, 3), expression_dim, seed=seed
        )
      except ValueError as error:
        raise UserError(f"{where}: blendshapes: {error}") from error
      expression = flat.T @ modes.mixing
    else:
      expression = _modes(file, "expression", mean.size)
    triangles = _numbers(file, "triangles")
    if landmarks is None:
      listed = _numbers(file, "landmark_vertices").reshape(-1)
      landmarks = np.maximum(listed - index_base, -1)
    terms = licence or _text(file, "licence")
    if not terms:
      raise UserError(f"{where}: licence: expected terms of use, got none")
    return assemble_model(
      where=where,
      unit_mm=UNITS_MM[unit],
      mean=mean,
      identity=identity,
      expression=expression,
      triangles=triangles.astype(np.float64) - index_base,
      landmarks=landmarks,
      blendshapes=modes,
      name=_text(file, "name") or source.stem,
      source=_text(file, "source") or source.name,
      licence=terms,
    )


def _numbers(file: NpzFile, name: str) -> np.ndarray:
  array = file.array(name)
  if array.dtype.kind not in "iuf" or not array.ndim:
    raise UserError(
      f"{file.where}: {name}: expected an array of numbers, got {array.dtype}"
    )
  return array if array.dtype.kind == "f" else array.astype(np.int64)


def _modes(file: NpzFile, part: str, length: int) -> Float[np.ndarray, "V3 C"]:
  basis = _numbers(file, f"{part}_basis")
  flat = basis.reshape(math.prod(basis.shape[:-1]), basis.shape[-1])
  if f"{part}_std" not in file.names:
    return flat
  deviations = _numbers(file, f"{part}_std").reshape(-1)
  if flat.shape != (length, deviations.size):
    raise UserError(
      f"{file.where}: {part}_std: expected one for each mode of {part}_basis"
      f" {list(basis.shape)}, got {deviations.size}"
    )
  return flat * deviations[None]


def _text(file: NpzFile, name: str) -> str:
  if name not in file.names:
    return ""
  array = file.array(name)
  text: object = array.reshape(-1)[0] if array.size == 1 else None
  if isinstance(text, bytes):
    return _decoded(text)
  if not isinstance(text, str):
    raise UserError(
      f"{file.where}: {name}: expected a text, got {list(array.shape)} of"
      f" {array.dtype}"
    )
  return str(text)


def _decoded(text: bytes) -> str:
  try:
    return text.decode("utf-8")
  except UnicodeDecodeError:
    return text.decode("latin-1")
