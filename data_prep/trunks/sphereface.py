"""Published SphereFace weights to this project's trunk."""

from typing import Any

from data_prep.trunks.layers import (
  Names,
  Weights,
  folded,
  layer_params,
  slope_params,
)
from disentangle3d.network.sphereface import PRESETS, Trunk
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

# What four strides of 2 leave of a crop.
_MAP = (IMAGE_HEIGHT // 16, IMAGE_WIDTH // 16)

# An array that no other network has, and the colours of both published sets,
# whose code read pictures with OpenCV or MATLAB's Caffe.
MARKS = {"conv1_1.weight": "bgr"}


def sphereface_params(weights: Weights) -> tuple[str, dict[str, Any]]:
  """A SphereFace trunk out of published arrays.

  Args:
    weights: By the PyTorch port's names, which are the Caffe model's with
      `.weight` and `.bias` behind; others than the trunk's are passed over.

  Returns:
    The preset, and the params of `sphereface.SphereFace`, for crops whose
    channels are in the order of the weights.

  Raises:
    UserError: The arrays are no preset's; names the first that differs.
  """
  preset = _find_preset(weights)
  trunk = PRESETS[preset]
  params: dict[str, Any] = {}
  before = 3
  for place, width in _places(trunk):
    names = Names(f"conv{place}", slope=f"relu{place}")
    params[f"conv{place}"] = layer_params(
      *folded(weights, names, (width, before, 3, 3))
    )
    params[f"prelu{place}"] = slope_params(weights, names, width)
    before = width
  # Published flat as (c, h, w); ours is (h, w, c).
  flat = before * _MAP[0] * _MAP[1]
  kernel, bias = folded(weights, Names("fc5"), (trunk.feature_dim, flat))
  kernel = kernel.reshape(trunk.feature_dim, before, *_MAP)
  kernel = kernel.transpose(0, 2, 3, 1).reshape(trunk.feature_dim, flat)
  params["fc5"] = layer_params(kernel, bias)
  return preset, params


def _places(trunk: Trunk) -> list[tuple[str, int]]:
  """`1_1`, `1_2`, ... and the channels there, from the image on."""
  return [
    (f"{stage}_{number}", width)
    for stage, (width, units) in enumerate(
      zip(trunk.widths, trunk.units, strict=True), start=1
    )
    for number in range(1, 2 + 2 * units)
  ]


def _find_preset(weights: Weights) -> str:
  found = {
    name.removeprefix("conv").removesuffix(".weight")
    for name in weights
    if name.startswith("conv") and name.endswith(".weight")
  }
  for name, trunk in PRESETS.items():
    if found == {place for place, _ in _places(trunk)}:
      return name
  shown = ", ".join(f"conv{place}" for place in sorted(found))
  raise UserError(
    f"expected the convolutions of one of {', '.join(PRESETS)}, got"
    f" {len(found)}: {shown}"
  )
