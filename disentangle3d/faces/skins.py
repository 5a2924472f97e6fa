"""Skins of real people: a colour for every vertex of one model's mesh.

Files of skins ship in the folder `skin_files`; each says in itself for which
model it is, where its photographs come from and on what terms. A skin holds
hair, brows, beard and eyes as well: whatever the photographs show of the
surface, its shading divided out.
"""

import json
import os
import pathlib

import flax.struct
from jaxtyping import Array, Float, UInt8
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.input_files import read_npz, stored_texts
from disentangle3d.output_files import replace_npz
from disentangle3d.types import UserError, check_array

AUTO, NONE = "auto", "none"
SHIPPED = pathlib.Path(__file__).parent / "skin_files"
# Of stored colours: linear = (level / 255) ** GAMMA.
GAMMA = 2.2
_FORMAT = "disentangle3d skins, version 2"
_ABOUT = ("model", "source", "licence")


@flax.struct.dataclass
class Skins:
  """Skins of N people on a mesh of V vertices, and backdrops.

  Attributes:
    albedo: Gamma-coded RGB of the model's vertices and of those that close
      its holes (`find_cavities`), `[N, V + C, 3]`.
    backdrops: Gamma-coded RGB pictures to stand behind faces, `[M, h, w, 3]`.
    smiles: What the people do with their faces against their own most resting
      ones, expression coefficients of the model, `[S, E]`.
    modes_mm: `mode_lengths_mm` of the modes that these are of, `[E]`.
    model: Name of the model.
    source: Of which photographs.
    licence: Their terms and credit.
  """

  albedo: UInt8[Array | np.ndarray, "N VC 3"]
  backdrops: UInt8[Array | np.ndarray, "M h w 3"]
  smiles: Float[Array | np.ndarray, "S E"]
  modes_mm: Float[Array | np.ndarray, "E"]
  model: str = flax.struct.field(pytree_node=False, default="unnamed")
  source: str = flax.struct.field(pytree_node=False, default="unknown")
  licence: str = flax.struct.field(pytree_node=False, default="unknown")


def mode_lengths_mm(model: MorphableModel) -> Float[np.ndarray, "E"]:
  """How far each expression mode moves vertices, root mean square, `[E]`."""
  basis = np.asarray(model.expression_basis, np.float64)
  return np.sqrt(np.mean(np.sum(basis**2, axis=1), axis=0))


def _validate(skins: Skins) -> None:
  """Raises UserError or TypeError unless the arrays are skins and backdrops."""
  for name, array, shape in (
    ("albedo", skins.albedo, "N VC 3"),
    ("backdrops", skins.backdrops, "M h w 3"),
  ):
    sizes = check_array(name, array, shape, dtype="any")
    if array.dtype != np.uint8:
      raise UserError(f"{name}: expected uint8, got {array.dtype}")
    if not min(sizes.values()):
      raise UserError(f"{name}: expected one at least, got {list(array.shape)}")
  sizes = check_array("smiles", skins.smiles, "S E")
  check_array("modes_mm", skins.modes_mm, "E", sizes=sizes)
  if not np.isfinite(np.asarray(skins.smiles)).all():
    raise UserError("smiles: expected finite numbers, got NaN or inf")


def save_skins(path: str | os.PathLike[str], skins: Skins) -> None:
  """Writes an `.npz` (no pickle), by a rename at the end."""
  _validate(skins)
  about = {name: getattr(skins, name) for name in _ABOUT} | {"format": _FORMAT}
  replace_npz(
    path,
    {
      "albedo": np.asarray(skins.albedo),
      "backdrops": np.asarray(skins.backdrops),
      "smiles": np.asarray(skins.smiles, np.float32),
      "modes_mm": np.asarray(skins.modes_mm, np.float32),
      "about": np.array(json.dumps(about)),
    },
  )


def load_skins(path: str | os.PathLike[str]) -> Skins:
  """Reads what `save_skins` wrote.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It is none, or damaged; names file and problem.
  """
  names = ("albedo", "backdrops", "smiles", "modes_mm", "about")
  content = read_npz(path, "skins of data_prep.make_skins", names=names)
  try:
    about = stored_texts("about", content["about"])
    if about["format"] != _FORMAT:
      raise UserError(
        f'expected "format": "{_FORMAT}", got {about["format"]};'
        " python -m data_prep.make_skins makes them again"
      )
    skins = Skins(
      albedo=content["albedo"],
      backdrops=content["backdrops"],
      smiles=content["smiles"],
      modes_mm=content["modes_mm"],
      **{name: about[name] for name in _ABOUT},
    )
    _validate(skins)
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(f"{os.fspath(path)}: {error}") from error
  return skins


def skins_for(
  model: MorphableModel,
  asked: str | os.PathLike[str],
  *,
  shipped: pathlib.Path = SHIPPED,
) -> Skins | None:
  """The skins that were asked for.

  Args:
    model: Whose mesh they must be for.
    asked: `"none"`; `"auto"` is those that ship for this model, if any do;
      anything else is a file of `save_skins`.
    shipped: The folder of those that ship.

  Returns:
    The skins, or None.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is none, or for another model.
  """
  if asked == NONE:
    return None
  if asked != AUTO:
    skins = load_skins(asked)
    if skins.model != model.name:
      raise UserError(
        f"{os.fspath(asked)}: expected skins for {model.name!r}, got some for"
        f" {skins.model!r}"
      )
    return skins
  for path in sorted(shipped.glob("*.npz")):
    skins = load_skins(path)
    if skins.model == model.name:
      return skins
  return None
