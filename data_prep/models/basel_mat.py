"""Reads the Basel Face Model 2009 and 3DDFA's crop of it (MATLAB files).

Both are in micrometres, y up, z towards the viewer, their indices 1-based and
their triangles turned inwards. `shapeEV` and `sigma` are standard deviations.

Expressions come in two bases, both for 3DDFA's 53,215 vertices (BFM2009
without the inside of the mouth), both derived from FaceWarehouse:
- 3DDFA's `Model_Expression.mat`: 29 modes and a mean offset, which belongs to
  the neutral face here (shape = mu_shape + mu_exp + w a + w_exp b);
- Guo et al.'s `Exp_Pca.bin` with `std_exp.txt`: 79 modes; its mean is left
  out, as all its readers do.
"""

import dataclasses
import pathlib
from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np

from data_prep.files.matlab import read_arrays
from data_prep.models.assembly import assemble_model, checked_indices
from data_prep.models.landmark_lists import landmarks_of_mesh
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import UserError

_UNIT_MM = 1e-3
_LICENCE = (
  "Basel Face Model licence (University of Basel): research only, not"
  " commercial, not to be passed on"
)
_EXPRESSION_LICENCE = "; expressions derived from FaceWarehouse"


class _Expression(NamedTuple):
  """mean `[3 V]` and modes times standard deviation `[3 V, E]`, micrometres."""

  mean: Float[np.ndarray, "V3"]
  modes: Float[np.ndarray, "V3 E"]


def read_3ddfa(
  source: pathlib.Path,
  *,
  expression_source: pathlib.Path | None = None,
  expression_std: pathlib.Path | None = None,
  landmarks: Int[np.ndarray, "68"] | None = None,
) -> MorphableModel:
  """Reads `Model_Shape.mat` and its expressions: 199 + 29 modes.

  Args:
    source: `Model_Shape.mat`.
    expression_source: `Model_Expression.mat` or `Exp_Pca.bin`; None takes the
      first from the same folder.
    expression_std: `std_exp.txt` for `Exp_Pca.bin`; None takes the one beside.
    landmarks: 0-based vertices in place of the file's `keypoints`.

  Returns:
    The model, 53,215 vertices in the published file.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is malformed; names it.
  """
  content = read_arrays(source, ("mu_shape", "w", "sigma", "tri", "keypoints"))
  mean, where = content["mu_shape"].reshape(-1), str(source)
  expression_path = expression_source or source.with_name(
    "Model_Expression.mat"
  )
  expression = _read_expression(expression_path, expression_std, mean.size)
  if landmarks is None:
    landmarks = content["keypoints"].reshape(-1).astype(np.float64) - 1
  return assemble_model(
    where=where,
    unit_mm=_UNIT_MM,
    mean=mean.astype(np.float64) + expression.mean,
    identity=_scaled(where, "w", content["w"], "sigma", content["sigma"]),
    expression=expression.modes,
    triangles=_zero_based(content["tri"]),
    landmarks=landmarks,
    name="BFM2009, 3DDFA's crop",
    source=f"{source.name}, {expression_path.name}",
    licence=_LICENCE + _EXPRESSION_LICENCE,
  )


def read_bfm2009(
  source: pathlib.Path,
  *,
  expression_source: pathlib.Path,
  expression_std: pathlib.Path | None = None,
  trim_index: pathlib.Path | None = None,
  landmarks: Int[np.ndarray, "68"] | None = None,
) -> MorphableModel:
  """Reads `01_MorphableModel.mat` with expressions of another source.

  Args:
    source: `01_MorphableModel.mat`.
    expression_source: `Model_Expression.mat` or `Exp_Pca.bin`.
    expression_std: `std_exp.txt` for `Exp_Pca.bin`; None takes the one beside.
    trim_index: A MATLAB file with `trimIndex`, the vertices that have
      expressions (3DDFA's `model_info.mat`, Deep3DFaceReconstruction's
      `BFM_exp_idx.mat`); None where the expressions are for every vertex.
    landmarks: 0-based vertices in the source's numbers, in place of ours.

  Returns:
    The model of the vertices that have expressions; of 53,490, 53,215.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is malformed, or another's; names it.
  """
  content = read_arrays(source, ("shapeMU", "shapePC", "shapeEV", "tl"))
  where = str(source)
  mean = content["shapeMU"].reshape(-1)
  size = mean.size // 3
  landmarks, origin = landmarks_of_mesh(where, size, landmarks)
  identity = _scaled(
    where, "shapePC", content["shapePC"], "shapeEV", content["shapeEV"]
  )
  triangles = checked_indices(
    where, "tl", _zero_based(content["tl"]), max(size, 1)
  )
  kept = np.arange(size, dtype=np.int32)
  if trim_index is not None:
    kept = _read_trim_index(trim_index, size)
    rows = (3 * kept[:, None] + np.arange(3)[None]).reshape(-1)
    renumbered = np.full(size + 1, -1, np.int32)  # the last is for landmark -1
    renumbered[kept] = np.arange(len(kept))
    mean, identity = mean[rows], identity[rows]
    triangles = renumbered[triangles]
    triangles = triangles[triangles.min(1) >= 0]
    landmarks = renumbered[
      checked_indices(where, "landmarks", landmarks, size, low=-1)
    ]
  try:
    expression = _read_expression(expression_source, expression_std, mean.size)
  except ValueError as error:
    hint = "; --trim_index says which vertices have expressions"
    raise UserError(str(error) + ("" if trim_index else hint)) from error
  model = assemble_model(
    where=where,
    unit_mm=_UNIT_MM,
    mean=mean.astype(np.float64) + expression.mean,
    identity=identity,
    expression=expression.modes,
    triangles=triangles,
    landmarks=landmarks,
    name="BFM2009",
    source=f"{source.name}, {expression_source.name}; landmarks: {origin}",
    licence=_LICENCE + _EXPRESSION_LICENCE,
  )
  if trim_index is None:
    return model
  return dataclasses.replace(model, source_vertices=kept)


def _read_expression(
  path: pathlib.Path, std_path: pathlib.Path | None, length: int
) -> _Expression:
  """The expressions for a mesh of `length` coordinates."""
  if path.suffix == ".bin":
    expression = _read_exp_pca(
      path, std_path or path.with_name("std_exp.txt"), length
    )
  else:
    if std_path is not None:
      raise UserError(
        f"{path}: expected Exp_Pca.bin, the file that --expression_std is for,"
        " got another"
      )
    content = read_arrays(path, ("mu_exp", "w_exp", "sigma_exp"))
    expression = _Expression(
      mean=content["mu_exp"].reshape(-1).astype(np.float64),
      modes=_scaled(
        str(path), "w_exp", content["w_exp"], "sigma_exp", content["sigma_exp"]
      ),
    )
  if expression.mean.size != length or len(expression.modes) != length:
    raise UserError(
      f"{path}: expected expressions of {length // 3} vertices, got"
      f" {expression.mean.size // 3} and {len(expression.modes) // 3}"
    )
  return expression


def _read_exp_pca(
  path: pathlib.Path, std_path: pathlib.Path, length: int
) -> _Expression:
  """int32 E, then the mean and E modes of `length` float32 each."""
  content = path.read_bytes()
  count = int.from_bytes(content[:4], "little", signed=True)
  wanted = 4 + 4 * length * (1 + count)
  if len(content) < 4 or count < 1 or len(content) != wanted:
    raise UserError(
      f"{path}: expected, after the number of modes at byte 0 ({count}), a mean"
      f" and as many modes of {length // 3} vertices: {wanted} bytes, got"
      f" {len(content)}"
    )
  numbers = np.frombuffer(content, "<f4", offset=4).reshape(1 + count, length)
  if not np.isfinite(numbers).all():
    raise UserError(f"{path}: expected finite numbers, got NaN or inf")
  try:
    deviations = np.array(std_path.read_text("ascii").split(), np.float64)
  except ValueError as error:
    raise UserError(f"{std_path}: expected numbers, got {error}") from error
  modes = _scaled(str(std_path), "modes", numbers[1:].T, "numbers", deviations)
  return _Expression(mean=np.zeros(length), modes=modes)


def _scaled(
  where: str,
  modes_key: str,
  modes: np.ndarray,
  deviations_key: str,
  deviations: np.ndarray,
) -> Float[np.ndarray, "V3 C"]:
  """Modes times their standard deviations."""
  deviations = deviations.reshape(-1).astype(np.float64)
  if modes.ndim != 2 or modes.shape[1] != len(deviations):
    raise UserError(
      f"{where}: {deviations_key}: expected one for each of the"
      f" {modes_key} {list(modes.shape)}, got {len(deviations)}"
    )
  if not (np.isfinite(deviations) & (deviations > 0)).all():
    raise UserError(
      f"{where}: {deviations_key}: expected positive standard deviations, got"
      " others"
    )
  return modes * deviations[None].astype(np.float32)


def _zero_based(triangles: np.ndarray) -> np.ndarray:
  """0-based `[F, 3]` of a 1-based list, stored so or transposed."""
  if triangles.ndim == 2 and triangles.shape[0] == 3 != triangles.shape[1]:
    triangles = triangles.T
  return triangles.astype(np.float64) - 1


def _read_trim_index(path: pathlib.Path, size: int) -> Int[np.ndarray, "N"]:
  index = read_arrays(path, ("trimIndex",))["trimIndex"].reshape(-1)
  kept = checked_indices(
    str(path), "trimIndex - 1", index.astype(np.float64) - 1, size
  )
  if (np.diff(kept) <= 0).any():
    raise UserError(f"{path}: trimIndex: expected ascending numbers, got not")
  return kept
