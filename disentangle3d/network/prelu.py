"""PReLU, with a gradient that one pass over a map gives.

XLA on CPU hands a sum over pixels to YNNPACK, which has the products written to
memory first. Where a few pixels are added up before, those sums are one loop
with the products, vectorised over channels, and a part of them is written.
"""

import functools
import math

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Pixels that are added up before the sum; on CPU 4 to 32 take as long.
_FIRST = 4


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
    x, cpu=_in_steps, default=lambda x: jnp.sum(x, (0, 1, 2))
  )


def _in_steps(x: Array) -> Array:
  channels = x.shape[-1]
  pixels = x.reshape(-1, channels)
  count = math.gcd(len(pixels), _FIRST)
  some = pixels.reshape(-1, count, channels)
  first = functools.reduce(jnp.add, (some[:, i] for i in range(count)))
  return jnp.sum(first, 0)


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
