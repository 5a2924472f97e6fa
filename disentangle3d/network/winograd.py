"""SphereFace trunks made faster on CPU, for inference only.

XLA's direct 3x3 convolutions are far from what a CPU's matrix products reach.
Winograd's minimal filtering (Lavin and Gray 2016) computes m x m outputs from
(m + 2)^2 products a channel pair: 4 x 4 outputs a tile in the first two stages,
2 x 2 in the small maps of the last two. Filters are transformed once, by
`prepare_trunk`. The large FC layer is kept transposed, so that each output
reads memory in order.
"""

from collections.abc import Sequence
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.network.feature_maps import join_map
from disentangle3d.network.sphereface import Trunk, find_trunk
from disentangle3d.types import check_array

# The input, filter and output transforms of F(2, 3) and F(4, 3).
_INPUT = {
  2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
  4: np.array(
    [
      [4, 0, -5, 0, 1, 0],
      [0, -4, -4, 1, 1, 0],
      [0, 4, -4, -1, 1, 0],
      [0, -2, -1, 2, 1, 0],
      [0, 2, -1, -2, 1, 0],
      [0, 4, 0, -5, 0, 1],
    ]
  ),
}
_FILTER = {
  2: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
  4: np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
  )
  / 24,
}
_OUTPUT = {
  2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
  4: np.array(
    [
      [1, 1, 1, 1, 1, 0],
      [0, 1, -1, 2, -2, 0],
      [0, 1, 1, 4, 4, 0],
      [0, 1, -1, 8, -8, 1],
    ]
  ),
}
# Outputs a tile, by stage.
_TILES = (4, 4, 2, 2)
_FILTERS, _TRANSPOSED = "winograd", "transposed_kernel"


def prepare_trunk(
  params: dict[str, Any], preset: str
) -> dict[str, dict[str, Array]]:
  """The params of a trunk in the form that `fast_trunk` reads.

  Args:
    params: Of `sphereface.SphereFace`.
    preset: Its preset.

  Returns:
    The same layers: residual convolutions with filters `[a, a, C, K]`, `fc5`
    with its kernel transposed.

  Raises:
    ValueError: There is no such preset.
  """
  prepared = {name: dict(layer) for name, layer in params.items()}
  for place, stage in _residual_places(find_trunk(preset)):
    layer = prepared[f"conv{place}"]
    filters = jnp.asarray(layer.pop("kernel"))
    matrix = jnp.asarray(_FILTER[_TILES[stage]], filters.dtype)
    layer[_FILTERS] = jnp.einsum("ai,ijck,bj->abck", matrix, filters, matrix)
  last = prepared["fc5"]
  last[_TRANSPOSED] = jnp.asarray(last.pop("kernel")).T
  return prepared


def is_prepared(params: dict[str, Any]) -> bool:
  """Whether a trunk's params come from `prepare_trunk`."""
  return _TRANSPOSED in params.get("fc5", {})


def fast_trunk(
  params: dict[str, Any],
  images: Float[Array, "B 112 96 3"],
  *,
  preset: str,
  with_map: bool = False,
) -> Float[Array, "B feature"]:
  """What `sphereface.SphereFace` computes, up to rounding.

  Args:
    params: From `prepare_trunk`.
    images: Mapped crops, `[B, 112, 96, 3]`.
    preset: Of the trunk.
    with_map: Whether the last map comes behind the feature.

  Returns:
    Features, `[B, trunks.feature_dim(...)]`.

  Raises:
    ValueError: `images` has another shape, or there is no such preset.
    TypeError: `images` is not floating.
  """
  check_array("images", images, "B 112 96 3")
  trunk = find_trunk(preset)
  x = images
  for stage, units in enumerate(trunk.units):
    x = _layer(params, x, f"{stage + 1}_1", None)
    for unit in range(units):
      places = [f"{stage + 1}_{2 * unit + n}" for n in (2, 3)]
      inner = x
      for place in places:
        inner = _layer(params, inner, place, _TILES[stage])
      x = x + inner
  flat = x.reshape(x.shape[0], math.prod(x.shape[1:]))
  last = params["fc5"]
  product = jnp.einsum("bk,fk->bf", flat, last[_TRANSPOSED])
  feature = product + last["bias"].reshape(1, -1)
  return join_map(feature, x) if with_map else feature


def winograd_convolution(
  x: Float[Array, "B H W C"], filters: Float[Array, "A A C K"], *, tile: int
) -> Float[Array, "B H W K"]:
  """A 3x3 convolution of stride 1 with a pixel of zeros around.

  Args:
    x: Maps, `[B, H, W, C]`.
    filters: Transformed filters, `[tile + 2, tile + 2, C, K]`.
    tile: Outputs a tile's side, 2 or 4.

  Returns:
    Maps, `[B, H, W, K]`, without a bias.

  Raises:
    ValueError: A shape differs, or there is no such tile.
  """
  if tile not in _INPUT:
    raise ValueError(f"tile: expected 2 or 4, got {tile}")
  sizes = check_array("x", x, "B H W C")
  side = tile + 2
  check_array("filters", filters, f"{side} {side} C K", sizes=sizes)
  batch, height, width, channels = x.shape
  down, right = -(-height // tile), -(-width // tile)
  x = jnp.pad(
    x,
    (
      (0, 0),
      (1, 1 + down * tile - height),
      (1, 1 + right * tile - width),
      (0, 0),
    ),
  )
  # Rows first, then columns; XLA would otherwise compute rows once a column.
  rows = _combine(_INPUT[tile], [x[:, i::tile][:, :down] for i in range(side)])
  rows = jax.lax.optimization_barrier(rows)
  tiles = [
    column
    for row in rows
    for column in _combine(
      _INPUT[tile], [row[:, :, j::tile][:, :, :right] for j in range(side)]
    )
  ]
  count = batch * down * right
  stacked = jnp.stack([t.reshape(count, channels) for t in tiles])
  products = jnp.einsum(
    "tnc,tck->tnk", stacked, filters.reshape(side * side, *filters.shape[2:])
  )
  products = products.reshape(side, side, batch, down, right, -1)
  down_rows = jax.lax.optimization_barrier(
    _combine(_OUTPUT[tile], list(products))
  )
  outputs = [
    jnp.stack(_combine(_OUTPUT[tile], list(row)), axis=3) for row in down_rows
  ]
  made = jnp.stack(outputs, axis=2)
  made = made.reshape(batch, down * tile, right * tile, -1)
  return made[:, :height, :width]


def _layer(
  params: dict[str, Any], x: Array, place: str, tile: int | None
) -> Array:
  """A convolution and its PReLU; without a tile of stride 2."""
  layer = params[f"conv{place}"]
  if tile is None:
    x = jax.lax.conv_general_dilated(
      x,
      layer["kernel"],
      (2, 2),
      ((1, 1), (1, 1)),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  else:
    x = winograd_convolution(x, layer[_FILTERS], tile=tile)
  x = x + layer["bias"].reshape(1, 1, 1, -1)
  slope = params[f"prelu{place}"]["slope"].reshape(1, 1, 1, -1)
  return jnp.where(x > 0, x, slope * x)


def _residual_places(trunk: Trunk) -> list[tuple[str, int]]:
  """Names and stages (from 0) of the convolutions of stride 1."""
  return [
    (f"{stage + 1}_{number}", stage)
    for stage, units in enumerate(trunk.units)
    for number in range(2, 2 + 2 * units)
  ]


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
  """The rows of a small matrix times arrays, zeros left out."""
  sums = []
  for row in matrix:
    terms = [float(c) * p for c, p in zip(row, parts, strict=True) if c]
    total = terms[0]
    for term in terms[1:]:
      total = total + term
    sums.append(total)
  return sums
