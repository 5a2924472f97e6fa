"""Small trunks after MobileFaceNet (Chen et al. 2018), 0.19 billion MACs.

Inverted bottlenecks of 1x1 and depthwise 3x3 convolutions, a global depthwise
convolution over the last 7x6 map, and one FC layer. As in this project's other
trunks there is no batch norm: every layer has a bias, and a bottleneck that is
added to its input starts next to nothing.
"""

from collections.abc import Mapping
import dataclasses
import math
import types

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.network.depthwise import depthwise_convolution
from disentangle3d.network.feature_maps import join_map
from disentangle3d.network.prelu import PReLU
from disentangle3d.network.sphereface import xavier
from disentangle3d.types import check_array, check_choice

# The size of the feature, by trunk: insightface's, and the paper's.
FEATURE_DIMS: Mapping[str, int] = types.MappingProxyType(
  {"mobile": 512, "mobile128": 128}
)
STEM_WIDTH, LAST_WIDTH = 64, 512

# Variance 2 / fan_in is kept by ReLU; PReLU with slope 0.25 keeps a bit more.
_keep_variance = nn.initializers.variance_scaling(
  2 / (1 + 0.25**2), "fan_in", "normal"
)


@dataclasses.dataclass(frozen=True)
class Stage:
  """Bottlenecks of one width.

  Attributes:
    expanded: Channels inside a bottleneck, by bottleneck.
    width: Channels that leave it.
    stride: Of the first one's depthwise convolution.
  """

  expanded: tuple[int, ...]
  width: int
  stride: int


# Chen et al. 2018, table 1; bottlenecks of one width are a stage here.
STAGES = (
  Stage((128,) * 5, 64, 2),
  Stage((256,) * 7, 128, 2),
  Stage((512, 256, 256), 128, 2),
)


class Depthwise(nn.Module):
  """A depthwise 3x3 convolution with a bias.

  Attributes:
    stride: In both directions.
    dtype: Precision of the computation; parameters are float32.
  """

  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Convolves every channel by itself."""
    channels = x.shape[-1]
    kernel = self.param(
      "kernel", _keep_variance, (3, 3, 1, channels), jnp.float32
    )
    bias = self.param(
      "bias", nn.initializers.zeros_init(), (channels,), jnp.float32
    )
    made = self.convolve(x.astype(self.dtype), kernel.astype(self.dtype))
    return made + bias.astype(self.dtype).reshape(1, 1, 1, -1)

  def convolve(
    self, x: Float[Array, "B H W C"], kernel: Float[Array, "3 3 1 C"]
  ) -> Float[Array, "B h w C"]:
    """By the platform's program; `nn.intercept_methods` may choose another."""
    return depthwise_convolution(x, kernel, stride=self.stride)


class Bottleneck(nn.Module):
  """1x1 to more channels, depthwise, 1x1 to fewer without an activation.

  Attributes:
    expanded: Channels inside.
    width: Channels that leave; where the input has as many and the stride is
      1, it is added.
    stride: Of the depthwise convolution.
    dtype: Precision of the computation; parameters are float32.
  """

  expanded: int
  width: int
  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w K"]:
    """Applies the three convolutions."""
    added = self.stride == 1 and x.shape[-1] == self.width
    inner = _of_pixels(
      nn.Dense(
        self.expanded,
        dtype=self.dtype,
        kernel_init=_keep_variance,
        name="expand",
      ),
      x,
    )
    inner = PReLU(name="expand_prelu")(inner)
    inner = Depthwise(self.stride, self.dtype, name="depthwise")(inner)
    inner = PReLU(name="depthwise_prelu")(inner)
    inner = _of_pixels(
      nn.Dense(
        self.width,
        dtype=self.dtype,
        kernel_init=nn.initializers.normal(0.01) if added else xavier,
        name="project",
      ),
      inner,
    )
    return x + inner if added else inner


def _of_pixels(layer: nn.Dense, x: Array) -> Array:
  """A layer of each pixel's channels: one product of two matrices.

  Of four dimensions XLA on CPU would write the map again, transposed, for the
  gradient of the kernel.
  """
  pixels = x.reshape(math.prod(x.shape[:3]), x.shape[3])
  return layer(pixels).reshape(*x.shape[:3], layer.features)


class MobileFace(nn.Module):
  """A trunk.

  Attributes:
    trunk: Key of `FEATURE_DIMS`.
    dtype: Precision of the computation; parameters are float32.
    with_map: Whether the last bottleneck's map comes behind the feature
      (`join_map`).
  """

  trunk: str = "mobile"
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
      ValueError: `images` has another shape, or there is no such trunk.
      TypeError: `images` is not floating.
    """
    check_array("images", images, "B 112 96 3")
    check_choice("trunk", self.trunk, FEATURE_DIMS)
    x = nn.Conv(
      STEM_WIDTH,
      (3, 3),
      strides=2,
      padding=((1, 1), (1, 1)),
      dtype=self.dtype,
      kernel_init=_keep_variance,
      name="conv1",
    )(images.astype(self.dtype))
    x = PReLU(name="prelu1")(x)
    x = PReLU(name="prelu2")(Depthwise(1, self.dtype, name="depthwise2")(x))
    for number, stage in enumerate(STAGES, start=3):
      for place, expanded in enumerate(stage.expanded):
        x = Bottleneck(
          expanded,
          stage.width,
          stage.stride if place == 0 else 1,
          self.dtype,
          name=f"bottleneck{number}_{place + 1}",
        )(x)
    last_map = x
    last = nn.Dense(
      LAST_WIDTH, dtype=self.dtype, kernel_init=_keep_variance, name="conv6"
    )
    x = _of_pixels(last, x)
    x = PReLU(name="prelu6")(x)
    # The 7x6 map's weighted sum, channel by channel.
    kernel = self.param(
      "global_kernel", xavier, (*x.shape[1:3], 1, LAST_WIDTH), jnp.float32
    )
    x = jnp.einsum("bhwc,hwc->bc", x, kernel[:, :, 0].astype(self.dtype))
    feature = nn.Dense(
      FEATURE_DIMS[self.trunk], dtype=self.dtype, kernel_init=xavier, name="fc7"
    )(x)
    return join_map(feature, last_map) if self.with_map else feature
