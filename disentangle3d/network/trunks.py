"""The trunks by name: what turns a crop into a feature."""

import flax.linen as nn

from disentangle3d.network import mobileface, sphereface
from disentangle3d.types import check_choice

TRUNKS = (*sphereface.PRESETS, *mobileface.FEATURE_DIMS)


def make_trunk(trunk: str, dtype: str, *, name: str | None = None) -> nn.Module:
  """The module of a trunk.

  Args:
    trunk: One of `TRUNKS`.
    dtype: Precision of the computation.
    name: The module's, among its parent's.

  Returns:
    Takes mapped crops, `[B, 112, 96, 3]`, gives `[B, feature_dim]`.

  Raises:
    UserError: There is no such trunk; lists those there are.
  """
  check_choice("trunk", trunk, TRUNKS)
  if trunk in sphereface.PRESETS:
    return sphereface.SphereFace(trunk, dtype, name=name)
  return mobileface.MobileFace(trunk, dtype, name=name)


def feature_dim(trunk: str) -> int:
  """The size of a trunk's feature.

  Raises:
    UserError: There is no such trunk; lists those there are.
  """
  check_choice("trunk", trunk, TRUNKS)
  if trunk in sphereface.PRESETS:
    return sphereface.PRESETS[trunk].feature_dim
  return mobileface.FEATURE_DIMS[trunk]
