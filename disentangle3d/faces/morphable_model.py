"""The 3D morphable model (Eq. 6): struct, synthesis, canonical file.

Millimetres, y up, z towards the viewer. Coefficients are in standard
deviations: the basis carries the scale, so the prior is N(0, 1).
"""

import dataclasses
import json
import os
from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  calibrated_points,
  known_landmarks,
  main_vertices,
  read_stored_calibration,
  stored_calibration,
  validate_landmark_calibration,
)
from disentangle3d.geometry import flatten_vertices, unflatten_vertices
from disentangle3d.input_files import read_npz, stored_texts
from disentangle3d.output_files import replace_npz
from disentangle3d.types import NUM_LANDMARKS, UserError, check_array

_FORMAT = "disentangle3d morphable model, version 1"
_ARRAYS = {
  "mean_shape": (np.float32, "V 3"),
  "identity_basis": (np.float32, "V 3 I"),
  "expression_basis": (np.float32, "V 3 E"),
  "triangles": (np.int32, "F 3"),
  "landmark_vertices": (np.int32, "68"),
}
_OPTIONAL_ARRAYS = {
  "mirror_vertices": (np.int32, "V"),
  "expression_mixing": (np.float32, "X E"),
  "expression_samples": (np.float32, "N E"),
  "source_vertices": (np.int32, "V"),
}
PROVENANCE = ("name", "source", "licence")


class MorphableModel(flax.struct.PyTreeNode):
  """A linear model of face shapes: s = mean + A_id alpha + A_exp beta.

  Attributes:
    mean_shape: The neutral mean face, `[V, 3]`, mm.
    identity_basis: Identity modes, `[V, 3, I]`, mm a standard deviation.
    expression_basis: Expression modes, `[V, 3, E]`, mm a standard deviation.
    triangles: Vertex indices, `[F, 3]` int32, counter-clockwise from outside.
    landmark_vertices: Vertex of each iBUG landmark, `[68]` int32; -1 where
      the model has no such point.
    mirror_vertices: The vertex at each vertex's mirror image in x = 0, `[V]`
      int32, or None where the mesh has no such map.
    expression_mixing: For modes made of X blendshapes, the weights of each
      mode, `[X, E]`; None otherwise.
    expression_samples: Coefficients of expressions that blendshapes make, at
      weights in [0, 1], `[N, E]`; None where modes are not of blendshapes.
    source_vertices: For a crop, each vertex's index in the source mesh, `[V]`
      int32; None otherwise.
    landmark_calibration: Where a detector marks the landmarks on this model's
      surface; None where they are taken to be `landmark_vertices`.
    name: What the model is called in logs, tables and manifests.
    source: Where it comes from: files, seed, options.
    licence: Terms of use, for everything derived from it.
  """

  mean_shape: Float[Array | np.ndarray, "V 3"]
  identity_basis: Float[Array | np.ndarray, "V 3 I"]
  expression_basis: Float[Array | np.ndarray, "V 3 E"]
  triangles: Int[Array | np.ndarray, "F 3"]
  landmark_vertices: Int[Array | np.ndarray, "68"]
  mirror_vertices: Int[Array | np.ndarray, "V"] | None = None
  expression_mixing: Float[Array | np.ndarray, "X E"] | None = None
  expression_samples: Float[Array | np.ndarray, "N E"] | None = None
  source_vertices: Int[Array | np.ndarray, "V"] | None = None
  landmark_calibration: LandmarkCalibration | None = None
  name: str = flax.struct.field(pytree_node=False, default="unnamed")
  source: str = flax.struct.field(pytree_node=False, default="unknown")
  licence: str = flax.struct.field(pytree_node=False, default="unknown")

  @property
  def provenance(self) -> dict[str, str]:
    """Name, source and licence, for whatever is derived from it."""
    return {text: getattr(self, text) for text in PROVENANCE}

  @property
  def num_vertices(self) -> int:
    """V."""
    return self.mean_shape.shape[0]

  @property
  def identity_dim(self) -> int:
    """I."""
    return self.identity_basis.shape[-1]

  @property
  def expression_dim(self) -> int:
    """E."""
    return self.expression_basis.shape[-1]


def synthesize_shape(
  model: MorphableModel,
  identity_coefficients: Float[Array | np.ndarray, "*B I"],
  expression_coefficients: Float[Array | np.ndarray, "*B E"],
) -> Float[Array, "*B V 3"]:
  """Shapes of a model (Eq. 6).

  Args:
    model: The basis.
    identity_coefficients: alpha, `[..., I]`, standard deviations.
    expression_coefficients: beta, `[..., E]`, same batch dimensions.

  Returns:
    Shapes, `[..., V, 3]`, mm.

  Raises:
    UserError: A last dimension differs from the model's, or the batch
      dimensions differ.
  """
  sizes = {"I": model.identity_dim, "E": model.expression_dim}
  check_array(
    "identity_coefficients", identity_coefficients, "... I", sizes=sizes
  )
  check_array(
    "expression_coefficients", expression_coefficients, "... E", sizes=sizes
  )
  if identity_coefficients.shape[:-1] != expression_coefficients.shape[:-1]:
    raise UserError(
      "expression_coefficients: expected batch dimensions"
      f" {list(identity_coefficients.shape[:-1])} as identity_coefficients"
      f" has, got {list(expression_coefficients.shape[:-1])}"
    )
  identity_basis = flatten_basis(jnp.asarray(model.identity_basis))
  expression_basis = flatten_basis(jnp.asarray(model.expression_basis))
  flat = (
    jnp.asarray(identity_coefficients) @ identity_basis
    + jnp.asarray(expression_coefficients) @ expression_basis
  )
  mean = flatten_vertices(jnp.asarray(model.mean_shape))
  return unflatten_vertices(
    flat + mean.reshape((1,) * (flat.ndim - 1) + mean.shape)
  )


def closest_coefficients(
  basis: Float[Array | np.ndarray, "V 3 C"],
  displacement: Float[Array | np.ndarray, "*B V 3"],
) -> Float[np.ndarray, "*B C"]:
  """The coefficients whose modes are nearest to given displacements.

  Least squares over the vertices, without a prior; host code in float64. What
  a network says of a person (an identity shape less the mean shape) and of an
  expression (a shape less its identity shape) becomes a fit's prior by it.

  Args:
    basis: A 3DMM's, mm a standard deviation.
    displacement: Of its vertices, `[..., V, 3]`, mm.

  Returns:
    `[..., C]`, standard deviations, float32.

  Raises:
    ValueError: The number of vertices differs.
  """
  sizes = {"V": basis.shape[0]}
  check_array("displacement", displacement, "... V 3", sizes=sizes)
  away = np.asarray(displacement, np.float64)
  away = away.reshape(*away.shape[:-2], -1)
  modes = np.asarray(basis, np.float64).reshape(-1, basis.shape[-1])
  found = np.linalg.solve(modes.T @ modes, modes.T @ away[..., None])
  return found[..., 0].astype(np.float32)


def flatten_basis(basis: Float[Array, "V 3 C"]) -> Float[Array, "C V3"]:
  """A basis as rows of flat shapes, the layout of a decoder's kernel."""
  return flatten_vertices(jnp.moveaxis(basis, -1, 0))


def truncate_modes(
  model: MorphableModel, identity_dim: int, expression_dim: int
) -> MorphableModel:
  """The same model with only its first modes.

  Raises:
    UserError: The model has fewer modes than asked for.
  """
  for name, asked, has in (
    ("identity_dim", identity_dim, model.identity_dim),
    ("expression_dim", expression_dim, model.expression_dim),
  ):
    if not 0 < asked <= has:
      raise UserError(f"{name}: expected 1 to {has} modes, got {asked}")
  mixing, samples = model.expression_mixing, model.expression_samples
  return dataclasses.replace(
    model,
    identity_basis=model.identity_basis[..., :identity_dim],
    expression_basis=model.expression_basis[..., :expression_dim],
    expression_mixing=None if mixing is None else mixing[:, :expression_dim],
    expression_samples=None if samples is None else samples[:, :expression_dim],
  )


def without_modes(model: MorphableModel) -> MorphableModel:
  """A model's mesh, landmarks and mean shape alone."""
  return dataclasses.replace(
    model,
    identity_basis=model.identity_basis[..., :0],
    expression_basis=model.expression_basis[..., :0],
    expression_mixing=None,
    expression_samples=None,
  )


def validate_morphable_model(model: MorphableModel) -> None:
  """Checks shapes, dtypes and values on the host.

  Raises:
    UserError: Names the field, what was expected and what came.
    TypeError: A field has the wrong dtype.
  """
  sizes: dict[str, int] = {}
  for field, (dtype, shape) in (_ARRAYS | _OPTIONAL_ARRAYS).items():
    array = getattr(model, field)
    if array is None and field in _OPTIONAL_ARRAYS:
      continue
    kind = "integer" if dtype == np.int32 else "floating"
    sizes = check_array(field, array, shape, dtype=kind, sizes=sizes)
    if kind == "floating" and not np.isfinite(np.asarray(array)).all():
      raise UserError(f"{field}: expected finite numbers, got NaN or inf")
  for field, low in (
    ("triangles", 0),
    ("landmark_vertices", -1),
    ("mirror_vertices", 0),
  ):
    array = getattr(model, field)
    if array is None or array.size == 0:
      continue
    least, most = int(np.min(array)), int(np.max(array))
    if least < low or most >= sizes["V"]:
      raise UserError(
        f"{field}: expected indices from {low} to {sizes['V'] - 1},"
        f" got {least} to {most}"
      )
  if model.mirror_vertices is not None:
    mirror = np.asarray(model.mirror_vertices)
    if not np.array_equal(mirror[mirror], np.arange(sizes["V"])):
      raise UserError(
        "mirror_vertices: expected an involution (mirroring twice is the"
        " identity), got another map"
      )
  if model.landmark_calibration is not None:
    validate_landmark_calibration(
      model.landmark_calibration, num_vertices=sizes["V"]
    )


def save_morphable_model(
  path: str | os.PathLike[str], model: MorphableModel
) -> None:
  """Writes the canonical `.npz` (no pickle), by a rename at the end.

  Args:
    path: Where to write; the folder must exist.
    model: What to write; validated first.

  Raises:
    ValueError: The model is not valid.
  """
  validate_morphable_model(model)
  arrays: dict[str, Any] = {
    field: np.asarray(getattr(model, field), dtype)
    for field, (dtype, _) in (_ARRAYS | _OPTIONAL_ARRAYS).items()
    if getattr(model, field) is not None
  }
  arrays |= stored_calibration(model.landmark_calibration)
  about = model.provenance
  about["format"] = _FORMAT
  arrays["about"] = np.array(json.dumps(about))
  replace_npz(path, arrays)


def load_morphable_model(path: str | os.PathLike[str]) -> MorphableModel:
  """Reads and validates a canonical `.npz`.

  Args:
    path: A file that `save_morphable_model` or
      `data_prep.convert_morphable_model` wrote.

  Returns:
    The model, its arrays in host memory (NumPy).

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is not such a model; names file and problem.
  """
  content = read_npz(
    path,
    "a morphable model .npz",
    names=(*_ARRAYS, "about"),
    otherwise="; make one with python -m data_prep.convert_morphable_model",
  )
  try:
    about = stored_texts("about", content.pop("about"))
    texts = {field: about[field] for field in PROVENANCE}
    known = _ARRAYS | _OPTIONAL_ARRAYS
    model = MorphableModel(
      **{k: v for k, v in content.items() if k in known},
      **texts,
      landmark_calibration=read_stored_calibration(content),
    )
    validate_morphable_model(model)
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(f"{path}: {error}") from error
  return model


def identity_calibration(model: MorphableModel) -> LandmarkCalibration:
  """What a model without calibration means: the landmarks are its vertices.

  Returns:
    Vertices as they are, no offset, nothing known of the noise.

  Raises:
    ValueError: `model.landmark_vertices` is not `[68]`.
  """
  vertices = np.asarray(model.landmark_vertices, np.int32)
  check_array(
    "model.landmark_vertices", vertices, f"{NUM_LANDMARKS}", dtype="integer"
  )
  return LandmarkCalibration(
    triangle_vertices=np.repeat(vertices[:, None], 3, 1),
    weights=np.tile(np.array([1, 0, 0], np.float32), (NUM_LANDMARKS, 1)),
    offset_mm=np.zeros((NUM_LANDMARKS, 3), np.float32),
    covariance_mm2=np.zeros((0, NUM_LANDMARKS, 2, 2), np.float32),
    yaw_edges_rad=np.zeros(0, np.float32),
    detector="none: landmarks are the model's vertices",
    model=model.name,
    source=model.source,
    licence=model.licence,
  )


def landmark_mask(model: MorphableModel) -> Float[Array, "68"]:
  """1 for each landmark that the model has a point for, else 0."""
  if model.landmark_calibration is not None:
    return known_landmarks(model.landmark_calibration)
  return (jnp.asarray(model.landmark_vertices) >= 0).astype(jnp.float32)


def main_landmark_vertices(model: MorphableModel) -> Int[Array, "68"]:
  """The vertex that each landmark is on, or hangs on most; -1 for none."""
  if model.landmark_calibration is not None:
    return main_vertices(model.landmark_calibration)
  return jnp.asarray(model.landmark_vertices)


def landmark_points(
  model: MorphableModel, shape: Float[Array, "*B V 3"]
) -> Float[Array, "*B 68 3"]:
  """The 3D points of shapes that a photo's 68 landmarks show.

  By the model's calibration where it has one, else its landmark vertices;
  vertex 0 stands in where there is none.
  """
  if model.landmark_calibration is not None:
    return calibrated_points(model.landmark_calibration, shape)
  vertices = jnp.maximum(jnp.asarray(model.landmark_vertices), 0)
  if vertices.shape != (NUM_LANDMARKS,):
    raise UserError(
      f"model.landmark_vertices: expected shape [68], got"
      f" {list(vertices.shape)}"
    )
  return jnp.take(shape, vertices, axis=-2)
