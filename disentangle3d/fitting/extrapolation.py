"""Extrapolation over the last rounds of an alternation.

Alternating between blocks of unknowns creeps along valleys in which the blocks
trade against each other (a wider face against a nearer camera). The last few
rounds span such a valley: the best combination of their residuals says how far
to go along it. This is nonlinear GMRES (Washio and Oosterlee 1997); for a
quadratic objective it is a conjugate gradient method whose preconditioner is
the alternation. The combination is a proposal: the caller takes it where it
lowers the objective itself.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.fitting.camera import solve_positive_definite

# On the unit diagonal of the Gram matrix: steps that repeat one another share
# the way to go.
_RIDGE = 1e-4


@flax.struct.dataclass
class Iterate:
  """One round's outcome; past ones are stacked along a second axis, `[S, M]`.

  Attributes:
    identity: `[S, I]`.
    expression: `[S, N, E]`.
    axes: Linear parts of the cameras, `[S, N, 2, 3]`.
    residuals: Square root of the weights times the residuals, `[S, N, 2, L]`.
  """

  identity: Float[Array, "S *M I"]
  expression: Float[Array, "S *M N E"]
  axes: Float[Array, "S *M N 2 3"]
  residuals: Float[Array, "S *M N 2 L"]


def extrapolate(present: Iterate, past: Iterate, *, prior: float) -> Iterate:
  """The combination of iterates with the least linearised objective.

  Args:
    present: The newest iterate.
    past: M earlier ones, `[S, M, ...]`; copies of one another do no harm.
    prior: Weight of the squared coefficients, px^2.

  Returns:
    The combination; its `axes` are not yet a scaled rotation's, its
    `residuals` hold to first order only.
  """
  # From each iterate to the one before it: less alike than what separates them
  # from the newest, so that rounding counts less.
  steps = jax.tree.map(
    lambda old, new: old - jnp.concatenate([new[:, None], old[:, :-1]], 1),
    past,
    present,
  )
  rows = _rows(steps, prior)
  length = jnp.sqrt(jnp.sum(rows * rows, -1))
  length = jnp.where(length > 0, length, 1.0)
  rows = rows / length[..., None]
  gram = jnp.einsum("smk,snk->smn", rows, rows)
  gram = gram + _RIDGE * jnp.eye(gram.shape[-1], dtype=gram.dtype)[None]
  newest = _rows(jax.tree.map(lambda new: new[:, None], present), prior)
  target = -jnp.einsum("smk,sk->sm", rows, newest[:, 0])
  weights = solve_positive_definite(gram, target) / length
  return jax.tree.map(
    lambda new, step: new + jnp.einsum("sm,sm...->s...", weights, step),
    present,
    steps,
  )


def remember(past: Iterate, present: Iterate) -> Iterate:
  """The present iterate first, the oldest one forgotten; M stays."""
  return jax.tree.map(
    lambda old, new: jnp.concatenate([new[:, None], old], 1)[:, : old.shape[1]],
    past,
    present,
  )


def scaled_rotation(
  axes: Float[Array, "... 2 3"],
) -> tuple[Float[Array, "..."], Float[Array, "... 3 3"]]:
  """Scale and rotation of nearly orthogonal image axes of nearly one length."""
  first = axes[..., 0, :]
  second = -axes[..., 1, :]
  size = jnp.sqrt(jnp.sum(first * first + second * second, -1) / 2)
  # Off orthogonality is shared by both axes, to second order.
  safe = jnp.where(size > 0, size, 1.0)
  overlap = jnp.sum(first * second, -1) / (2 * safe * safe)
  one = _unit(first - overlap[..., None] * second)
  two = second - overlap[..., None] * first
  two = _unit(two - jnp.sum(one * two, -1)[..., None] * one)
  rotation = jnp.stack([one, two, jnp.cross(one, two)], -2)
  return size, rotation


def _rows(iterate: Iterate, prior: float) -> Array:
  """Residuals and weighted coefficients, flat: `[S, M, X]`."""
  weight = prior**0.5
  parts = [
    iterate.residuals,
    weight * iterate.identity,
    weight * iterate.expression,
  ]
  return jnp.concatenate(
    [part.reshape(*part.shape[:2], -1) for part in parts], -1
  )


def _unit(vector: Array) -> Array:
  square = jnp.sum(vector * vector, -1, keepdims=True)
  return vector / jnp.sqrt(jnp.where(square > 0, square, 1.0))
