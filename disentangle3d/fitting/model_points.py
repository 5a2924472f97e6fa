"""The points of a morphable model that a fit moves onto landmarks."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.faces.landmark_calibration import surface_points
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
)
from disentangle3d.types import NUM_CONTOUR, NUM_LANDMARKS, check_array


@flax.struct.dataclass
class ModelPoints:
  """A model at its P points: 68 landmarks, then the contour's candidates.

  Attributes:
    mean: Of the mean shape, `[P, 3]`, mm.
    identity: `[P, 3, I]`.
    expression: `[P, 3, E]`.
    mask: 1 for each point that the model has, else 0, `[P]`.
  """

  mean: Float[Array, "P 3"]
  identity: Float[Array, "P 3 I"]
  expression: Float[Array, "P 3 E"]
  mask: Float[Array, "P"]


def model_points(
  model: MorphableModel, contour: Int[Array | np.ndarray, "17 C"] | None = None
) -> ModelPoints:
  """The landmarks of a model and the further candidates of its contour.

  A calibrated landmark is where the calibration puts it, and the candidates of
  a contour landmark are all moved with their first one onto it.

  Args:
    model: The model; vertex 0 stands in for landmarks that it has not.
    contour: From `jaw_contour`; None leaves P at 68.

  Returns:
    The points; P is 68 + 17 (C - 1).

  Raises:
    ValueError: `model.landmark_vertices` is not `[68]`, or `contour` not
      `[17, C]`.
  """
  vertices = jnp.asarray(model.landmark_vertices)
  check_array(
    "model.landmark_vertices", vertices, f"{NUM_LANDMARKS}", dtype="integer"
  )
  calibration = model.landmark_calibration
  mean_shape = jnp.asarray(model.mean_shape)
  mean = landmark_points(model, mean_shape)
  mask = landmark_mask(model)
  further = jnp.zeros((0,), jnp.int32)
  if contour is not None:
    check_array("contour", contour, f"{NUM_CONTOUR} C", dtype="integer")
    contour = jnp.asarray(contour)
    first, further = contour[:, 0], jnp.ravel(contour[:, 1:])
    candidates = jnp.take(mean_shape, jnp.maximum(further, 0), axis=0)
    if calibration is not None:
      shift = mean[:NUM_CONTOUR] - mean_shape[jnp.maximum(first, 0)]
      candidates = candidates + jnp.repeat(shift, contour.shape[1] - 1, axis=0)
    mean = jnp.concatenate([mean, candidates])
    mask = jnp.concatenate([mask, (further >= 0).astype(mask.dtype)])

  def modes(basis: Array | np.ndarray) -> Array:
    basis = jnp.asarray(basis)
    if calibration is None:
      own = jnp.take(basis, jnp.maximum(vertices, 0), axis=0)
    else:
      own = surface_points(calibration, basis, axis=0)
    more = jnp.take(basis, jnp.maximum(further, 0), axis=0)
    return jnp.concatenate([own, more])

  return ModelPoints(
    mean=mean,
    identity=modes(model.identity_basis),
    expression=modes(model.expression_basis),
    mask=mask,
  )
