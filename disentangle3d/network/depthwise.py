"""Depthwise 3x3 convolutions: each channel under its own filter.

One operation with two programs. XLA on CPU takes ten times as long over its
grouped convolution as over nine shifted multiplies; accelerators have kernels
for it. The platform that a program is compiled for decides, so params, training
and exports know nothing of it.
"""

from collections.abc import Iterator
import functools
import itertools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.types import check_array

_SIDE = 3


def depthwise_convolution(
  x: Float[Array, "B H W C"], kernel: Float[Array, "3 3 1 C"], *, stride: int
) -> Float[Array, "B h w C"]:
  """Each channel under its own 3x3 filter, a pixel of zeros around.

  Args:
    x: Maps, `[B, H, W, C]`.
    kernel: Filters, `[3, 3, 1, C]`.
    stride: In both directions.

  Returns:
    Maps, `[B, ceil(H / stride), ceil(W / stride), C]`, without a bias.

  Raises:
    ValueError: A shape differs.
    TypeError: An argument is not floating.
  """
  sizes = check_array("x", x, "B H W C")
  check_array("kernel", kernel, "3 3 1 C", sizes=sizes)
  return lax.platform_dependent(
    x,
    kernel,
    cpu=lambda x, kernel: shifted_multiplies(x, kernel, stride),
    default=lambda x, kernel: grouped_convolution(x, kernel, stride),
  )


def grouped_convolution(x: Array, kernel: Array, stride: int) -> Array:
  """`depthwise_convolution` as XLA's own."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    ((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def shifted_multiplies(x: Array, kernel: Array, stride: int) -> Array:
  """`depthwise_convolution` as nine multiplies of shifted maps.

  Its gradients are of the same kind, where JAX's own would write nine maps for
  each of the two.
  """
  return _add_shifted(_spread(x, 1, x.shape), kernel, stride)


def _forward(
  x: Array, kernel: Array, stride: int
) -> tuple[Array, tuple[Array, Array]]:
  # Barriers: XLA would compute what is behind them again in each of its uses.
  padded = lax.optimization_barrier(_spread(x, 1, x.shape))
  made = lax.optimization_barrier(_add_shifted(padded, kernel, stride))
  return made, (padded, kernel)


def _backward(
  stride: int, kept: tuple[Array, Array], pull: Array
) -> tuple[Array, Array]:
  padded, kernel = kept
  batch, height, width, channels = padded.shape
  shape = (batch, height - 2, width - 2, channels)
  spread = lax.optimization_barrier(_spread(pull, stride, shape))
  return (
    _add_shifted(spread, kernel[::-1, ::-1], 1),
    _kernel_pull(padded, pull, stride).astype(kernel.dtype),
  )


shifted_multiplies.defvjp(_forward, _backward)


def _spread(x: Array, stride: int, shape: tuple[int, ...]) -> Array:
  """Every pixel `stride` from the next, in zeros one pixel around `shape`."""
  padding = [(0, 0, 0)] * 4
  for axis in (1, 2):
    reached = (x.shape[axis] - 1) * stride + 1
    padding[axis] = (1, shape[axis] + 1 - reached, stride - 1)
  return lax.pad(x, jnp.zeros((), x.dtype), padding)


def _add_shifted(padded: Array, kernel: Array, stride: int) -> Array:
  total = jnp.zeros((), padded.dtype)
  for place, seen in _windows(padded, stride):
    total = total + seen * kernel[place].reshape(1, 1, 1, -1)
  return total


def _kernel_pull(padded: Array, pull: Array, stride: int) -> Array:
  """Nine sums of products, in one pass over the maps."""
  dtype = jnp.promote_types(pull.dtype, jnp.float32)
  products = [
    (seen * pull).astype(dtype) for _, seen in _windows(padded, stride)
  ]
  zeros = [jnp.zeros((), dtype)] * len(products)
  sums = lax.reduce(
    products,
    zeros,
    lambda a, b: [p + q for p, q in zip(a, b, strict=True)],
    (1, 2),
  )
  return jnp.sum(jnp.stack(sums), 1).reshape(_SIDE, _SIDE, 1, -1)


def _windows(
  padded: Array, stride: int
) -> Iterator[tuple[tuple[int, int], Array]]:
  """What each of the nine weights sees."""
  height, width = padded.shape[1] - 2, padded.shape[2] - 2
  for i, j in itertools.product(range(_SIDE), repeat=2):
    yield ((i, j), padded[:, i : i + height : stride, j : j + width : stride])
