"""Published MobileFaceNets to this project's trunk without batch norm.

Three ways of naming the same layers are known: that of the PyTorch ports with
`conv1`, `dw_conv1`, `blocks`, `conv2`, `linear7` and `linear1`, that of
insightface's `mobilefacenet.py` (at `scale=1`), and that of the Caffe models
with `conv1`, `conv1_dw`, `conv2_ex` to `conv5_dw` and `fc5`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data_prep.trunks.layers import (
  Names,
  Weights,
  folded,
  layer_params,
  slope_params,
)
from disentangle3d.network.mobileface import (
  FEATURE_DIMS,
  LAST_WIDTH,
  STAGES,
  STEM_WIDTH,
)
from disentangle3d.types import UserError


def mobilefacenet_params(weights: Weights) -> tuple[str, dict[str, Any]]:
  """A trunk out of published arrays, its batch norm folded in.

  Args:
    weights: Arrays by published names.

  Returns:
    The trunk's name, and the params of `mobileface.MobileFace`, for crops
    whose channels are in the order of the weights.

  Raises:
    UserError: The arrays are another network's; names the first that differs.
  """
  names = _find_names(weights)
  last = weights.get(f"{names['global'].kernel}.weight")
  if last is not None and last.shape[2:] == (7, 7):
    raise UserError(
      "expected a trunk for crops of 112 x 96 pixels, which leave a map of"
      " 7 x 6, got one for 112 x 112; weights for SphereFace's crop are needed"
    )
  params: dict[str, Any] = {}
  for place, shape, slope in _layers():
    holder, _, layer = place.rpartition("/")
    into = params.setdefault(holder, {}) if holder else params
    into[layer] = layer_params(*folded(weights, names[place], shape))
    if slope:
      into[slope] = slope_params(weights, names[place], shape[0])
  kernel, shift = folded(weights, names["global"], (LAST_WIDTH, 1, 7, 6))
  params["global_kernel"] = layer_params(kernel, shift)["kernel"]
  trunk = _find_trunk(weights, names["fc7"])
  kernel, bias = folded(
    weights, names["fc7"], (FEATURE_DIMS[trunk], LAST_WIDTH)
  )
  # Ours has no bias before this layer: the published one passes through it.
  params["fc7"] = layer_params(kernel, bias + kernel @ shift)
  return trunk, params


def _layers() -> Iterator[tuple[str, tuple[int, ...], str]]:
  """Place in our params, published shape, and our PReLU after it or nothing."""
  yield "conv1", (STEM_WIDTH, 3, 3, 3), "prelu1"
  yield "depthwise2", (STEM_WIDTH, 1, 3, 3), "prelu2"
  before = STEM_WIDTH
  for number, stage in enumerate(STAGES, start=3):
    for place, inside in enumerate(stage.expanded, start=1):
      at = f"bottleneck{number}_{place}"
      yield f"{at}/expand", (inside, before), "expand_prelu"
      yield f"{at}/depthwise", (inside, 1, 3, 3), "depthwise_prelu"
      yield f"{at}/project", (stage.width, inside), ""
      before = stage.width
  yield "conv6", (LAST_WIDTH, before), "prelu6"


def _bottlenecks() -> Iterator[tuple[str, int, int]]:
  """Ours, its stage from 0, and its place there from 0."""
  for stage, described in enumerate(STAGES):
    for place in range(len(described.expanded)):
      yield f"bottleneck{stage + 3}_{place + 1}", stage, place


def _port_names() -> dict[str, Names]:
  """Those of the ports."""
  names = {
    "conv1": Names("conv1.conv", "conv1.bn", "conv1.prelu"),
    "depthwise2": Names("dw_conv1.conv", "dw_conv1.bn", "dw_conv1.prelu"),
    "conv6": Names("conv2.conv", "conv2.bn", "conv2.prelu"),
    "global": Names("linear7.conv", "linear7.bn"),
    "fc7": Names("linear1.conv", "linear1.bn"),
  }
  for number, (ours, _, _) in enumerate(_bottlenecks()):
    at = f"blocks.{number}.conv"
    names[f"{ours}/expand"] = Names(f"{at}.0", f"{at}.1", f"{at}.2")
    names[f"{ours}/depthwise"] = Names(f"{at}.3", f"{at}.4", f"{at}.5")
    names[f"{ours}/project"] = Names(f"{at}.6", f"{at}.7")
  return names


def _insightface_names() -> dict[str, Names]:
  """Those of insightface's `mobilefacenet.py`."""

  def block(at: str) -> Names:
    return Names(f"{at}.layers.0", f"{at}.layers.1", f"{at}.layers.2")

  names = {
    "conv1": block("layers.0"),
    "depthwise2": block("layers.1"),
    "conv6": block("conv_sep"),
    "global": block("features.layers.0"),
    "fc7": Names("features.layers.2", "features.layers.3"),
  }
  for ours, stage, place in _bottlenecks():
    # The first of a stage stands by itself, the others in a list.
    first = 2 + 2 * stage
    at = (
      f"layers.{first + 1}.layers.{place - 1}" if place else f"layers.{first}"
    )
    for number, part in enumerate(("expand", "depthwise", "project")):
      names[f"{ours}/{part}"] = block(f"{at}.layers.{number}")
  return names


def _caffe_names() -> dict[str, Names]:
  """Those of the Caffe models: a Scale of its own after each BatchNorm."""

  def layer(at: str, *, active: bool = True) -> Names:
    slope = at.replace("conv", "relu") if active else ""
    return Names(at, f"{at}/bn", slope, f"{at}/scale")

  names = {
    "conv1": layer("conv1"),
    "depthwise2": layer("conv1_dw"),
    "conv6": layer("conv5_ex"),
    "global": layer("conv5_dw", active=False),
    "fc7": Names("fc5", "fc5/bn", scale=""),
  }
  for ours, stage, place in _bottlenecks():
    at = f"conv{stage + 2}_{place}" if place else f"conv{stage + 2}"
    names[f"{ours}/expand"] = layer(f"{at}_ex")
    names[f"{ours}/depthwise"] = layer(f"{at}_dw")
    names[f"{ours}/project"] = layer(f"{at}_em", active=False)
  return names


def _find_names(weights: Weights) -> Mapping[str, Names]:
  """The way of naming whose mark is there."""
  for mark, names in _NAMES.items():
    if mark in weights:
      return names
  raise UserError(f"expected an array {' or '.join(_NAMES)}, got none")


def _mark(names: Mapping[str, Names]) -> str:
  """The first bottleneck's first array, which no other network has."""
  return f"{names['bottleneck3_1/expand'].kernel}.weight"


_NAMES = {
  _mark(names): names
  for names in (_port_names(), _insightface_names(), _caffe_names())
}
# An array of each way of naming, and the colours that its files were trained
# on.
MARKS = dict(zip(_NAMES, ("rgb", "rgb", "bgr"), strict=True))


def _find_trunk(weights: Weights, names: Names) -> str:
  kernel = weights.get(f"{names.kernel}.weight", np.zeros(0))
  for trunk, width in FEATURE_DIMS.items():
    if kernel.size == width * LAST_WIDTH:
      return trunk
  raise UserError(
    "expected a feature of one of"
    f" {', '.join(map(str, FEATURE_DIMS.values()))} numbers, got"
    f" {names.kernel}.weight of shape {list(kernel.shape)}"
  )
