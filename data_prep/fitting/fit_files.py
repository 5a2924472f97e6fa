"""The fits that fit_faces writes beside each manifest shard, as `.npz`."""

import dataclasses
import os
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.input_files import read_npz
from disentangle3d.output_files import replace_npz
from disentangle3d.stores import as_path
from disentangle3d.types import UserError

MORPHABLE_MODEL = "morphable_model.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class Fits:
  """The 3DMM fits of P photos; cameras and rmse_px are the crops'.

  Attributes:
    image_id: Which photo, `[P]` strings, as in the manifest.
    identity_coefficients: `[P, I]`, the same for all photos of a subject.
    expression_coefficients: `[P, E]`.
    camera_scale: Crop pixels a millimetre, `[P]`.
    camera_rotation: `[P, 3, 3]`.
    camera_translation: `[P, 2]`, crop pixels.
    rmse_px: Root mean square distance over the visible landmarks, `[P]`.
    relative_error: rmse_px over what 90 mm measure in the crop, `[P]`.
    outliers: How many landmarks a robust cost let go of, `[P]`.
  """

  image_id: np.ndarray
  identity_coefficients: Float[np.ndarray, "P I"]
  expression_coefficients: Float[np.ndarray, "P E"]
  camera_scale: Float[np.ndarray, "P"]
  camera_rotation: Float[np.ndarray, "P 3 3"]
  camera_translation: Float[np.ndarray, "P 2"]
  rmse_px: Float[np.ndarray, "P"]
  relative_error: Float[np.ndarray, "P"]
  outliers: Float[np.ndarray, "P"]


def no_fits(model: MorphableModel) -> Fits:
  """Of no image, with coefficients of `model`."""

  def none(*shape: int) -> np.ndarray:
    return np.zeros((0, *shape), np.float32)

  return Fits(
    image_id=np.zeros(0, "U1"),
    identity_coefficients=none(model.identity_dim),
    expression_coefficients=none(model.expression_dim),
    camera_scale=none(),
    camera_rotation=none(3, 3),
    camera_translation=none(2),
    rmse_px=none(),
    relative_error=none(),
    outliers=none(),
  )


def fits_path(manifest: str | os.PathLike[str]) -> pathlib.Path:
  """The fits beside a manifest shard, e.g. fits-00000-of-00001.npz."""
  manifest = as_path(manifest)
  name = manifest.name.replace("manifest-", "fits-", 1)
  return manifest.with_name(name).with_suffix(".npz")


def write_fits(path: str | os.PathLike[str], fits: Fits) -> None:
  """Writes one fits-*.npz (no pickle), by a rename at the end.

  Raises:
    UserError: Names the field, what was expected and what came.
  """
  _check_fits(fits)
  arrays: dict[str, Any] = {
    field.name: np.asarray(getattr(fits, field.name))
    for field in dataclasses.fields(Fits)
  }
  arrays["image_id"] = arrays["image_id"].astype(np.str_)
  replace_npz(path, arrays)


def read_fits(path: str | os.PathLike[str]) -> Fits:
  """Reads one fits-*.npz.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is not one; names file and problem.
  """
  names = [field.name for field in dataclasses.fields(Fits)]
  content = read_npz(path, "the fits of photos", names=names)
  fits = Fits(**{name: content[name] for name in names})
  try:
    _check_fits(fits)
  except ValueError as error:
    raise UserError(f"{path}: {error}") from error
  return fits


def _check_fits(fits: Fits) -> None:
  count = len(fits.image_id)
  shapes = {
    "image_id": (count,),
    "identity_coefficients": (count, None),
    "expression_coefficients": (count, None),
    "camera_scale": (count,),
    "camera_rotation": (count, 3, 3),
    "camera_translation": (count, 2),
    "rmse_px": (count,),
    "relative_error": (count,),
    "outliers": (count,),
  }
  for name, shape in shapes.items():
    array = np.asarray(getattr(fits, name))
    fits_shape = len(array.shape) == len(shape) and all(
      want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits_shape:
      shown = ", ".join("any" if n is None else str(n) for n in shape)
      raise UserError(
        f"{name}: expected shape [{shown}], got {list(array.shape)}"
      )
    if name != "image_id" and not (
      np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()
    ):
      raise UserError(f"{name}: expected finite numbers, got NaN or inf")
  if len(set(np.asarray(fits.image_id).tolist())) != count:
    raise UserError("image_id: expected each image once, got one twice")
