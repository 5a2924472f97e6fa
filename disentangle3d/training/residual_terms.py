"""What a residual code tells about who it is, as statistics of a batch.

Both are 0 where it tells nothing (up to the chance of a small batch), do not
notice a code's scale, so that making it smaller does not help, and are to be
weighed into a phase's loss.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from disentangle3d.types import check_array

_SMALLEST_VARIANCE = 1e-12


def squared_correlation(
  residual: Float[Array, "B E"], identity: Float[Array, "B I"]
) -> Float[Array, ""]:
  """Squared correlations of two codes' entries, the mean entry's sum.

  Of independent codes it is about I / (B - 1).

  Args:
    residual: Residual codes.
    identity: What they shall not correlate with; no gradient goes there.

  Returns:
    The squares of all E x I correlations, added up and divided by E.

  Raises:
    ValueError: The shapes disagree.
    TypeError: A code is not floating.
  """
  sizes = check_array("residual", residual, "B E")
  check_array("identity", identity, "B I", sizes=sizes)
  others = jax.lax.stop_gradient(identity)
  correlations = _standardised(residual).T @ _standardised(others)
  return jnp.sum(jnp.square(correlations / sizes["B"])) / sizes["E"]


def likeness_of_people(
  residual: Float[Array, "B E"], labels: Int[Array, "B"]
) -> Float[Array, ""]:
  """How alike a person's residual codes are: their intraclass correlation.

  Fisher's, over all pairs of two photos of one person in the batch: the share
  of the codes' variance that lies between people, 1 where it all does.

  Args:
    residual: Residual codes.
    labels: Who is in each photo.

  Returns:
    The mean over entries; 0 where nobody is in the batch twice.

  Raises:
    ValueError: The shapes disagree.
    TypeError: The codes are not floating, or labels not of integers.
  """
  sizes = check_array("residual", residual, "B E")
  check_array("labels", labels, "B", dtype="integer", sizes=sizes)
  codes = _standardised(residual)
  is_pair = (labels[:, None] == labels[None]) & ~jnp.eye(sizes["B"], dtype=bool)
  products = codes @ codes.T / sizes["E"]
  return jnp.sum(jnp.where(is_pair, products, 0.0)) / jnp.maximum(
    jnp.sum(is_pair), 1
  )


def _standardised(codes: Float[Array, "B C"]) -> Float[Array, "B C"]:
  """Each entry with mean 0 and variance 1 over the batch."""
  offset = codes - jnp.mean(codes, 0, keepdims=True)
  variance = jnp.mean(jnp.square(offset), 0, keepdims=True)
  return offset * jax.lax.rsqrt(variance + _SMALLEST_VARIANCE)
