"""SphereFace with decoders in PyTorch, channel-first, for comparing speed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional


def tensors_of_network(params: Mapping[str, Any]) -> dict[str, Any]:
  """A network's params as tensors in PyTorch's layouts.

  Args:
    params: Of a SphereFace with decoders; other entries are left out.

  Returns:
    `encoder` (layers by place, `fc5`, `identity_fc`, `residual_fc`),
    `identity_decoder`, `residual_decoder` and `mean_shape`, which is flat.
  """
  trunk = params["encoder"]["trunk"]
  encoder: dict[str, Any] = {
    place.removeprefix("conv"): [
      _tensor(layer["kernel"], (3, 2, 0, 1)),
      _tensor(layer["bias"]),
      _tensor(trunk[place.replace("conv", "prelu")]["slope"]),
    ]
    for place, layer in trunk.items()
    if place.startswith("conv")
  }
  kernel = np.asarray(trunk["fc5"]["kernel"])
  kernel = kernel.reshape(7, 6, -1, kernel.shape[1]).transpose(3, 2, 0, 1)
  encoder["fc5"] = [
    _tensor(kernel.reshape(len(kernel), -1)),
    _tensor(trunk["fc5"]["bias"]),
  ]
  for name in ("identity_fc", "residual_fc"):
    layer = params["encoder"][name]
    encoder[name] = [_tensor(layer["kernel"], (1, 0)), _tensor(layer["bias"])]
  return {
    "encoder": encoder,
    "mean_shape": _tensor(params["mean_shape"]).reshape(-1),
    **{
      name: _tensor(params[name]["kernel"], (1, 0))
      for name in ("identity_decoder", "residual_decoder")
    },
  }


def encode(
  encoder: Mapping[str, Any], images: torch.Tensor, units: Sequence[int]
) -> list[torch.Tensor]:
  """Identity and residual codes of uint8 crops `[B, 112, 96, 3]`."""

  def layer(x: torch.Tensor, place: str, stride: int) -> torch.Tensor:
    weight, bias, slope = encoder[place]
    x = functional.conv2d(x, weight, bias, stride=stride, padding=1)
    return functional.prelu(x, slope)

  x = images.permute(0, 3, 1, 2).contiguous()
  x = (x.float() - 127.5) / 128
  for stage, count in enumerate(units, start=1):
    x = layer(x, f"{stage}_1", 2)
    for unit in range(count):
      inner = layer(x, f"{stage}_{2 * unit + 2}", 1)
      x = x + layer(inner, f"{stage}_{2 * unit + 3}", 1)
  feature = functional.linear(x.flatten(1), *encoder["fc5"])
  return [
    torch.tanh(functional.linear(feature, *encoder[name]))
    for name in ("identity_fc", "residual_fc")
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


def _tensor(array: Any, order: Sequence[int] | None = None) -> torch.Tensor:
  array = np.asarray(array)
  array = array if order is None else array.transpose(order)
  return torch.from_numpy(np.array(array, order="C"))
