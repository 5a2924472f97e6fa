"""Reconstruction in PyTorch, to compare with (extra `compare`)."""

from collections.abc import Callable, Mapping
import functools
import os
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.mobileface import STAGES
from disentangle3d.network.sphereface import PRESETS
from disentangle3d.network.trunks import MOBILE
from experiments.torch_network import (
  codes_of,
  convolution_tensors,
  decode,
  dense_tensors,
  pixels_of,
  sphereface,
  sphereface_tensors,
  tensor_of,
  tensors_beside_trunk,
)


def torch_method(
  params: Mapping[str, Any], model: FaceModel
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """`reconstruct` in PyTorch, channel-first, on the CPU.

  Args:
    params: Parameters of `model`, in float32.
    model: The network.

  Returns:
    uint8 crops `[B, 112, 96, 3]` to codes `[B, I + E]` and shapes `[B, V, 3]`.
  """
  torch.set_num_threads(os.cpu_count() or 1)
  weights = tensors_beside_trunk(params)
  trunk = _trunk(params["encoder"]["trunk"], model)

  def method(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
      feature = trunk(pixels_of(torch.from_numpy(np.asarray(images))))
      codes = codes_of(weights["encoder"], feature)
      shape = decode(weights, weights["mean_shape"], *codes)
      return (
        torch.cat(codes, 1).numpy(),
        shape.reshape(len(images), -1, 3).numpy(),
      )

  return method


def _trunk(params: Mapping[str, Any], model: FaceModel) -> Any:
  if model.trunk == MOBILE:
    return _mobile(params)
  return functools.partial(
    sphereface, sphereface_tensors(params), units=PRESETS[model.trunk].units
  )


def _mobile(params: Mapping[str, Any]) -> Any:
  def layer(name: str, slopes: str | None, *, at: Any = params) -> Any:
    """A convolution of any kind, and its PReLU."""
    kernel = np.asarray(at[name]["kernel"])
    weight, bias = convolution_tensors(
      {**at[name], "kernel": kernel.reshape(1, 1, *kernel.shape)}
      if kernel.ndim == 2
      else at[name]
    )
    slope = None if slopes is None else tensor_of(at[slopes]["slope"])
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
  weights = tensor_of(params["global_kernel"], (3, 2, 0, 1))
  fc7 = dense_tensors(params["fc7"])

  def trunk(x: Any) -> Any:
    x = stem[1](stem[0](x, 2))
    for (expand, depthwise, project), stride in bottlenecks:
      inner = project(depthwise(expand(x), stride))
      x = inner if stride > 1 else x + inner
    x = functional.conv2d(last(x), weights, groups=len(weights))
    return functional.linear(x.flatten(1), *fc7)

  return trunk
