"""The decoders (paper, Fig. 4): one linear map a latent, without a bias.

Row c of a kernel is the flat shape (x1 y1 z1 x2 ..., Eq. 1) that one unit of
latent c adds, in millimetres: the counterpart of a 3DMM's basis.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.types import check_array

# Millimetres per unit of latent: next to nothing beside a trained basis, and
# enough to tell the columns apart.
_INITIAL_STD_MM = 0.01


class LinearDecoder(nn.Module):
  """Latents to flat shape components; the mean shape is not its business.

  Attributes:
    num_vertices: V.
    dtype: Precision of the computation; parameters are float32.
  """

  num_vertices: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, codes: Float[Array, "*B C"]) -> Float[Array, "*B V3"]:
    """Flat shape components.

    Args:
      codes: Latents, `[..., C]`.

    Returns:
      Components, `[..., 3V]`, mm, float32.

    Raises:
      TypeError: `codes` is not a floating array.
    """
    check_array("codes", codes, "... C")
    kernel = self.param(
      "kernel",
      nn.initializers.normal(_INITIAL_STD_MM),
      (codes.shape[-1], 3 * self.num_vertices),
      jnp.float32,
    )
    # In bfloat16 a component of 30 mm would move in steps of 0.1 mm.
    return jnp.matmul(
      codes.astype(self.dtype),
      kernel.astype(self.dtype),
      preferred_element_type=jnp.float32,
    )
