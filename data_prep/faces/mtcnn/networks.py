"""MTCNN's three networks as pure functions of their weights.

Images are RGB mapped to (x - 127.5) / 128, NHWC; weights are those of
`weights.load_weights`.
"""

from collections.abc import Mapping
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np

Weights = Mapping[str, Array]

RNET_SIZE = 24
ONET_SIZE = 48
# A proposal network's window, and how far the next one is, in pixels.
PNET_WINDOW = 12
PNET_STRIDE = 2
# Stands for "outside" before a maximum; inf would make NaN of it later.
_LOWEST = -1e9


def prepare_weights(
  weights: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, dict[str, np.ndarray]]:
  """The files' weights as the functions here take them.

  The files flatten features column after column, JAX row after row. The
  proposal network's first kernel is shifted to the four positions that its
  pooling takes the maximum of, and two more to two neighbours: one convolution
  with more channels in place of several with few, where those are slow on CPU.
  """
  prepared = {name: dict(arrays) for name, arrays in weights.items()}
  for name in ("rnet", "onet"):
    dense = prepared[name]["dense"]
    prepared[name]["dense"] = (
      dense.reshape(3, 3, -1, dense.shape[1])
      .transpose(1, 0, 2, 3)
      .reshape(dense.shape)
    )
  kernel = prepared["pnet"]["conv1"]
  wide = np.zeros((4, 4, 3, 4, kernel.shape[-1]), kernel.dtype)
  for place in range(4):
    row, column = divmod(place, 2)
    wide[row : row + 3, column : column + 3, :, place] = kernel
  prepared["pnet"]["conv1"] = wide.reshape(4, 4, 3, -1)
  for name, layer in (("pnet", "conv2"), ("rnet", "conv1")):
    prepared[name][layer] = _for_neighbours(prepared[name][layer])
  return prepared


def _for_neighbours(kernel: np.ndarray) -> np.ndarray:
  """A kernel that gives two pixels of a row, `[h, w + 1, C, 2 K]`."""
  height, width, channels, filters = kernel.shape
  pair = np.zeros((height, width + 1, channels, 2, filters), kernel.dtype)
  pair[:, :-1, :, 0] = kernel
  pair[:, 1:, :, 1] = kernel
  return pair.reshape(height, width + 1, channels, -1)


def pnet_map_size(size: int) -> int:
  """Windows of the proposal network along a side of `size` pixels."""
  return max(0, -(-(size - 2) // 2) - 4)


def pnet(
  weights: Weights,
  images: Float[Array, "B H W 3"],
  inside: Bool[Array, "B H W"],
) -> tuple[Float[Array, "B h w"], Float[Array, "B h w 4"]]:
  """Looks for faces of 12 pixels everywhere.

  Args:
    weights: Of "pnet", prepared.
    images: `[B, H, W, 3]`, sides even.
    inside: Where a window of 3 pixels begins that counts, `[B, H, W]`: with
      several pictures in an image, those in one of them.

  Returns:
    Probability of a face, `[B, h, w]`, and the box's offsets in windows, x0 y0
    x1 y1, `[B, h, w, 4]`, of the window whose corner is at twice the place.
  """
  x = _convolve(images, weights["conv1"], stride=(2, 2))
  batch, rows, columns = x.shape[:3]
  # The maximum over 2 x 2 places leaves out those that do not count.
  places = inside[:, : 2 * rows, : 2 * columns]
  places = places.reshape(batch, rows, 2, columns, 2).transpose(0, 1, 3, 2, 4)
  places = places.reshape(batch, rows, columns, 4, 1)
  # Added, not selected: half the time on CPU.
  outside = jnp.where(places, 0.0, _LOWEST)
  x = functools.reduce(
    jnp.maximum,
    [
      _activate(weights, "conv1", part) + outside[..., place, :]
      for place, part in enumerate(jnp.split(x, 4, axis=-1))
    ],
  )
  for layer in ("conv2", "conv3"):
    x = _layer(weights, layer, x)
  return _face(_linear(weights, "face", x)), _linear(weights, "box", x)


def rnet(
  weights: Weights, patches: Float[Array, "P 24 24 3"]
) -> tuple[Float[Array, "P"], Float[Array, "P 4"]]:
  """Judges and refines proposals.

  Args:
    weights: Of "rnet", prepared.
    patches: `[P, 24, 24, 3]`.

  Returns:
    Probability of a face, `[P]`; the box's offsets in boxes, `[P, 4]`.
  """
  x = _max_pool(_layer(weights, "conv1", patches), 3, "SAME")
  x = _max_pool(_layer(weights, "conv2", x), 3, "VALID")
  x = _layer(weights, "conv3", x)
  x = _layer(weights, "dense", x.reshape(len(x), -1))
  return _face(_linear(weights, "face", x)), _linear(weights, "box", x)


def onet(
  weights: Weights, patches: Float[Array, "P 48 48 3"]
) -> tuple[Float[Array, "P"], Float[Array, "P 4"], Float[Array, "P 10"]]:
  """Judges and refines once more, and finds five points.

  Args:
    weights: Of "onet", prepared.
    patches: `[P, 48, 48, 3]`.

  Returns:
    Probability of a face, `[P]`; the box's offsets in boxes, `[P, 4]`; the
    points in boxes, five x and five y, `[P, 10]`.
  """
  x = _max_pool(_layer(weights, "conv1", patches), 3, "SAME")
  x = _max_pool(_layer(weights, "conv2", x), 3, "VALID")
  x = _max_pool(_layer(weights, "conv3", x), 2, "SAME")
  x = _layer(weights, "conv4", x)
  x = _layer(weights, "dense", x.reshape(len(x), -1))
  return (
    _face(_linear(weights, "face", x)),
    _linear(weights, "box", x),
    _linear(weights, "points", x),
  )


def _layer(weights: Weights, name: str, x: Array) -> Array:
  """A convolution or a dense layer with its PReLU."""
  return _activate(weights, name, _product(weights, name, x))


def _linear(weights: Weights, name: str, x: Array) -> Array:
  return _product(weights, name, x) + _wide(weights[f"{name}_bias"], x.ndim)


def _product(weights: Weights, name: str, x: Array) -> Array:
  kernel = weights[name]
  if kernel.ndim == 4 and kernel.shape[:2] == (1, 1):
    kernel = kernel[0, 0]
  if kernel.ndim == 2:
    return x @ kernel
  filters = weights[f"{name}_bias"].size
  if kernel.shape[-1] == filters:
    return _convolve(x, kernel)
  width = x.shape[2] - kernel.shape[1] + 2
  pairs = _convolve(x, kernel, stride=(1, 2), right=width % 2)
  return pairs.reshape(*pairs.shape[:2], -1, filters)[:, :, :width]


def _convolve(
  x: Array, kernel: Array, *, stride: tuple[int, int] = (1, 1), right: int = 0
) -> Array:
  """A convolution without padding but for columns of zeros on the right."""
  return lax.conv_general_dilated(
    x,
    kernel,
    stride,
    ((0, 0), (0, right)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _activate(weights: Weights, name: str, x: Array) -> Array:
  """A layer's bias and PReLU."""
  x = x + _wide(weights[f"{name}_bias"], x.ndim)
  slope = _wide(weights[f"{name}_slope"].reshape(-1), x.ndim)
  return jnp.where(x < 0, slope * x, x)


def _face(logits: Array) -> Array:
  """The second class's softmax."""
  return jax.nn.sigmoid(logits[..., 1] - logits[..., 0])


def _max_pool(x: Array, size: int, padding: str) -> Array:
  """The maximum of every second window, by slices: half XLA's time on CPU.

  With "SAME", a last window that the map's end cuts off counts as well (as all
  pad whose sides are even, which they are here).
  """
  for axis in (1, 2):
    length = x.shape[axis]
    whole = (length - size) // 2 + 1
    pooled = functools.reduce(
      jnp.maximum,
      [lax.slice_in_dim(x, i, i + 2 * whole - 1, 2, axis) for i in range(size)],
    )
    if padding == "SAME" and 2 * whole < length:
      cut = lax.slice_in_dim(x, 2 * whole, length, 1, axis)
      pooled = jnp.concatenate([pooled, cut.max(axis, keepdims=True)], axis)
    x = pooled
  return x


def _wide(vector: Array, ndim: int) -> Array:
  return vector.reshape((1,) * (ndim - 1) + vector.shape)
