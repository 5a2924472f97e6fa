"""The trunks by name: what turns a crop into a feature."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from disentangle3d.network import mobileface, sphereface, winograd
from disentangle3d.network.feature_maps import MAP_PIXELS
from disentangle3d.types import check_choice

TRUNKS = (*sphereface.PRESETS, *mobileface.FEATURE_DIMS)


def make_trunk(
  trunk: str, dtype: str, *, with_map: bool = False, name: str | None = None
) -> nn.Module:
  """The module of a trunk.

  Args:
    trunk: One of `TRUNKS`.
    dtype: Precision of the computation.
    with_map: Whether the last map comes behind the feature.
    name: The module's, among its parent's.

  Returns:
    Takes mapped crops, `[B, 112, 96, 3]`, gives `[B, feature_dim(...)]`.

  Raises:
    UserError: There is no such trunk; lists those there are.
  """
  check_choice("trunk", trunk, TRUNKS)
  if trunk in sphereface.PRESETS:
    return sphereface.SphereFace(trunk, dtype, with_map, name=name)
  return mobileface.MobileFace(trunk, dtype, with_map, name=name)


def trunk_features(
  params: dict[str, Any],
  images: Float[Array, "B 112 96 3"],
  *,
  trunk: str,
  dtype: str = "float32",
  with_map: bool = False,
) -> Float[Array, "B feature"]:
  """What a network's trunk makes of crops, before its two FC layers.

  Args:
    params: Of the trunk, `params["encoder"]["trunk"]` of a network; may be
      those of `winograd.prepare_trunk`.
    images: Crops, `[B, 112, 96, 3]`, mapped by `sphereface.scale_images`.
    trunk: One of `TRUNKS`.
    dtype: Precision of the computation.
    with_map: Whether the last map comes behind the feature.

  Returns:
    Features, `[B, feature_dim(...)]`, of `dtype`.

  Raises:
    ValueError: `images` has another shape.
    TypeError: `images` is not floating.
    UserError: There is no such trunk; lists those there are.
  """
  if winograd.is_prepared(params):
    return winograd.fast_trunk(params, images, preset=trunk, with_map=with_map)
  module = make_trunk(trunk, dtype, with_map=with_map)
  features: Any = module.apply({"params": params}, images)
  return features


def feature_dim(trunk: str, *, with_map: bool = False) -> int:
  """The size of a trunk's feature, with the last map behind it if asked.

  Raises:
    UserError: There is no such trunk; lists those there are.
  """
  check_choice("trunk", trunk, TRUNKS)
  if trunk in sphereface.PRESETS:
    preset = sphereface.PRESETS[trunk]
    feature, channels = preset.feature_dim, preset.widths[-1]
  else:
    feature = mobileface.FEATURE_DIMS[trunk]
    channels = mobileface.STAGES[-1].width
  return feature + MAP_PIXELS * channels if with_map else feature
