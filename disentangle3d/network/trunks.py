"""The trunks by name: what turns a crop into a feature."""

import flax.linen as nn

from disentangle3d.network.mobileface import MobileFace
from disentangle3d.network.sphereface import PRESETS, SphereFace
from disentangle3d.types import check_choice

MOBILE = "mobile"
TRUNKS = (*PRESETS, MOBILE)


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
  if trunk in PRESETS:
    return SphereFace(trunk, dtype, name=name)
  return MobileFace(dtype, name=name)
