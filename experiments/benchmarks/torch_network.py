"""The network in PyTorch, channel-first, for comparing speed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from disentangle3d.network.feature_maps import MAP_PIXELS

_HEADS = ("identity_fc", "residual_fc")


def tensors_beside_trunk(params: Mapping[str, Any]) -> dict[str, Any]:
  """A network's params as tensors in PyTorch's layouts, without the trunk's.

  Args:
    params: Of a network with decoders; other entries are left out.

  Returns:
    `encoder` (the two heads), the two decoders and `mean_shape`, which is flat.
  """
  return {
    "encoder": {
      name: list(dense_tensors(params["encoder"][name])) for name in _HEADS
    },
    "mean_shape": tensor_of(params["mean_shape"]).reshape(-1),
    **{
      name: tensor_of(params[name]["kernel"], (1, 0))
      for name in ("identity_decoder", "residual_decoder")
    },
  }


def sphereface_tensors(trunk: Mapping[str, Any]) -> dict[str, Any]:
  """A SphereFace's layers by place ("1_1"), and `fc5`."""
  layers: dict[str, Any] = {
    place.removeprefix("conv"): [
      *convolution_tensors(layer),
      tensor_of(trunk[place.replace("conv", "prelu")]["slope"]),
    ]
    for place, layer in trunk.items()
    if place.startswith("conv")
  }
  kernel = np.asarray(trunk["fc5"]["kernel"])
  kernel = kernel.reshape(7, 6, -1, kernel.shape[1]).transpose(3, 2, 0, 1)
  layers["fc5"] = [
    tensor_of(kernel.reshape(len(kernel), -1)),
    tensor_of(trunk["fc5"]["bias"]),
  ]
  return layers


def pixels_of(images: torch.Tensor) -> torch.Tensor:
  """uint8 crops `[B, 112, 96, 3]` as a trunk takes them, `[B, 3, 112, 96]`."""
  pixels = images.permute(0, 3, 1, 2).contiguous()
  return (pixels.float() - 127.5) / 128


def sphereface(
  layers: Mapping[str, Any],
  pixels: torch.Tensor,
  units: Sequence[int],
  *,
  with_map: bool = False,
) -> torch.Tensor:
  """Features `[B, F]`, the last map behind them if asked."""

  def layer(x: torch.Tensor, place: str, stride: int) -> torch.Tensor:
    weight, bias, slope = layers[place]
    x = functional.conv2d(x, weight, bias, stride=stride, padding=1)
    return functional.prelu(x, slope)

  x = pixels
  for stage, count in enumerate(units, start=1):
    x = layer(x, f"{stage}_1", 2)
    for unit in range(count):
      inner = layer(x, f"{stage}_{2 * unit + 2}", 1)
      x = x + layer(inner, f"{stage}_{2 * unit + 3}", 1)
  feature = functional.linear(x.flatten(1), *layers["fc5"])
  return feature_and_map(feature, x) if with_map else feature


def feature_and_map(
  feature: torch.Tensor, last_map: torch.Tensor
) -> torch.Tensor:
  """As `feature_maps.join_map`; the map is channel-first, `[B, C, 7, 6]`."""
  flat = last_map.permute(0, 2, 3, 1).flatten(1)
  return torch.cat([feature, flat / MAP_PIXELS], 1)


def codes_of(
  encoder: Mapping[str, Any], seen: torch.Tensor
) -> list[torch.Tensor]:
  """Identity and residual codes of a trunk's features.

  A code that is not made of the map sees what stands before it.
  """
  return [
    torch.tanh(functional.linear(seen[:, : weight.shape[1]], weight, bias))
    for weight, bias in (encoder[name] for name in _HEADS)
  ]


def decode(
  network: Mapping[str, Any],
  mean: torch.Tensor,
  identity: torch.Tensor,
  residual: torch.Tensor,
) -> torch.Tensor:
  """Flat shapes `[B, 3V]`, mm."""
  neutral = mean + functional.linear(identity, network["identity_decoder"])
  return neutral + functional.linear(residual, network["residual_decoder"])


def tensor_of(array: Any, order: Sequence[int] | None = None) -> torch.Tensor:
  """A copy of an array, its axes in another order."""
  array = np.asarray(array)
  array = array if order is None else array.transpose(order)
  return torch.from_numpy(np.array(array, order="C"))


def convolution_tensors(layer: Mapping[str, Any]) -> tuple[Any, Any]:
  """Weight and bias of a convolution."""
  return tensor_of(layer["kernel"], (3, 2, 0, 1)), tensor_of(layer["bias"])


def dense_tensors(layer: Mapping[str, Any]) -> tuple[Any, Any]:
  """Weight and bias of a dense layer."""
  return tensor_of(layer["kernel"], (1, 0)), tensor_of(layer["bias"])
