"""Reconstruction in PyTorch, to compare with (extra `compare`)."""

from collections.abc import Callable, Mapping
import functools
import os
from typing import Any

import jax
import numpy as np
import torch
from torch.nn import functional

from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.mobileface import FEATURE_DIMS, STAGES
from disentangle3d.network.sphereface import PRESETS
from experiments.benchmarks.torch_network import (
  codes_of,
  convolution_tensors,
  decode,
  dense_tensors,
  feature_and_map,
  pixels_of,
  sphereface,
  sphereface_tensors,
  tensor_of,
  tensors_beside_trunk,
)

# Puts a tensor where the network computes, in its precision.
_Place = Callable[[torch.Tensor], torch.Tensor]


def is_comparable() -> bool:
  """Whether PyTorch can compute on what JAX does."""
  return jax.default_backend() == "cpu" or torch.cuda.is_available()


def torch_method(
  params: Mapping[str, Any], model: FaceModel
) -> Callable[[Any], tuple[Any, Any]]:
  """`reconstruct` in PyTorch, on what JAX computes on.

  On a CPU channel-first; on a GPU channel-last in memory, with cuDNN's
  algorithms tried out and products of float32 as JAX makes them there.

  Args:
    params: Parameters of `model`, in float32.
    model: The network.

  Returns:
    uint8 crops `[B, 112, 96, 3]` to codes `[B, I + E]` and shapes `[B, V, 3]`,
    where the crops are.
  """
  on_host = jax.default_backend() == "cpu"
  dtype = getattr(torch, model.dtype)
  if on_host:
    torch.set_num_threads(os.cpu_count() or 1)
  else:
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True

  def place(tensor: torch.Tensor, dtype: Any = dtype) -> torch.Tensor:
    if on_host:
      return tensor.to(dtype)
    last = tensor.ndim == 4
    return tensor.to("cuda", dtype).contiguous(
      memory_format=torch.channels_last if last else torch.contiguous_format
    )

  weights = tensors_beside_trunk(params)
  # As in ours the two heads and what they make stay in float32.
  encoder = {
    name: [place(tensor, torch.float32) for tensor in layer]
    for name, layer in weights["encoder"].items()
  }
  mean = place(weights["mean_shape"], torch.float32)
  decoders = {
    name: place(weights[name])
    for name in ("identity_decoder", "residual_decoder")
  }
  trunk = torch_trunk(params["encoder"]["trunk"], model, place)

  def method(images: Any) -> tuple[Any, Any]:
    with torch.inference_mode():
      pixels = pixels_of(
        torch.from_numpy(np.asarray(images))
        if on_host
        else torch.from_dlpack(images)
      )
      codes = codes_of(encoder, trunk(place(pixels)).float())
      shape = decode(decoders, mean, *(code.to(dtype) for code in codes))
      joined, shape = torch.cat(codes, 1), shape.reshape(len(images), -1, 3)
    if on_host:
      return joined.numpy(), shape.numpy()
    torch.cuda.synchronize()
    return jax.dlpack.from_dlpack(joined), jax.dlpack.from_dlpack(shape)

  return method


def torch_trunk(
  params: Mapping[str, Any], model: FaceModel, place: _Place
) -> Any:
  """What makes features of pixels, `[B, 3, 112, 96]`.

  Args:
    params: Of the trunk.
    model: Whose trunk it is.
    place: Is given each of its tensors, once, and gives what computes.
  """
  if model.trunk in FEATURE_DIMS:
    return _mobile(params, place, with_map=model.with_map)
  layers = sphereface_tensors(params)
  return functools.partial(
    sphereface,
    {name: [place(one) for one in layer] for name, layer in layers.items()},
    units=PRESETS[model.trunk].units,
    with_map=model.with_map,
  )


def _mobile(params: Mapping[str, Any], place: _Place, *, with_map: bool) -> Any:
  def layer(name: str, slopes: str | None, *, at: Any = params) -> Any:
    """A convolution of any kind, and its PReLU."""
    kernel = np.asarray(at[name]["kernel"])
    weight, bias = convolution_tensors(
      {**at[name], "kernel": kernel.reshape(1, 1, *kernel.shape)}
      if kernel.ndim == 2
      else at[name]
    )
    weight, bias = place(weight), place(bias)
    slope = None if slopes is None else place(tensor_of(at[slopes]["slope"]))
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
    for position in range(len(stage.expanded)):
      at = params[f"bottleneck{number}_{position + 1}"]
      layers = (
        layer("expand", "expand_prelu", at=at),
        layer("depthwise", "depthwise_prelu", at=at),
        layer("project", None, at=at),
      )
      bottlenecks.append((layers, stage.stride if position == 0 else 1))
  last = layer("conv6", "prelu6")
  weights = place(tensor_of(params["global_kernel"], (3, 2, 0, 1)))
  fc7 = [place(one) for one in dense_tensors(params["fc7"])]

  def trunk(x: Any) -> Any:
    x = stem[1](stem[0](x, 2))
    for (expand, depthwise, project), stride in bottlenecks:
      inner = project(depthwise(expand(x), stride))
      x = inner if stride > 1 else x + inner
    summed = functional.conv2d(last(x), weights, groups=len(weights))
    feature = functional.linear(summed.flatten(1), *fc7)
    return feature_and_map(feature, x) if with_map else feature

  return trunk
