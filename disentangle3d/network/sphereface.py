"""SphereFace trunks (Liu et al. 2017, table 2): 112x96 face crop to feature.

Images are `[B, 112, 96, 3]`, RGB, uint8 mapped to (x - 127.5) / 128. Layers
carry the published names: `conv2_3` is the third convolution of stage 2,
`prelu2_3` its activation, `fc5` the fully connected layer. What `fc5` sees is
the 7x6 map flattened row by row with the channel fastest (h, w, c); weights
published for channel-first frameworks come as (c, h, w) and are permuted on
import.
"""

from collections.abc import Mapping
import dataclasses
import math
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from disentangle3d.network.feature_maps import join_map
from disentangle3d.network.prelu import PReLU
from disentangle3d.types import check_array, check_choice

_IMAGE = "B 112 96 3"

# Caffe's "xavier": uniform with variance 1 / fan_in.
xavier = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True)
class Trunk:
  """What tells one preset from another.

  Attributes:
    widths: Channels of the four stages.
    units: Residual units of the four stages, two convolutions each.
    feature_dim: Size of the feature that `fc5` makes.
  """

  widths: tuple[int, int, int, int]
  units: tuple[int, int, int, int]
  feature_dim: int


_WIDTHS = (64, 128, 256, 512)

# `tiny` is ours: 24.3 million multiply-adds, for two CPU cores.
PRESETS: Mapping[str, Trunk] = types.MappingProxyType(
  {
    "sphere4": Trunk(_WIDTHS, (0, 0, 0, 0), 512),
    "sphere10": Trunk(_WIDTHS, (0, 1, 2, 0), 512),
    "sphere20": Trunk(_WIDTHS, (1, 2, 4, 1), 512),
    "sphere36": Trunk(_WIDTHS, (2, 4, 8, 2), 512),
    "sphere64": Trunk(_WIDTHS, (3, 8, 16, 3), 512),
    "tiny": Trunk((16, 32, 64, 128), (0, 0, 1, 0), 256),
  }
)


def find_trunk(name: str) -> Trunk:
  """The trunk called `name`.

  Raises:
    UserError: There is no such preset; lists those there are.
  """
  check_choice("trunk", name, PRESETS)
  return PRESETS[name]


def scale_images(
  images: UInt8[Array, "*B 112 96 3"] | Float[Array, "*B 112 96 3"],
) -> Float[Array, "*B 112 96 3"]:
  """Maps uint8 to (x - 127.5) / 128; floats are taken as mapped.

  Args:
    images: Crops, `[..., 112, 96, 3]`, RGB.

  Returns:
    Same shape, float.

  Raises:
    ValueError: The shape differs.
    TypeError: The dtype is neither uint8 nor floating.
  """
  check_array("images", images, "... 112 96 3", dtype="uint8 or floating")
  if images.dtype != jnp.uint8:
    return jnp.asarray(images)
  return (jnp.asarray(images, jnp.float32) - 127.5) / 128.0


class SphereFace(nn.Module):
  """A trunk without batch norm, initialised as published.

  Attributes:
    preset: Key of `PRESETS`.
    dtype: Precision of the computation; parameters are float32.
    with_map: Whether the last map comes behind the feature (`join_map`).
  """

  preset: str = "sphere20"
  dtype: str = "float32"
  with_map: bool = False

  @nn.compact
  def __call__(
    self, images: Float[Array, "B 112 96 3"]
  ) -> Float[Array, "B feature"]:
    """Features of mapped crops.

    Args:
      images: Crops, `[B, 112, 96, 3]`, in [-1, 1].

    Returns:
      Features, `[B, trunks.feature_dim(...)]`, of `dtype`.

    Raises:
      ValueError: `images` has another shape, or there is no such preset.
      TypeError: `images` is not floating.
    """
    check_array("images", images, _IMAGE)
    trunk = find_trunk(self.preset)
    x = images.astype(self.dtype)
    for stage, (width, units) in enumerate(
      zip(trunk.widths, trunk.units, strict=True), start=1
    ):
      x = self._convolve(x, width, f"{stage}_1", stride=2)
      for unit in range(units):
        inner = self._convolve(x, width, f"{stage}_{2 * unit + 2}")
        x = x + self._convolve(inner, width, f"{stage}_{2 * unit + 3}")
    # [B, 7 * 6 * width], (h, w, c); written out, as -1 has no size to infer
    # where B is 0.
    flat = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    feature = nn.Dense(
      trunk.feature_dim, dtype=self.dtype, kernel_init=xavier, name="fc5"
    )(flat)
    return join_map(feature, x) if self.with_map else feature

  def _convolve(
    self, x: Array, width: int, place: str, *, stride: int = 1
  ) -> Array:
    # One pixel of zeros all around, as Caffe and PyTorch pad; "SAME" would
    # put it all at the far end where the stride is 2.
    convolution = nn.Conv(
      width,
      (3, 3),
      strides=stride,
      padding=((1, 1), (1, 1)),
      dtype=self.dtype,
      kernel_init=xavier if stride == 2 else jax.nn.initializers.normal(0.01),
      name=f"conv{place}",
    )
    return PReLU(name=f"prelu{place}")(convolution(x))
