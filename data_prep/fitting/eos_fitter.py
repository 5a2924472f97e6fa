"""The package eos-py (the extra `benchmark`) on the arrays of our models."""

import importlib
from typing import Any

from jaxtyping import Array, Float
import numpy as np

from data_prep.stages.extras import require
from disentangle3d.faces.morphable_model import MorphableModel


class EosFitter:
  """`eos.fitting.fit_shape_and_pose` on a model cut to its landmarks.

  Landmarks that the model has not are left out, and so are eos's contours.
  """

  def __init__(self, model: MorphableModel):
    """Builds eos's objects.

    Raises:
      UserModuleNotFoundError: The package eos-py is not installed.
    """
    require("benchmark", "to compare with eos", "eos")
    self._eos: Any = importlib.import_module("eos")
    vertices = np.asarray(model.landmark_vertices)
    self._known = vertices >= 0
    mean = np.asarray(model.mean_shape)[vertices].reshape(-1, 1)
    # Named by vertex, which is what eos reads a name as without a mapper.
    definitions = {str(i): i for i in range(len(vertices))}
    modes = self._eos.morphablemodel
    # Triangles are not looked at without a contour.
    triangles = [[0, 1, 2]]
    self._model = modes.MorphableModel(
      modes.PcaModel(
        mean, *_orthonormal(model.identity_basis, vertices), triangles
      ),
      modes.PcaModel(
        np.zeros_like(mean),
        *_orthonormal(model.expression_basis, vertices),
        triangles,
      ),
      modes.PcaModel(),
      definitions,
      [],
      [],
    )

  def fit(
    self,
    landmarks: Float[np.ndarray, "68 2"],
    visibility: Float[np.ndarray, "68"],
    *,
    num_iterations: int = 5,
    prior: float = 30.0,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Identity and expression coefficients of one image.

    Args:
      landmarks: `[68, 2]`, crop pixels.
      visibility: `[68]`; zeros are left out.
      num_iterations: eos's own default.
      prior: Its lambda_identity and lambda_expressions; 30 by default.
    """
    marks = [
      self._eos.core.Landmark(str(i), np.asarray(point, np.float32))
      for i, point in enumerate(landmarks)
      if visibility[i] > 0 and self._known[i]
    ]
    _, _, identity, expression = self._eos.fitting.fit_shape_and_pose(
      self._model,
      marks,
      self._eos.core.LandmarkMapper(),
      96,
      112,
      num_iterations=num_iterations,
      lambda_identity=prior,
      lambda_expressions=prior,
    )
    return np.asarray(identity), np.asarray(expression)


def _orthonormal(
  basis: Array | np.ndarray, vertices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Unit columns, and the variances that give the modes back."""
  flat = np.asarray(basis, np.float32)[vertices].reshape(-1, basis.shape[-1])
  length = np.linalg.norm(flat, axis=0)
  return flat / length, (length**2).reshape(-1, 1)
