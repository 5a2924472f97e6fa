"""The alternation that `fit_landmarks` runs: cameras, expressions, identity.

Batch-first arrays with coordinates before landmarks (`[S, N, 3, P]`): XLA then
vectorises over the landmarks. Translations are eliminated: residuals are
always about their weighted mean, where the best translation puts it. Where the
landmarks' noise is calibrated, 2x2 weights stand for the scalar ones.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from disentangle3d.fitting.camera import (
  PointScatter,
  image_axes,
  refine_camera,
  start_camera,
)
from disentangle3d.fitting.extrapolation import (
  Iterate,
  extrapolate,
  remember,
  scaled_rotation,
)
from disentangle3d.fitting.linear_steps import (
  LandmarkBasis,
  combine,
  quadratic_step,
)
from disentangle3d.fitting.noise import (
  best_shift,
  pull,
  pulled_back,
  whiten,
  whitened_scatter,
)
from disentangle3d.fitting.options import FitOptions
from disentangle3d.fitting.weights import (
  Observed,
  are_fixed,
  reweigh,
  robust_cost,
  squared_distances,
  with_noise,
)


@flax.struct.dataclass
class Estimate:
  """Everything the alternation moves, with what was computed from it.

  P points, as `Observed` has.

  Attributes:
    identity: `[S, I]`.
    expression: `[S, N, E]`.
    scale: `[S, N]`.
    rotation: `[S, N, 3, 3]`.
    scatter: Of points and residuals under the cameras, `[S, N]`.
    points: `[S, N, 3, P]`, mm.
    residuals: About their weighted mean, `[S, N, 2, P]`, px.
    objective: `[S]`.
  """

  identity: Float[Array, "S I"]
  expression: Float[Array, "S N E"]
  scale: Float[Array, "S N"]
  rotation: Float[Array, "S N 3 3"]
  scatter: PointScatter
  points: Float[Array, "S N 3 P"]
  residuals: Float[Array, "S N 2 P"]
  objective: Float[Array, "S"]


@flax.struct.dataclass
class State:
  """The loop's carry.

  Attributes:
    observed: The landmarks with their present weights.
    estimate: Where each subject is.
    past: The iterates it was at before, `[S, extrapolated_rounds]`.
    count: Alternations done, `[]` int32.
    history: `FitResult.objective`, `[S, T]`.
    iterations: Alternations that each subject took part in, `[S]` int32.
    converged: `[S]`.
  """

  observed: Observed
  estimate: Estimate
  past: Iterate
  count: Int[Array, ""]
  history: Float[Array, "S T"]
  iterations: Int[Array, "S"]
  converged: Bool[Array, "S"]


def start(
  basis: LandmarkBasis, observed: Observed, options: FitOptions
) -> State:
  """The prior's means and the closed-form cameras of their shapes."""
  subjects, images = observed.weights.shape[:2]
  points = jnp.broadcast_to(
    basis.mean, (subjects, images, *basis.mean.shape[-2:])
  )
  scatter = _scatter(observed, points, observed.landmarks)
  scale, rotation = start_camera(scatter.points, scatter.residuals)
  observed = with_noise(basis, observed, scale, rotation, options)
  estimate = _evaluate(
    basis,
    observed,
    jnp.zeros((subjects, basis.identity.shape[0]), jnp.float32),
    jnp.zeros((subjects, images, basis.expression.shape[0]), jnp.float32),
    scale,
    rotation,
    options,
  )
  iterate = _iterate(observed, estimate)
  return State(
    observed=observed,
    estimate=estimate,
    past=jax.tree.map(
      lambda a: jnp.repeat(a[:, None], options.extrapolated_rounds, 1), iterate
    ),
    count=jnp.zeros((), jnp.int32),
    history=jnp.zeros((subjects, options.max_iterations), jnp.float32),
    iterations=jnp.zeros((subjects,), jnp.int32),
    converged=jnp.zeros((subjects,), bool),
  )


def alternate(basis: LandmarkBasis, state: State, options: FitOptions) -> State:
  """One round of camera, expression and identity steps.

  Weights that change do so first; what follows keeps to them. A subject takes
  the round only if its objective did not rise: near float32's resolution it
  can, by rounding, and then nothing is left to gain.
  """
  old, observed = state.estimate, state.observed
  if not are_fixed(basis, options):
    observed = _reweigh(basis, state, options)
    old = _evaluate(
      basis,
      observed,
      old.identity,
      old.expression,
      old.scale,
      old.rotation,
      options,
    )
  new = _round(basis, observed, old, options)
  if options.extrapolated_rounds:
    new = _go_on(basis, observed, new, state.past, options)
  moves = (new.objective <= old.objective) & ~state.converged
  estimate = _select(moves, new, old)
  gain = old.objective - estimate.objective
  still = gain <= options.tolerance * old.objective
  later = jnp.arange(options.max_iterations) >= state.count
  return State(
    observed=observed,
    estimate=estimate,
    past=remember(state.past, _iterate(observed, estimate)),
    count=state.count + 1,
    history=jnp.where(later[None], estimate.objective[:, None], state.history),
    iterations=state.iterations + ~state.converged,
    converged=state.converged | still,
  )


def _go_on(
  basis: LandmarkBasis,
  observed: Observed,
  new: Estimate,
  past: Iterate,
  options: FitOptions,
) -> Estimate:
  """Where extrapolating over the last rounds leads, if that is downhill."""
  proposal = extrapolate(
    _iterate(observed, new), past, prior=options.landmark_std_px**2
  )
  further = _evaluate(
    basis,
    observed,
    proposal.identity,
    proposal.expression,
    *scaled_rotation(proposal.axes),
    options,
  )
  return _select(further.objective < new.objective, further, new)


def _reweigh(
  basis: LandmarkBasis, state: State, options: FitOptions
) -> Observed:
  estimate = state.estimate
  return reweigh(
    basis,
    state.observed,
    estimate.points,
    estimate.residuals,
    estimate.scale,
    estimate.rotation,
    count=state.count,
    settled=state.converged,
    options=options,
  )


def _iterate(observed: Observed, estimate: Estimate) -> Iterate:
  residuals = estimate.residuals
  if observed.noise is not None:
    residuals = whiten(observed.noise.root, residuals)
  root = jnp.sqrt(observed.weights)[..., None, :]
  return Iterate(
    identity=estimate.identity,
    expression=estimate.expression,
    axes=image_axes(estimate.scale, estimate.rotation),
    residuals=root * residuals,
  )


def _select(choose: Array, one: Estimate, other: Estimate) -> Estimate:
  """`one` for the subjects to choose, [S], `other` for the rest."""
  return jax.tree.map(
    lambda a, b: jnp.where(
      choose.reshape(choose.shape + (1,) * (a.ndim - 1)), a, b
    ),
    one,
    other,
  )


def _round(
  basis: LandmarkBasis, observed: Observed, old: Estimate, options: FitOptions
) -> Estimate:
  scale, rotation = refine_camera(
    old.scale, old.rotation, old.scatter, num_steps=options.camera_steps
  )
  axes = image_axes(scale, rotation)
  step = functools.partial(
    quadratic_step,
    prior=options.landmark_std_px**2,
    tolerance=options.solver_tolerance,
    max_iterations=options.max_solver_iterations,
  )
  points = old.points
  expression = step(
    basis.expression,
    _metric(observed, axes),
    _force(observed, axes, _residuals(observed, axes, points)),
    old.expression,
  )
  points = points + combine(expression - old.expression, basis.expression)
  force = _force(observed, axes, _residuals(observed, axes, points))
  identity = step(
    basis.identity,
    _summed_metric(observed, axes),
    jnp.sum(force, 1),
    old.identity,
  )
  return _evaluate(
    basis, observed, identity, expression, scale, rotation, options
  )


def _evaluate(
  basis: LandmarkBasis,
  observed: Observed,
  identity: Array,
  expression: Array,
  scale: Array,
  rotation: Array,
  options: FitOptions,
) -> Estimate:
  points = _landmark_shapes(basis, identity, expression)
  residuals = _residuals(observed, image_axes(scale, rotation), points)
  cost = robust_cost(squared_distances(observed, residuals), options)
  prior = jnp.sum(identity**2, -1) + jnp.sum(expression**2, (-2, -1))
  return Estimate(
    identity=identity,
    expression=expression,
    scale=scale,
    rotation=rotation,
    scatter=_scatter(observed, points, residuals),
    points=points,
    residuals=residuals,
    objective=jnp.sum(observed.visible * cost, (-2, -1))
    + options.landmark_std_px**2 * prior,
  )


def _landmark_shapes(
  basis: LandmarkBasis, identity: Array, expression: Array
) -> Array:
  """Landmarks of all images, `[S, N, 3, P]`, mm."""
  mean = basis.mean[(None,) * (4 - basis.mean.ndim)]
  person = combine(identity, basis.identity)[:, None] + mean
  return person + combine(expression, basis.expression)


def _residuals(observed: Observed, axes: Array, points: Array) -> Array:
  """Landmarks less projections, best translation, `[S, N, 2, P]`, px."""
  # axes points written out: XLA's tiny dots are slower.
  seen = (
    axes[..., 0, None] * points[..., None, 0, :]
    + axes[..., 1, None] * points[..., None, 1, :]
    + axes[..., 2, None] * points[..., None, 2, :]
  )
  residuals = observed.landmarks - seen
  return residuals - _best_translation(observed, residuals)[..., None]


def _best_translation(observed: Observed, residuals: Array) -> Array:
  """The shift of residuals, `[S, N, 2, P]`, that costs least, `[S, N, 2]`."""
  if observed.noise is not None:
    return best_shift(observed.noise, residuals)
  return jnp.sum(observed.share[..., None, :] * residuals, -1)


def _metric(observed: Observed, axes: Array) -> Array:
  """What moving a landmark in 3D costs, w axes^T axes, `[S, N, 3, 3, P]`."""
  if observed.noise is not None:
    return pulled_back(observed.noise, axes)
  metric = jnp.einsum("snai,snaj->snij", axes, axes)
  return metric[..., None] * observed.weights[..., None, None, :]


def _summed_metric(observed: Observed, axes: Array) -> Array:
  """`_metric` summed over a subject's images, `[S, 3, 3, P]`."""
  if observed.noise is not None:
    return jnp.sum(pulled_back(observed.noise, axes), 1)
  metric = jnp.einsum("snai,snaj->snij", axes, axes)
  return jnp.einsum("snij,snl->sijl", metric, observed.weights)


def _force(observed: Observed, axes: Array, residuals: Array) -> Array:
  """The residuals pulled back to 3D, w axes^T r, `[S, N, 3, P]`."""
  if observed.noise is not None:
    weighted = pull(observed.noise, residuals)
  else:
    weighted = observed.weights[..., None, :] * residuals
  return (
    axes[..., 0, :, None] * weighted[..., 0, None, :]
    + axes[..., 1, :, None] * weighted[..., 1, None, :]
  )


def _scatter(
  observed: Observed, points: Array, residuals: Array
) -> PointScatter:
  """Scatter of points and residuals a visible landmark, `[S, N]`."""
  share = observed.share[..., None, :]
  points = points - jnp.sum(share * points, -1)[..., None]
  if observed.noise is not None:
    return whitened_scatter(observed.noise, points, residuals)
  weighted = share * points
  return PointScatter(
    points=jnp.einsum("snil,snjl->snij", points, weighted),
    residuals=jnp.einsum("snal,snil->snai", residuals, weighted),
  )
