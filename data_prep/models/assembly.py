"""From the numbers of a file to a morphable model in canonical conventions.

Millimetres, the basis in standard deviations, triangles 0-based and counter-
clockwise from outside, the mirror map where the mesh has one.
"""

from jaxtyping import Float, Int
import numpy as np
from scipy.spatial import KDTree

from data_prep.models.blendshapes import BlendshapeModes
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  validate_morphable_model,
)
from disentangle3d.types import UserError

# ICT's neutral is symmetric up to 0.05 mm; its vertices are 0.5 mm apart.
_MIRROR_TOLERANCE_MM = 0.1
_NEIGHBOURS_WEIGHT = 0.1


def assemble_model(
  *,
  where: str,
  unit_mm: float,
  mean: np.ndarray,
  identity: np.ndarray,
  expression: np.ndarray,
  triangles: np.ndarray,
  landmarks: np.ndarray,
  name: str,
  source: str,
  licence: str,
  blendshapes: BlendshapeModes | None = None,
) -> MorphableModel:
  """Makes a model of arrays in the layout that nearly all files share.

  Args:
    where: The file's name, for messages.
    unit_mm: The file's unit of length.
    mean: Vertices, x1 y1 z1 x2 ..., any shape of 3 V numbers.
    identity: Identity modes times their standard deviation, `[3 V, I]`.
    expression: The same for expression, `[3 V, E]`.
    triangles: 0-based vertex indices, `[F, 3]`, all turning the same way.
    landmarks: The vertex of each landmark, `[68]`, -1 where there is none.
    name: What the model is called.
    source: Where it comes from.
    licence: Terms of use.
    blendshapes: Where the expression modes are made of such.

  Returns:
    The model.

  Raises:
    UserError: A shape, an index or a number is impossible; names the file
      and the field.
  """
  if mean.size % 3 or not mean.size:
    raise UserError(
      f"{where}: mean_shape: expected 3 numbers a vertex, got {mean.size}"
    )
  size = mean.size // 3
  for field, array, wanted in (
    ("identity_basis", identity, (mean.size, None)),
    ("expression_basis", expression, (mean.size, None)),
    ("triangles", triangles, (None, 3)),
  ):
    fits = array.ndim == 2 and all(
      w in (None, n) for w, n in zip(wanted, array.shape, strict=True)
    )
    if not fits:
      shown = ", ".join("any" if n is None else str(n) for n in wanted)
      raise UserError(
        f"{where}: {field}: expected shape [{shown}], got {list(array.shape)}"
      )
    if not array.size:
      raise UserError(
        f"{where}: {field}: expected at least one, got {list(array.shape)}"
      )
  triangles = checked_indices(where, "triangles", triangles, size)
  mean_mm = unit_mm * np.asarray(mean, np.float64).reshape(-1, 3)
  model = MorphableModel(
    mean_shape=mean_mm.astype(np.float32),
    identity_basis=_basis(identity, unit_mm),
    expression_basis=_basis(expression, unit_mm),
    triangles=outward_triangles(mean_mm, triangles),
    landmark_vertices=checked_indices(
      where, "landmark_vertices", landmarks, size, low=-1
    ),
    mirror_vertices=mirror_map(mean_mm, triangles),
    expression_mixing=None
    if blendshapes is None
    else blendshapes.mixing.astype(np.float32),
    expression_samples=None
    if blendshapes is None
    else blendshapes.samples.astype(np.float32),
    name=name,
    source=source,
    licence=licence,
  )
  try:
    validate_morphable_model(model)
  except (ValueError, TypeError) as error:
    raise UserError(f"{where}: {error}") from error
  return model


def checked_indices(
  where: str, field: str, indices: np.ndarray, size: int, *, low: int = 0
) -> Int[np.ndarray, "..."]:
  """Indices as int32.

  Raises:
    UserError: One is not a whole number from `low` to `size` - 1.
  """
  indices = np.asarray(indices)
  whole = indices.dtype.kind in "iuf" and indices.size > 0
  if whole and indices.dtype.kind == "f":
    whole = bool(np.all(indices == np.round(indices)))  # false for NaN
  if not whole or indices.min() < low or indices.max() >= size:
    got = f"{indices.min():g} to {indices.max():g}" if whole else "others"
    raise UserError(
      f"{where}: {field}: expected vertex indices from {low} to {size - 1},"
      f" got {got}"
    )
  return indices.astype(np.int32)


def outward_triangles(
  vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Int[np.ndarray, "F 3"]:
  """The triangles, all turned round where the surface faces inwards.

  Seen from the mean vertex, which lies inside a head and behind a mask, the
  surface encloses a positive volume when it faces outwards.
  """
  a, b, c = np.moveaxis(vertices[triangles] - vertices.mean(0), 1, 0)
  volume = np.sum(np.cross(a, b) * c)
  return triangles if volume >= 0 else triangles[:, [0, 2, 1]]


def mirror_map(
  vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Int[np.ndarray, "V"] | None:
  """Each vertex's mirror image in x = 0, or None for an asymmetric mesh.

  Where two vertices lie at one place, as on shut lips, their neighbours tell
  them apart.
  """
  if not np.isfinite(vertices).all():
    return None
  total, count = vertices.copy(), np.ones(len(vertices))
  for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)):
    np.add.at(total, triangles[:, a], vertices[triangles[:, b]])
    np.add.at(count, triangles[:, a], 1.0)
  for weight in (0.0, _NEIGHBOURS_WEIGHT):
    around = weight * total / count[:, None]
    described = np.concatenate([vertices, around], axis=1)
    mirrored = described * [[-1.0, 1.0, 1.0] * 2]
    _, mirror = KDTree(described).query(mirrored)
    distance = np.linalg.norm((mirrored - described[mirror])[:, :3], axis=1)
    involution = np.array_equal(mirror[mirror], np.arange(len(vertices)))
    if distance.max() <= _MIRROR_TOLERANCE_MM and involution:
      return mirror.astype(np.int32)
  return None


def _basis(flat: np.ndarray, unit_mm: float) -> Float[np.ndarray, "V 3 C"]:
  scaled = np.multiply(flat, unit_mm, dtype=np.float32)
  return scaled.reshape(-1, 3, flat.shape[1])
