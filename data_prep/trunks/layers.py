"""Layers of published networks: their arrays checked, batch norm folded in."""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

import numpy as np

from disentangle3d.types import UserError

CHANNEL_ORDERS = ("bgr", "rgb")

# PyTorch's and Caffe's default, which all published trunks keep.
_EPSILON = 1e-5

Weights = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Names:
  """What a published file calls the parts of one layer.

  Attributes:
    kernel: The convolution's or FC layer's; `.weight` and `.bias` follow.
    norm: The batch norm's after it; empty where there is none.
    slope: The PReLU's after it; empty where there is none.
    scale: What the norm's factor and shift belong to; None is the norm itself,
      empty where there are none (Caffe has a layer of its own for them).
  """

  kernel: str
  norm: str = ""
  slope: str = ""
  scale: str | None = None


def folded(
  weights: Weights, names: Names, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
  """Kernel and bias of a layer together with its batch norm.

  gamma (W x + b - mean) / sqrt(var + 1e-5) + beta = W' x + b'. A layer without
  biases has zeros (Caffe froze SphereFace's residual ones).

  Args:
    weights: Arrays by name.
    names: The layer's.
    shape: Of the kernel, channel-first, `[out, in, height, width]` or
      `[out, in]`.

  Returns:
    Kernel of `shape` and bias `[out]`, float64.

  Raises:
    UserError: An array is absent, of another shape or not finite.
  """
  width = shape[:1]
  kernel = take(weights, f"{names.kernel}.weight", shape).astype(np.float64)
  bias = np.zeros(width)
  if f"{names.kernel}.bias" in weights:
    bias = take(weights, f"{names.kernel}.bias", width).astype(np.float64)
  if not names.norm:
    return kernel, bias

  def pair(holder: str, *parts: str) -> Iterator[np.ndarray]:
    for part in parts:
      yield take(weights, f"{holder}.{part}", width).astype(np.float64)

  mean, variance = pair(names.norm, "running_mean", "running_var")
  scale = names.norm if names.scale is None else names.scale
  gamma, beta = np.ones(width), np.zeros(width)
  if scale:
    gamma, beta = pair(scale, "weight", "bias")
  if (variance < 0).any():
    raise UserError(f"expected variances from 0 in {names.norm}.running_var")
  factor = gamma / np.sqrt(variance + _EPSILON)
  kernel = kernel * factor.reshape(-1, *(1,) * (len(shape) - 1))
  return kernel, (bias - mean) * factor + beta


def layer_params(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
  """A layer's params, channels last: `[h, w, in, out]` or `[in, out]`."""
  order = (2, 3, 1, 0) if kernel.ndim == 4 else (1, 0)
  return {
    "kernel": np.ascontiguousarray(kernel.transpose(order), np.float32),
    "bias": bias.astype(np.float32),
  }


def slope_params(weights: Weights, names: Names, width: int) -> dict[str, Any]:
  """A PReLU's params."""
  return {"slope": take(weights, f"{names.slope}.weight", (width,))}


def take(weights: Weights, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """One array, float32.

  Raises:
    UserError: It is absent, of another shape or not finite.
  """
  if name not in weights:
    raise UserError(f"expected {name} {list(shape)}, got no such array")
  array = np.asarray(weights[name], np.float32)
  got = list(array.shape)
  # Old Caffe files pad every shape to four dimensions in front; an FC layer
  # may be written as a convolution over one pixel.
  while array.ndim > len(shape) and array.shape[0] == 1:
    array = array[0]
  while array.ndim > len(shape) and array.shape[-1] == 1:
    array = array[..., 0]
  if array.shape == (1,) and len(shape) == 1:
    # One slope that all channels share.
    array = np.full(shape, array[0])
  if array.shape != shape:
    raise UserError(f"expected {name} of shape {list(shape)}, got {got}")
  if not np.isfinite(array).all():
    raise UserError(f"expected finite numbers in {name}")
  return array
