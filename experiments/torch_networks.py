"""The same networks in PyTorch, to compare with (extra `compare`)."""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Any

import numpy as np

from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.mobileface import STAGES
from disentangle3d.network.sphereface import PRESETS
from disentangle3d.network.trunks import MOBILE

# Takes uint8 crops [B, 112, 96, 3], gives codes [B, I + E], identity first, and
# shapes [B, V, 3], when they are there.
Method = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def torch_method(params: Mapping[str, Any], model: FaceModel) -> Method:
  """`reconstruct` in PyTorch, channel-first, on the CPU.

  Args:
    params: Parameters of `model`, in float32.
    model: The network.

  Returns:
    The method.
  """
  import torch
  from torch.nn import functional

  torch.set_num_threads(os.cpu_count() or 1)
  encoder = params["encoder"]
  trunk = (_mobile if model.trunk == MOBILE else _sphereface)(
    encoder["trunk"], model
  )
  heads = [_dense(encoder[name]) for name in ("identity_fc", "residual_fc")]
  decoders = [
    _tensor(params[name]["kernel"], (1, 0))
    for name in ("identity_decoder", "residual_decoder")
  ]
  mean = _tensor(params["mean_shape"]).reshape(-1)

  def method(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
      x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
      feature = trunk((x.float() - 127.5) / 128)
      codes = [torch.tanh(functional.linear(feature, *head)) for head in heads]
      neutral = mean + functional.linear(codes[0], decoders[0])
      shape = neutral + functional.linear(codes[1], decoders[1])
      return torch.cat(codes, 1).numpy(), shape.reshape(
        len(images), -1, 3
      ).numpy()

  return method


def _sphereface(params: Mapping[str, Any], model: FaceModel) -> Any:
  from torch.nn import functional

  convolutions = {
    place.removeprefix("conv"): (
      *_convolution(layer),
      _tensor(params[place.replace("conv", "prelu")]["slope"]),
    )
    for place, layer in params.items()
    if place.startswith("conv")
  }
  kernel = np.asarray(params["fc5"]["kernel"])
  kernel = kernel.reshape(7, 6, -1, kernel.shape[1]).transpose(3, 2, 0, 1)
  fc5 = _tensor(kernel.reshape(len(kernel), -1)), _tensor(params["fc5"]["bias"])

  def layer(x: Any, place: str, stride: int) -> Any:
    weight, bias, slope = convolutions[place]
    x = functional.conv2d(x, weight, bias, stride=stride, padding=1)
    return functional.prelu(x, slope)

  def trunk(x: Any) -> Any:
    for stage, count in enumerate(PRESETS[model.trunk].units, start=1):
      x = layer(x, f"{stage}_1", 2)
      for unit in range(count):
        inner = layer(x, f"{stage}_{2 * unit + 2}", 1)
        x = x + layer(inner, f"{stage}_{2 * unit + 3}", 1)
    return functional.linear(x.flatten(1), *fc5)

  return trunk


def _mobile(params: Mapping[str, Any], model: FaceModel) -> Any:
  from torch.nn import functional

  def layer(name: str, slopes: str | None, *, at: Any = params) -> Any:
    """A convolution of any kind, and its PReLU."""
    kernel = np.asarray(at[name]["kernel"])
    weight, bias = _convolution(
      {**at[name], "kernel": kernel.reshape(1, 1, *kernel.shape)}
      if kernel.ndim == 2
      else at[name]
    )
    slope = None if slopes is None else _tensor(at[slopes]["slope"])
    groups = weight.shape[0] if kernel.shape[-2] == 1 else 1

    def run(x: Any, stride: int = 1) -> Any:
      x = functional.conv2d(
        x, weight, bias, stride, weight.shape[-1] // 2, groups=groups
      )
      return x if slope is None else functional.prelu(x, slope)

    return run

  stem = layer("conv1", "prelu1"), layer("depthwise2", "prelu2")
  bottlenecks = []
  for number, stage in enumerate(STAGES, start=3):
    for place in range(len(stage.expanded)):
      at = params[f"bottleneck{number}_{place + 1}"]
      layers = (
        layer("expand", "expand_prelu", at=at),
        layer("depthwise", "depthwise_prelu", at=at),
        layer("project", None, at=at),
      )
      bottlenecks.append((layers, stage.stride if place == 0 else 1))
  last = layer("conv6", "prelu6")
  weights = _tensor(params["global_kernel"], (3, 2, 0, 1))
  fc7 = _dense(params["fc7"])

  def trunk(x: Any) -> Any:
    x = stem[1](stem[0](x, 2))
    for (expand, depthwise, project), stride in bottlenecks:
      inner = project(depthwise(expand(x), stride))
      x = inner if stride > 1 else x + inner
    x = functional.conv2d(last(x), weights, groups=len(weights))
    return functional.linear(x.flatten(1), *fc7)

  return trunk


def _tensor(array: Any, order: Sequence[int] | None = None) -> Any:
  import torch

  array = np.asarray(array)
  array = array if order is None else array.transpose(order)
  return torch.from_numpy(np.array(array, order="C"))


def _convolution(layer: Mapping[str, Any]) -> tuple[Any, Any]:
  return _tensor(layer["kernel"], (3, 2, 0, 1)), _tensor(layer["bias"])


def _dense(layer: Mapping[str, Any]) -> tuple[Any, Any]:
  return _tensor(layer["kernel"], (1, 0)), _tensor(layer["bias"])
