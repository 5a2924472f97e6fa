"""Multi-image fit of a morphable model to 2D landmarks (3.3.2, Eq. 6-7).

All images of a subject share one identity; each has its own expression and
camera. The fit alternates: cameras, expressions, shared identity. Subjects
and images are padded to one size, so that a whole batch is one program.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.alternation import State, alternate, start
from disentangle3d.fitting.camera import camera_or_none, image_axes
from disentangle3d.fitting.linear_steps import (
  LandmarkBasis,
  combine,
  landmark_basis,
)
from disentangle3d.fitting.options import DEFAULT_OPTIONS, FitOptions
from disentangle3d.fitting.weights import landmark_weights, observe, outliers
from disentangle3d.geometry import Camera
from disentangle3d.types import NUM_LANDMARKS, check_array

# A face's outer eye distance, which image sizes are measured against.
FACE_SIZE_MM = 90.0


@flax.struct.dataclass
class FitResult:
  """A fit of S subjects with N images each.

  Attributes:
    identity_coefficients: alpha, `[S, I]`, standard deviations.
    expression_coefficients: beta, `[S, N, E]`, standard deviations.
    camera: Cameras, `[S, N]`, in the landmarks' pixels.
    objective: sum of |u - u_hat|^2 over visible points (whitened, where the
      noise is calibrated; of its robust cost, where asked for) +
      landmark_std_px^2 (|alpha - mean|^2 / identity_std^2 +
      sum_n |beta_n - mean_n|^2 / expression_std^2) after each alternation,
      `[S, T]`, px^2; the last value repeats once a subject has stopped.
    rmse_px: Root mean square distance over an image's visible points, robust
      weights applied, never whitened, `[S, N]`, pixels.
    relative_error: rmse_px over what 90 mm (the outer eye distance) measure in
      the image, `[S, N]`: the same for small faces and large ones.
    landmark_weights: Visibility times the robust weight, `[S, N, 68]`.
    outliers: Visible landmarks that a robust cost gave less than half of
      their weight, `[S, N, 68]`; none without such a cost.
    iterations: Alternations done, `[S]` int32.
    converged: Whether the tolerance was met, `[S]`.
  """

  identity_coefficients: Float[Array, "S I"]
  expression_coefficients: Float[Array, "S N E"]
  camera: Camera
  objective: Float[Array, "S T"]
  rmse_px: Float[Array, "S N"]
  relative_error: Float[Array, "S N"]
  landmark_weights: Float[Array, "S N 68"]
  outliers: Bool[Array, "S N 68"]
  iterations: Int[Array, "S"]
  converged: Bool[Array, "S"]


def fit_landmarks(
  model: MorphableModel,
  landmarks: Float[Array, "S N 68 2"],
  visibility: Float[Array, "S N 68"],
  *,
  options: FitOptions = DEFAULT_OPTIONS,
  contour: Int[Array, "17 C"] | None = None,
  visible_contour: Bool[Array, "S N"] | None = None,
  identity_mean: Float[Array, "S I"] | None = None,
  expression_mean: Float[Array, "S N E"] | None = None,
) -> FitResult:
  """Fits one identity a subject to the landmarks of all its images.

  Minimises the sum of |u - u_hat|^2 over visible points + landmark_std_px^2
  (|alpha - mean|^2 / identity_std^2 + sum_n |beta_n - mean_n|^2 /
  expression_std^2).
  Eq. 7 is its first term. From the prior's means and a closed-form camera it
  alternates (3.3.2): damped Gauss-Newton steps for every camera, then the
  expressions, then the shared identity by conjugate gradients; then it goes on
  along its last rounds as far as the objective falls (`extrapolation`), which
  the paper does not. The
  objective never increases, unless `contour` gives a landmark another vertex
  or the noise another weight.

  A robust cost is lowered by reweighting the landmarks before each
  alternation (`weights`), which needs no more than a weight a landmark.

  Where the model has a landmark calibration, points are where that has them.
  With `noise="calibrated"` and covariances a distance r counts as r^T M r, M =
  landmark_std_px^2 (scale^2 Sigma)^-1, Sigma the landmark's at the image's
  yaw (`noise`); scale and yaw follow the camera for the first three
  alternations. The prior is then the same whatever `landmark_std_px`.

  What landmarks cannot tell: absolute size (the cameras' scale stands against
  it), and, as 68 landmarks have 204 coordinates, at 199 + 29 coefficients at
  least 31 directions, whatever the number of images; a single image leaves
  depth to the prior as well. The prior decides those; without it
  (landmark_std_px 0) they stay wherever the steps from zero leave them, so
  coefficients then mean little although landmarks are met.

  Args:
    model: The basis; landmarks that it has not count as invisible.
    landmarks: iBUG landmarks, `[S, N, 68, 2]`, pixels (of the crop, in this
      project); invisible ones may be anything, NaN included.
    visibility: 1 where a landmark may be used, else 0, `[S, N, 68]`; values
      between weigh. An image with no visible landmark is padding.
    options: Prior, robust cost and stopping rule; static under jit.
    contour: From `jaw_contour`: before each alternation the contour landmarks
      of the side turned away move to the candidate on the silhouette. None
      keeps every landmark on its vertex.
    visible_contour: Which images' contours do so, `[S, N]`; None is all.
    identity_mean: Of the prior, `[S, I]`, standard deviations: what a network
      says of the person, say; `identity_std` tells how near it is. None is 0.
    expression_mean: Of each image's, `[S, N, E]`, with `expression_std`.

  Returns:
    The fit; always finite. Padding changes nothing, and gets zeros (and no
    rotation).

  Raises:
    ValueError: A shape disagrees with the model or another argument.
    TypeError: `landmarks` is not floating point.
  """
  sizes = check_array("landmarks", landmarks, f"S N {NUM_LANDMARKS} 2")
  check_array(
    "visibility", visibility, f"S N {NUM_LANDMARKS}", dtype="any", sizes=sizes
  )
  if visible_contour is not None:
    check_array(
      "visible_contour", visible_contour, "S N", dtype="any", sizes=sizes
    )
  sizes |= {"I": model.identity_dim, "E": model.expression_dim}
  if identity_mean is not None:
    check_array("identity_mean", identity_mean, "S I", sizes=sizes)
  if expression_mean is not None:
    check_array("expression_mean", expression_mean, "S N E", sizes=sizes)
  if 0 in landmarks.shape:
    raise ValueError(
      "landmarks: expected at least one subject and image, got shape"
      f" {list(landmarks.shape)}"
    )
  # Accelerators multiply float32 in fewer bits unless told otherwise.
  with jax.default_matmul_precision("highest"):
    basis = _about_prior(
      landmark_basis(model, contour), identity_mean, expression_mean, options
    )
    observed = observe(
      basis,
      jnp.asarray(landmarks),
      jnp.asarray(visibility),
      None if visible_contour is None else jnp.asarray(visible_contour),
    )
    state = start(basis, observed, options)
    state = jax.lax.while_loop(
      lambda state: (
        (state.count < options.max_iterations) & jnp.any(~state.converged)
      ),
      lambda state: alternate(basis, state, options),
      state,
    )
    result = _result(basis, state, options)
  # Padding keeps its zeros.
  seen = jnp.sum(state.observed.weights, -1) > 0
  alpha, beta = result.identity_coefficients, result.expression_coefficients
  if identity_mean is not None:
    alpha = alpha + jnp.where(jnp.any(seen, -1)[:, None], identity_mean, 0.0)
  if expression_mean is not None:
    beta = beta + jnp.where(seen[..., None], expression_mean, 0.0)
  return dataclasses.replace(
    result, identity_coefficients=alpha, expression_coefficients=beta
  )


def _about_prior(
  basis: LandmarkBasis,
  identity_mean: Array | None,
  expression_mean: Array | None,
  options: FitOptions,
) -> LandmarkBasis:
  """Modes in the prior's standard deviations, the mean where the prior's is."""
  mean, mean_centroid = basis.mean[None, None], basis.mean_centroid[None, None]
  if identity_mean is not None:
    mean = mean + combine(identity_mean, basis.identity)[:, None]
    mean_centroid = (
      mean_centroid + (identity_mean @ basis.identity_centroid)[:, None]
    )
  if expression_mean is not None:
    mean = mean + combine(expression_mean, basis.expression)
    mean_centroid = mean_centroid + expression_mean @ basis.expression_centroid
  return dataclasses.replace(
    basis,
    mean=mean,
    mean_centroid=mean_centroid,
    identity=options.identity_std * basis.identity,
    identity_centroid=options.identity_std * basis.identity_centroid,
    expression=options.expression_std * basis.expression,
    expression_centroid=options.expression_std * basis.expression_centroid,
  )


def _result(
  basis: LandmarkBasis, state: State, options: FitOptions
) -> FitResult:
  observed, estimate = state.observed, state.estimate
  axes = image_axes(estimate.scale, estimate.rotation)
  share = observed.share[..., None, :]
  # The basis was centred: put the shapes' own centroids back.
  centroid = (
    basis.mean_centroid
    + (estimate.identity @ basis.identity_centroid)[:, None]
    + estimate.expression @ basis.expression_centroid
    + jnp.sum(share * estimate.points, -1)
  )
  translation = (
    observed.mean
    + jnp.sum(share * observed.landmarks, -1)
    - jnp.einsum("snai,sni->sna", axes, centroid)
  )
  if observed.noise is not None:
    # The residuals' mean is not where the whitened objective wants it.
    translation = translation - jnp.sum(share * estimate.residuals, -1)
  seen = jnp.sum(observed.weights, -1) > 0
  rmse = jnp.sqrt(jnp.sum(share * estimate.residuals**2, (-2, -1)))
  size = FACE_SIZE_MM * estimate.scale
  return FitResult(
    identity_coefficients=options.identity_std * estimate.identity,
    expression_coefficients=options.expression_std * estimate.expression,
    camera=camera_or_none(estimate.scale, estimate.rotation, translation, seen),
    objective=state.history,
    rmse_px=rmse,
    relative_error=rmse / jnp.where(size > 0, size, 1.0),
    landmark_weights=landmark_weights(observed),
    outliers=outliers(observed),
    iterations=state.iterations,
    converged=state.converged,
  )
