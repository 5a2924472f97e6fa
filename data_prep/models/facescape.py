"""Reads the FaceScape bilinear model (version 1.6, `.npz`).

`shape_bm_core` `[3 V, X, K]` gives a shape by identity factors `[K]` and
expression weights `[X]`; its first expression is the neutral one, and each
slice a whole shape. Millimetres, y up, triangles 1-based.

A linear model cannot let an expression depend on the identity. The identity
modes are those of the neutral face, the factors being N(id_mean, id_var); the
expressions are those of the mean identity, as blendshapes, see
`blendshape_modes`.
"""

import pathlib

from jaxtyping import Int
import numpy as np

from data_prep.files.npy_files import NpzFile, open_npz
from data_prep.models.assembly import assemble_model
from data_prep.models.blendshapes import blendshape_modes
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import UserError

_KEYS = ("shape_bm_core", "id_mean", "id_var", "fv_indices", "lm_list_v16")
_LICENCE = (
  "FaceScape licence agreement (Nanjing University): not for commercial use,"
  " not to be passed on"
)
# Root mean square; true ones have 0.05 to 4.4 mm.
_FARTHEST_EXPRESSION_MM = 30.0


def read_facescape(
  source: pathlib.Path,
  *,
  expression_dim: int | None = None,
  seed: int = 0,
  landmarks: Int[np.ndarray, "68"] | None = None,
) -> MorphableModel:
  """Reads `facescape_bm_v1.6_847_*_52_id*.npz`.

  Args:
    source: The file; not the one ending in `id_exp.npz`, whose expressions
      have no neutral.
    expression_dim: How many expression modes; None as many as they give, at
      most 29.
    seed: Of the random expressions that the modes come from.
    landmarks: 0-based vertices in place of the file's `lm_list_v16`.

  Returns:
    The model, 26,278 vertices in the published files.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is malformed; names it and the array.
  """
  where = str(source)
  with open_npz(source) as file:
    missing = [key for key in _KEYS if key not in file.names]
    if missing:
      raise UserError(
        f"{where}: expected the arrays {', '.join(_KEYS)}, got a file without"
        f" {', '.join(missing)}"
      )
    small = {key: file.array(key) for key in _KEYS[1:]}
    for key, array in small.items():
      if array.dtype.kind not in "iuf":
        raise UserError(f"{where}: {key}: expected numbers, got others")
    id_mean = small["id_mean"].reshape(-1).astype(np.float64)
    variance = small["id_var"].reshape(-1).astype(np.float64)
    if variance.shape != id_mean.shape or not (variance >= 0).all():
      raise UserError(
        f"{where}: id_var: expected a variance for each of the {id_mean.size}"
        f" factors of id_mean, got {variance.size}"
      )
    neutral, blendshapes = _read_core(file, id_mean)
  count = blendshapes.shape[1]
  size = neutral.shape[0] // 3
  farthest = np.sqrt(np.mean(blendshapes**2, axis=0) * 3).max()
  if farthest > _FARTHEST_EXPRESSION_MM:
    raise UserError(
      f"{where}: shape_bm_core: expected expressions near the first, the"
      f" neutral one, got one {farthest:.0f} mm away (an id_exp file, whose"
      " expressions have no neutral?)"
    )
  try:
    modes = blendshape_modes(
      blendshapes.T.reshape(count, size, 3), expression_dim, seed=seed
    )
  except ValueError as error:
    raise UserError(f"{where}: {error}") from error
  if landmarks is None:
    landmarks = small["lm_list_v16"].reshape(-1)
  return assemble_model(
    where=where,
    unit_mm=1.0,
    mean=neutral @ id_mean,
    identity=neutral * np.sqrt(variance)[None],
    expression=blendshapes @ modes.mixing,
    triangles=small["fv_indices"].astype(np.float64) - 1,
    landmarks=landmarks,
    blendshapes=modes,
    name="FaceScape",
    source=f"{source.name}; expressions of the mean identity, seed {seed}",
    licence=_LICENCE,
  )


def _read_core(
  file: NpzFile, id_mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Neutral factors `[3 V, K]` and blendshapes `[3 V, X - 1]`."""
  neutral, offsets = [], []
  for block in file.row_blocks("shape_bm_core"):
    if block.ndim != 3 or block.shape[2] != id_mean.size or block.shape[1] < 2:
      raise UserError(
        f"{file.where}: shape_bm_core: expected shape [3 V, X, {id_mean.size}]"
        f" with X at least 2, got [..., {', '.join(map(str, block.shape[1:]))}]"
      )
    neutral.append(block[:, 0].astype(np.float64))
    offsets.append((block[:, 1:] - block[:, :1]) @ id_mean)
  if not neutral or sum(map(len, neutral)) % 3:
    raise UserError(
      f"{file.where}: shape_bm_core: expected 3 rows a vertex, got"
      f" {sum(map(len, neutral))}"
    )
  return np.concatenate(neutral), np.concatenate(offsets)
