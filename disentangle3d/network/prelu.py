"""PReLU, with a gradient that one pass over a map gives.

XLA on CPU hands a single sum over pixels to YNNPACK, which has the products
written to memory first; two sums at once stay one loop with them. That was half
of the time of a mobile bottleneck's step.
"""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def prelu(
  x: Float[Array, "B H W C"], slope: Float[Array, "C"]
) -> Float[Array, "B H W C"]:
  """X where positive, slope x elsewhere, one slope a channel."""
  return plain_prelu(x, slope)


def plain_prelu(
  x: Float[Array, "B H W C"], slope: Float[Array, "C"]
) -> Float[Array, "B H W C"]:
  """`prelu` with JAX's own gradient."""
  return jnp.where(x > 0, x, slope.reshape(1, 1, 1, -1) * x)


def _forward(x: Array, slope: Array) -> tuple[Array, tuple[Array, Array]]:
  return plain_prelu(x, slope), (x, slope)


def _backward(kept: tuple[Array, Array], pull: Array) -> tuple[Array, Array]:
  x, slope = kept
  products = jnp.where(x > 0, 0.0, x * pull)
  products = products.astype(jnp.promote_types(products.dtype, jnp.float32))
  return (
    jnp.where(x > 0, pull, slope.reshape(1, 1, 1, -1) * pull),
    _sum_pixels(products).astype(slope.dtype),
  )


prelu.defvjp(_forward, _backward)


def _sum_pixels(x: Float[Array, "B H W C"]) -> Float[Array, "C"]:
  """The sum over all images and pixels of each channel."""
  return lax.platform_dependent(
    x, cpu=_in_halves, default=lambda x: jnp.sum(x, (0, 1, 2))
  )


def _in_halves(x: Array) -> Array:
  if x.shape[2] % 2:
    return jnp.sum(x, (0, 1, 2))
  zero = jnp.zeros((), x.dtype)
  left, right = lax.reduce(
    jnp.split(x, 2, 2),
    [zero, zero],
    lambda a, b: [a[0] + b[0], a[1] + b[1]],
    (1, 2),
  )
  return jnp.sum(left + right, 0)


class PReLU(nn.Module):
  """x where positive, slope x elsewhere, one slope a channel (init 0.25)."""

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """Applies the activation to the last axis' channels."""
    slope = self.param(
      "slope", nn.initializers.constant(0.25), (x.shape[-1],), jnp.float32
    )
    return self.activate(x, slope.astype(x.dtype))

  def activate(
    self, x: Float[Array, "B H W C"], slope: Float[Array, "C"]
  ) -> Float[Array, "B H W C"]:
    """By `prelu`; `nn.intercept_methods` may choose another."""
    return prelu(x, slope)
