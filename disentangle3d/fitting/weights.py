"""What each landmark weighs, and how that changes between iterations.

Everything that moves between iterations besides the unknowns is a weight.
Robust costs are fitted by iterative reweighting: with the weights
w = cost'(r^2) of the present distances, the weighted squares lie above the
robust cost and touch it, so lowering them lowers it. A contour landmark that
follows the silhouette is one landmark for each of its candidate vertices, of
which one has its weight and the others none. Calibrated noise follows the
cameras for the first rounds.
"""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from disentangle3d.fitting.camera import image_axes
from disentangle3d.fitting.contour import visible_candidates
from disentangle3d.fitting.linear_steps import LandmarkBasis
from disentangle3d.fitting.noise import Noise, noise_roots, weighed, whiten
from disentangle3d.fitting.options import FitOptions
from disentangle3d.types import NUM_CONTOUR, NUM_LANDMARKS

# Below it a landmark counts as an outlier.
_OUTLIER_WEIGHT = 0.5
# Rounds after which the noise stays: cameras then move by less than it is
# known to, and a face at the edge of a range of yaw must not go to and fro.
_NOISE_ROUNDS = 3


@flax.struct.dataclass
class Observed:
  """Landmarks with their weights, coordinates before landmarks.

  P points: the 68 landmarks, then the contour's further candidates, if any.

  Attributes:
    landmarks: About `mean`, `[S, N, 2, P]`, zero where invisible.
    mean: What was subtracted, `[S, N, 2]`.
    given: The visibility that came in, of all points, `[S, N, P]`.
    slides: 1 where an image's contour follows the silhouette, `[S, N]`.
    visible: What counts: `given` of the chosen candidates, `[S, N, P]`.
    weights: `visible` times the robust weights, `[S, N, P]`.
    share: weights over their sum, `[S, N, P]`.
    noise: What whitens distances, if anything does.
  """

  landmarks: Float[Array, "S N 2 P"]
  mean: Float[Array, "S N 2"]
  given: Float[Array, "S N P"]
  slides: Float[Array, "S N"]
  visible: Float[Array, "S N P"]
  weights: Float[Array, "S N P"]
  share: Float[Array, "S N P"]
  noise: Noise | None = None


def observe(
  basis: LandmarkBasis,
  landmarks: Float[Array, "S N 68 2"],
  visibility: Float[Array, "S N 68"],
  visible_contour: Bool[Array, "S N"] | None,
) -> Observed:
  """What `fit_landmarks` was given, made ready: every contour on its own."""
  given = jnp.maximum(visibility.astype(jnp.float32), 0.0)
  landmarks = jnp.swapaxes(landmarks.astype(jnp.float32), -1, -2)
  landmarks = jnp.where(given[..., None, :] > 0, landmarks, 0.0)
  given = _with_candidates(basis, given) * basis.mask[None, None]
  landmarks = _with_candidates(basis, landmarks)
  if visible_contour is None:
    slides = jnp.ones(given.shape[:2], jnp.float32)
  else:
    slides = visible_contour.astype(jnp.float32)
  own = jnp.arange(given.shape[-1]) < NUM_LANDMARKS
  visible = jnp.where(own[None, None], given, 0.0)
  share = _share(visible)
  mean = jnp.sum(share[..., None, :] * landmarks, -1)
  landmarks = jnp.where(
    given[..., None, :] > 0, landmarks - mean[..., None], 0.0
  )
  return Observed(
    landmarks=landmarks,
    mean=mean,
    given=given,
    slides=slides,
    visible=visible,
    weights=visible,
    share=share,
  )


def are_fixed(basis: LandmarkBasis, options: FitOptions) -> bool:
  """Whether the weights stay what they were at first; static."""
  return (
    options.robust == "none"
    and not _num_candidates(basis)
    and not _is_whitened(basis, options)
  )


def _is_whitened(basis: LandmarkBasis, options: FitOptions) -> bool:
  """Whether distances are whitened by calibrated noise; static."""
  return options.noise == "calibrated" and basis.calibration is not None


def with_noise(
  basis: LandmarkBasis,
  observed: Observed,
  scale: Float[Array, "S N"],
  rotation: Float[Array, "S N 3 3"],
  options: FitOptions,
) -> Observed:
  """The landmarks with the noise that they have under these cameras."""
  if not _is_whitened(basis, options):
    return observed
  root = _noise_roots(basis, scale, rotation, options)
  return dataclasses.replace(observed, noise=weighed(root, observed.weights))


def squared_distances(
  observed: Observed, residuals: Float[Array, "S N 2 P"]
) -> Float[Array, "S N P"]:
  """Squared distances of residuals, px^2; whitened ones, where noise is."""
  if observed.noise is not None:
    residuals = whiten(observed.noise.root, residuals)
  return jnp.sum(residuals**2, -2)


def reweigh(
  basis: LandmarkBasis,
  observed: Observed,
  points: Float[Array, "S N 3 P"],
  residuals: Float[Array, "S N 2 P"],
  scale: Float[Array, "S N"],
  rotation: Float[Array, "S N 3 3"],
  *,
  count: Int[Array, ""],
  settled: Bool[Array, "S"],
  options: FitOptions,
) -> Observed:
  """The weights under the present estimate.

  Args:
    basis: The model's landmarks and candidates.
    observed: With the weights so far.
    points: The estimated points, `[S, N, 3, P]`, mm.
    residuals: Landmarks less their projections, `[S, N, 2, P]`, px.
    scale: Of the estimated cameras, `[S, N]`.
    rotation: Of the estimated cameras, `[S, N, 3, 3]`.
    count: Rounds done, `[]`.
    settled: Subjects whose weights stay, `[S]`.
    options: The robust cost, and the unit of the noise.

  Returns:
    The same landmarks with other weights.
  """
  visible = observed.visible
  if _num_candidates(basis):
    axes = image_axes(scale, rotation)
    chosen = visible_candidates(_candidates(basis, points), axes)
    own = jnp.arange(chosen.shape[-1]) == 0
    chosen = jnp.where(
      observed.slides[..., None, None] > 0, chosen, own[None, None, None]
    )
    visible = observed.given * _spread(basis, chosen)
  root = None
  if observed.noise is not None:
    stays = settled | (count >= _NOISE_ROUNDS)
    root = jnp.where(
      stays[:, None, None, None],
      observed.noise.root,
      _noise_roots(basis, scale, rotation, options),
    )
    residuals = whiten(root, residuals)
  squares = jnp.sum(residuals**2, -2)
  weights = visible * robust_weight(squares, options)
  weights = jnp.where(settled[:, None, None], observed.weights, weights)
  visible = jnp.where(settled[:, None, None], observed.visible, visible)
  return dataclasses.replace(
    observed,
    visible=visible,
    weights=weights,
    share=_share(weights),
    noise=None if root is None else weighed(root, weights),
  )


def robust_weight(
  squares: Float[Array, "..."], options: FitOptions
) -> Float[Array, "..."]:
  """The derivative of `robust_cost` by the squared distance."""
  scale = options.robust_scale_px
  match options.robust:
    case "huber":
      return scale / jnp.sqrt(jnp.maximum(squares, scale**2))
    case "geman_mcclure":
      return (scale**2 / (scale**2 + squares)) ** 2
    case _:
      return jnp.ones_like(squares)


def robust_cost(
  squares: Float[Array, "..."], options: FitOptions
) -> Float[Array, "..."]:
  """What squared distances r^2 cost, px^2; see `FitOptions.robust`."""
  scale = options.robust_scale_px
  match options.robust:
    case "huber":
      far = 2 * scale * jnp.sqrt(jnp.maximum(squares, scale**2)) - scale**2
      return jnp.where(squares > scale**2, far, squares)
    case "geman_mcclure":
      return scale**2 * squares / (scale**2 + squares)
    case _:
      return squares


def landmark_weights(observed: Observed) -> Float[Array, "S N 68"]:
  """Each landmark's weight, whichever candidate carries it."""
  return _gather(observed.weights)


def outliers(observed: Observed) -> Bool[Array, "S N 68"]:
  """Visible landmarks that the robust cost has let go of."""
  visible = _gather(observed.visible)
  return _gather(observed.weights) < _OUTLIER_WEIGHT * visible


def _noise_roots(
  basis: LandmarkBasis, scale: Array, rotation: Array, options: FitOptions
) -> Array:
  if basis.calibration is None:
    raise ValueError("basis: expected one with a calibration, got none")
  root = noise_roots(basis.calibration, scale, rotation, options)
  return _with_candidates(basis, root)


def _share(weights: Array) -> Array:
  total = jnp.sum(weights, -1, keepdims=True)
  return weights / jnp.where(total > 0, total, 1.0)


def _num_candidates(basis: LandmarkBasis) -> int:
  """Further candidates of each contour landmark; static."""
  return (basis.mean.shape[-1] - NUM_LANDMARKS) // NUM_CONTOUR


def _with_candidates(basis: LandmarkBasis, values: Array) -> Array:
  """`[..., 68]` to `[..., P]`: a contour landmark's for each candidate."""
  more = jnp.repeat(values[..., :NUM_CONTOUR], _num_candidates(basis), -1)
  return jnp.concatenate([values, more], -1)


def _candidates(basis: LandmarkBasis, values: Array) -> Array:
  """`[..., P]` to `[..., 17, C]`, the landmark's own first."""
  more = values[..., NUM_LANDMARKS:]
  more = more.reshape(*values.shape[:-1], NUM_CONTOUR, _num_candidates(basis))
  return jnp.concatenate([values[..., :NUM_CONTOUR, None], more], -1)


def _spread(basis: LandmarkBasis, chosen: Array) -> Array:
  """`[..., 17, C]` to `[..., P]`: the other landmarks count as chosen."""
  batch = chosen.shape[:-2]
  others = NUM_LANDMARKS - NUM_CONTOUR
  return jnp.concatenate(
    [
      chosen[..., 0],
      jnp.ones((*batch, others), chosen.dtype),
      chosen[..., 1:].reshape(*batch, NUM_CONTOUR * _num_candidates(basis)),
    ],
    -1,
  )


def _gather(values: Array) -> Array:
  """`[..., P]` to `[..., 68]`, summed over the candidates."""
  own, more = jnp.split(values, [NUM_LANDMARKS], -1)
  more = more.reshape(*values.shape[:-1], NUM_CONTOUR, -1).sum(-1)
  return own.at[..., :NUM_CONTOUR].add(more)
