"""The built-in morphable model: a human face made by analysis, of no data.

The mean face is a formula (`procedural_surface`) on a curved grid
(`procedural_mesh`). Its modes are those of Gaussian processes with anatomical
fields (`procedural_anatomy`, `procedural_modes`): identity over the whole
face, expression around mouth, cheeks, eyes and brows. Computed in float64 on
the host, rounded to float32 at the end.
"""

from collections.abc import Callable

import numpy as np
import threadpoolctl

from disentangle3d.faces import procedural_surface as face
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural_anatomy import (
  expression_fields,
  identity_fields,
  lower_share,
)
from disentangle3d.faces.procedural_landmarks import place_landmarks
from disentangle3d.faces.procedural_mesh import FaceMesh, face_mesh
from disentangle3d.faces.procedural_modes import (
  MAX_MODES,
  Modes,
  Process,
  multiscale_kernel,
  process_modes,
)
from disentangle3d.types import (
  IDENTITY_DIM,
  NUM_VERTICES,
  RESIDUAL_DIM,
  UserError,
)

_MIN_VERTICES = 500
# Root mean square distance from the mean face over control points, mm; the
# identity modes of ICT-FaceKit have 6.2.
_IDENTITY_DEVIATION = 5.0
_IDENTITY_SCALES = (80.0, 40.0, 24.0, 15.0)
_IDENTITY_DEVIATIONS = (1.0, 0.75, 0.45, 0.25)
_EXPRESSION_SCALES = (26.0, 16.0)
_EXPRESSION_DEVIATIONS = (0.5, 0.35)
# Distance, mm, that the two lips count as apart where they touch.
_LIPS_APART = 26.0


def procedural_face_model(
  *,
  num_vertices: int = NUM_VERTICES,
  identity_dim: int = IDENTITY_DIM,
  expression_dim: int = RESIDUAL_DIM,
  seed: int = 0,
) -> MorphableModel:
  """Builds the default 3DMM.

  Same arguments, same model; a smaller dimension is a prefix of a larger one,
  bit for bit. Every mode is symmetric or antisymmetric under
  `mirror_vertices`. The mouth of the mean face is shut, its lips touch.

  Args:
    num_vertices: V, at least 500; few vertices give a coarser mesh.
    identity_dim: I, 1 to 380.
    expression_dim: E, 1 to 380: first jaw, smile, brows up, lids shut, pucker
      and other named movements, then modes of a Gaussian process.
    seed: Draws how strong each anatomical difference and each length scale is
      among this model's people; the mean face is the same for all.

  Returns:
    The model, its arrays in host memory (NumPy, float32 and int32).

  Raises:
    UserError: A size is out of range.
    TypeError: A size or the seed is not an int.
  """
  for name, value, low, high in (
    ("num_vertices", num_vertices, _MIN_VERTICES, 10_000_000),
    ("identity_dim", identity_dim, 1, MAX_MODES),
    ("expression_dim", expression_dim, 1, MAX_MODES),
    ("seed", seed, 0, 2**63 - 1),
  ):
    if not isinstance(value, int):
      raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if not low <= value <= high:
      raise UserError(f"{name}: expected {low} to {high}, got {value}")
  mesh = face_mesh(num_vertices)
  half = np.flatnonzero(
    (mesh.position[:, 0] > 0) | (mesh.mirror == np.arange(num_vertices))
  )
  # On a busy machine the threads of small eigenproblems wait for each other for
  # seconds; and one thread adds in the same order on any number of cores.
  with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
    identity = _identity_modes(mesh.position[half], identity_dim, seed)
    expression = _expression_modes(
      mesh.position[half], mesh.below_seam[half], expression_dim
    )
  return MorphableModel(
    mean_shape=mesh.position.astype(np.float32),
    identity_basis=_whole_face(mesh, half, identity),
    expression_basis=_whole_face(mesh, half, expression),
    triangles=mesh.triangles,
    landmark_vertices=place_landmarks(mesh),
    mirror_vertices=mesh.mirror,
    name="procedural",
    source=(
      f"disentangle3d.procedural_face_model(num_vertices={num_vertices},"
      f" identity_dim={identity_dim}, expression_dim={expression_dim},"
      f" seed={seed})"
    ),
    licence="Apache-2.0",
  )


def _identity_modes(points: np.ndarray, count: int, seed: int) -> Modes:
  rng = np.random.default_rng(seed)
  control = _control_points()
  spread = np.exp(0.2 * rng.normal(size=len(_IDENTITY_SCALES)))
  strength = {
    parity: np.exp(
      0.25 * rng.normal(size=identity_fields(control, parity).shape[-1])
    )
    for parity in (1, -1)
  }

  def fields(points: np.ndarray, parity: int) -> np.ndarray:
    return identity_fields(points, parity) * strength[parity]

  process = Process(
    kernel=multiscale_kernel(
      _IDENTITY_SCALES, tuple(spread * np.array(_IDENTITY_DEVIATIONS))
    ),
    fields=fields,
    remove_rigid=True,
    deviation_mm=_IDENTITY_DEVIATION,
  )
  return process_modes(process, control, points, count)


def _expression_modes(
  points: np.ndarray, below_seam: np.ndarray, count: int
) -> Modes:
  """Named movements first, then a process around what moves."""
  named, parity = expression_fields(points, below_seam)
  if count <= len(parity):
    return Modes(named[..., :count].astype(np.float32), parity[:count])
  control = _control_points()
  below = np.where(control[:, 1] > face.lip_seam(control[:, 0]), -1.0, 1.0)
  process = Process(
    kernel=_local_kernel(
      multiscale_kernel(_EXPRESSION_SCALES, _EXPRESSION_DEVIATIONS)
    ),
    fields=lambda points, _: np.zeros((len(points), 3, 0)),
    remove_rigid=False,
    deviation_mm=None,
  )
  more = process_modes(
    process,
    _with_mobility(control, below),
    _with_mobility(points, below_seam),
    count - len(parity),
  )
  return Modes(
    np.concatenate([named.astype(np.float32), more.fields], -1),
    np.concatenate([parity, more.parity]),
  )


def _local_kernel(
  kernel: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  """Takes a last coordinate as the factor of a point's displacements."""

  def local(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, -1:] * kernel(a[:, :-1], b[:, :-1]) * b[:, -1][None]

  return local


def _with_mobility(points: np.ndarray, below_seam: np.ndarray) -> np.ndarray:
  """x, y, z, what parts the lips, and how far expressions reach, `[P, 5]`."""
  x, y = points[:, 0], points[:, 1]
  apart = _LIPS_APART * lower_share(points, below_seam)
  mouth = np.exp(-(((x / 42) ** 2 + ((y + 44) / 36) ** 2) ** 1.5))
  brows = 0.6 * np.exp(-(((x - 24) / 28) ** 2 + ((y - 50) / 16) ** 2))
  cheeks = 0.5 * np.exp(-(((x - 40) / 20) ** 2 + ((y + 4) / 18) ** 2))
  mobility = np.maximum(mouth, np.maximum(brows, cheeks))
  return np.concatenate([points, apart[:, None], mobility[:, None]], axis=1)


def _control_points() -> np.ndarray:
  """Points spread over one half of the mean face, `[C, 3]`."""
  angle, row = np.meshgrid(
    face.SIDE_ANGLE * np.linspace(0.0, 1.0, 9) ** 1.15,
    np.linspace(face.BOTTOM_ROW, face.TOP_ROW, 14),
  )
  return face.surface(angle.ravel(), row.ravel())


def _whole_face(mesh: FaceMesh, half: np.ndarray, modes: Modes) -> np.ndarray:
  """Mirrors modes of the half to all vertices, `[V, 3, M]`."""
  count = modes.parity.size
  basis = np.empty((len(mesh.position), 3, count), np.float32)
  mirrored = np.array([-1, 1, 1])[:, None] * modes.parity[None]
  basis[mesh.mirror[half]] = modes.fields * mirrored.astype(np.float32)[None]
  basis[half] = modes.fields
  middle = half[mesh.mirror[half] == half]
  basis[middle] *= (mirrored > 0).astype(np.float32)[None]
  return basis
