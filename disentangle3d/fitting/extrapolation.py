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

# Of the Gram matrix's diagonal: rounds that repeat one another share the step.
_RIDGE = 1e-5


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
  differences = jax.tree.map(lambda old, new: old - new[:, None], past, present)
  rows = _rows(differences, prior)
  gram = jnp.einsum("smk,snk->smn", rows, rows)
  count = gram.shape[-1]
  diagonal = jnp.diagonal(gram, axis1=-2, axis2=-1)
  largest = jnp.max(diagonal, -1)[..., None, None]
  gram = gram + _RIDGE * largest * jnp.eye(count, dtype=gram.dtype)[None]
  target = -jnp.einsum(
    "smk,sk->sm",
    rows,
    _rows(jax.tree.map(lambda new: new[:, None], present), prior)[:, 0],
  )
  weights = solve_positive_definite(gram, target)
  return jax.tree.map(
    lambda new, change: new + jnp.einsum("sm,sm...->s...", weights, change),
    present,
    differences,
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
