"""A small model that is known exactly, and its parts in the files' terms.

The procedural face with few vertices and modes: it has 68 landmarks, left and
right, a size in millimetres and triangles that turn outwards, all of which the
readers check.
"""

import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model

NUM_VERTICES = 600
MODEL = procedural_face_model(
  num_vertices=NUM_VERTICES, identity_dim=4, expression_dim=3
)
LICENCE_WORDS = "not commercial|not for commercial|download page"


def flat_mean(model: MorphableModel = MODEL) -> np.ndarray:
  return model.mean_shape.astype(np.float64).reshape(-1)


def flat_basis(basis: np.ndarray) -> np.ndarray:
  """x1 y1 z1 x2 ... by modes."""
  return basis.astype(np.float64).reshape(-1, basis.shape[-1])


def unit_modes(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Unit columns, and the standard deviations that were on them."""
  flat = flat_basis(basis)
  norms = np.linalg.norm(flat, axis=0)
  return flat / norms, norms


def inward_triangles(model: MorphableModel = MODEL) -> np.ndarray:
  return model.triangles[:, ::-1]


def assert_same_model(
  got: MorphableModel, *, expression: bool = True, tolerance_mm: float = 1e-3
) -> None:
  """The arrays of `MODEL`, and so the shapes for any coefficients.

  With `expression=False` the expression basis is left to the caller.
  """
  for field in ("mean_shape", "identity_basis", "expression_basis"):
    if field == "expression_basis" and not expression:
      continue
    np.testing.assert_allclose(
      getattr(got, field),
      getattr(MODEL, field),
      atol=tolerance_mm,
      err_msg=field,
    )
  for field in ("landmark_vertices", "mirror_vertices"):
    np.testing.assert_array_equal(
      getattr(got, field), getattr(MODEL, field), err_msg=field
    )
  np.testing.assert_array_equal(
    _from_smallest(got.triangles), _from_smallest(MODEL.triangles)
  )


def _from_smallest(triangles: np.ndarray) -> np.ndarray:
  """Each triangle from its smallest vertex on, its turn kept."""
  first = triangles.argmin(1)
  order = (first[:, None] + np.arange(3)[None]) % 3
  return np.take_along_axis(triangles, order, 1)
