"""The two linear steps of the landmark fit: expressions, then identity.

With cameras fixed, Eq. 7 is quadratic in the coefficients. The normal matrices
are never formed: a landmark basis holds all that the images share, and what
differs between them is one symmetric 3x3 matrix a landmark, so a matrix-vector
product is two products with the basis and a 3x3 product a landmark between
them. For the identity these 3x3 matrices are summed over a subject's images
beforehand, so that a product costs the same for 1 image and for 46.

Conjugate gradients need only that. They are made of plain XLA operations
(LAPACK on batches can hang on CPU), lower the objective at every truncation,
and stand still in directions that nothing determines.

Coordinates run before landmarks here (`[..., 3, L]`): XLA then vectorises over
the landmarks.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from disentangle3d.faces.landmark_calibration import LandmarkCalibration
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.model_points import model_points
from disentangle3d.types import NUM_LANDMARKS

# What a step may cost beyond the objective, relative to the curvature: keeps
# directions still that only rounding sees. It acts on the step, so a fixed
# point of the alternation is not moved by it.
_STEP_RIDGE = 1e-6

# Of a conjugate gradient: count, x, residual, direction, energy.
_Search = tuple[Array, Array, Array, Array, Array]


@flax.struct.dataclass
class LandmarkBasis:
  """A morphable model at its landmarks, each mode's centroid moved to 0.

  P points: the 68 landmarks, where the model's calibration has them, if any;
  then, where the contour follows the silhouette, the further candidates of
  each contour landmark in turn.

  A camera's translation takes up the centroid; without it the linear steps
  and the translation hardly depend on each other (not at all where every
  landmark is visible), so that alternating between them loses nothing.

  Attributes:
    mean: Points of the mean shape, `[3, P]`, mm; of the prior's of each image
      in a fit, `[S, N, 3, P]` (1 where all have the same).
    identity: `[I, 3, P]`, mm a standard deviation.
    expression: `[E, 3, P]`, mm a standard deviation.
    mean_centroid: What was subtracted from `mean`, `[3]`; `[S, N, 3]`
      likewise.
    identity_centroid: `[I, 3]`.
    expression_centroid: `[E, 3]`.
    mask: 1 for each point that the model has, else 0, `[P]`.
    calibration: The model's, if it has covariances.
  """

  mean: Float[Array, "*SN 3 P"]
  identity: Float[Array, "I 3 P"]
  expression: Float[Array, "E 3 P"]
  mean_centroid: Float[Array, "*SN 3"]
  identity_centroid: Float[Array, "I 3"]
  expression_centroid: Float[Array, "E 3"]
  mask: Float[Array, "P"]
  calibration: LandmarkCalibration | None = None


def landmark_basis(
  model: MorphableModel, contour: Int[Array, "17 C"] | None = None
) -> LandmarkBasis:
  """Takes a model's landmarks out of it.

  Args:
    model: The basis; landmarks that it has not become zero and masked.
    contour: From `jaw_contour`; None leaves P at 68.

  Returns:
    float32 arrays, coordinates before landmarks.

  Raises:
    ValueError: `model.landmark_vertices` is not `[68]`, or `contour` not
      `[17, C]`.
  """
  points = model_points(model, contour)
  landmarks = points.mask[:NUM_LANDMARKS]
  share = landmarks / jnp.maximum(jnp.sum(landmarks), 1.0)
  # Centroids are the landmarks' own, with or without candidates.
  share = jnp.pad(share, (0, len(points.mask) - NUM_LANDMARKS))

  def centred(picked: Array) -> tuple[Array, Array]:
    picked = jnp.moveaxis(picked.astype(jnp.float32), 0, -1)  # [3, (C,) P]
    if picked.ndim == 3:
      picked = jnp.swapaxes(picked, 0, 1)  # [C, 3, P]
    along = (1,) * (picked.ndim - 1) + (-1,)
    centroid = jnp.sum(share.reshape(along) * picked, -1)
    kept = (picked - centroid[..., None]) * points.mask.reshape(along)
    return kept, centroid

  mean, mean_centroid = centred(points.mean)
  identity, identity_centroid = centred(points.identity)
  expression, expression_centroid = centred(points.expression)
  calibration = model.landmark_calibration
  return LandmarkBasis(
    mean=mean,
    identity=identity,
    expression=expression,
    mean_centroid=mean_centroid,
    identity_centroid=identity_centroid,
    expression_centroid=expression_centroid,
    mask=points.mask,
    calibration=(
      calibration if calibration and calibration.num_yaw_ranges else None
    ),
  )


def combine(
  coefficients: Float[Array, "... C"], basis: Float[Array, "C 3 L"]
) -> Float[Array, "... 3 L"]:
  """sum_c coefficients_c basis_c."""
  flat = coefficients @ basis.reshape(basis.shape[0], -1)
  return flat.reshape(*coefficients.shape[:-1], *basis.shape[1:])


def quadratic_step(
  basis: Float[Array, "C 3 L"],
  metric: Float[Array, "*B 3 3 L"],
  force: Float[Array, "*B 3 L"],
  coefficients: Float[Array, "*B C"],
  *,
  prior: float,
  tolerance: float,
  max_iterations: int,
) -> Float[Array, "*B C"]:
  """The coefficients that minimise a quadratic around the present ones.

  Minimises over the step d, with y = `combine(d, basis)`,
  sum_l (y_l^T metric_l y_l - 2 force_l^T y_l) + prior |coefficients + d|^2.

  Args:
    basis: Landmark modes, `[C, 3, L]`.
    metric: Symmetric positive semidefinite, `[..., 3, 3, L]`, px^2/mm^2: of
      one image w_l axes^T axes, of a subject the sum over its images.
    force: w_l axes^T residual_l, summed likewise, `[..., 3, L]`, px^2/mm.
    coefficients: Where the step starts, `[..., C]`.
    prior: Weight of the squared coefficients, px^2.
    tolerance: Stops each system where its preconditioned gradient has
      fallen to this part of what it was.
    max_iterations: At most so many conjugate gradient iterations.

  Returns:
    coefficients + d, `[..., C]`.
  """
  flat_basis = basis.reshape(basis.shape[0], -1)
  flat = (*coefficients.shape[:-1], -1)
  gradient = force.reshape(flat) @ flat_basis.T - prior * coefficients
  # Its trace / 3 stands for each metric: enough for a preconditioner.
  stiffness = jnp.trace(metric, axis1=-3, axis2=-2) / 3
  diagonal = stiffness @ jnp.sum(basis * basis, 1).T + prior
  diagonal = jnp.where(diagonal > 0, diagonal, 1.0)

  def operator(vector: Array) -> Array:
    y = combine(vector, basis)
    # [..., 3, 3, L] x [..., 3, L] written out: XLA's tiny dots are slower.
    bent = (
      metric[..., :, 0, :] * y[..., 0, None, :]
      + metric[..., :, 1, :] * y[..., 1, None, :]
      + metric[..., :, 2, :] * y[..., 2, None, :]
    )
    out = bent.reshape(flat) @ flat_basis.T
    return out + (prior + _STEP_RIDGE * diagonal) * vector

  return coefficients + conjugate_gradient(
    operator,
    gradient,
    1 / diagonal,
    tolerance=tolerance,
    max_iterations=max_iterations,
  )


def conjugate_gradient(
  operator: Callable[[Array], Array],
  rhs: Float[Array, "*B C"],
  preconditioner: Float[Array, "*B C"],
  *,
  tolerance: float,
  max_iterations: int,
) -> Float[Array, "*B C"]:
  """Preconditioned conjugate gradients on a batch of systems, from zero.

  Every system goes its own way: it stops by its own residual, and nothing
  about it depends on the others in the batch.

  Args:
    operator: x -> matrix x on `[..., C]`; positive semidefinite.
    rhs: Right-hand sides, `[..., C]`.
    preconditioner: Positive diagonal, near the inverse's, `[..., C]`.
    tolerance: A system stops where its preconditioned residual norm has
      fallen to this part of the right-hand side's.
    max_iterations: At most so many iterations.

  Returns:
    Solutions, `[..., C]`.
  """
  z = preconditioner * rhs
  start = jnp.sum(rhs * z, -1)
  goal = tolerance**2 * start

  def goes_on(state: _Search) -> Array:
    return (state[0] < max_iterations) & jnp.any(state[-1] > goal)

  def iterate(state: _Search) -> _Search:
    count, x, residual, direction, energy = state
    moved = operator(direction)
    curvature = jnp.sum(direction * moved, -1)
    usable = (energy > goal) & (curvature > 0)
    length = jnp.where(usable, energy / jnp.where(usable, curvature, 1.0), 0.0)
    x = x + length[..., None] * direction
    residual = residual - length[..., None] * moved
    z = preconditioner * residual
    new_energy = jnp.where(usable, jnp.sum(residual * z, -1), 0.0)
    turn = new_energy / jnp.where(energy > 0, energy, 1.0)
    return count + 1, x, residual, z + turn[..., None] * direction, new_energy

  state = (jnp.zeros((), jnp.int32), jnp.zeros_like(rhs), rhs, z, start)
  return jax.lax.while_loop(goes_on, iterate, state)[1]
