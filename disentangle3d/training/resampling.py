"""Pictures read between their pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def bilinear(
  image: Float[Array, "H W C"], places: Float[Array, "N 2"]
) -> Float[Array, "N C"]:
  """Values of a picture at any places; beyond its border the border goes on.

  Args:
    image: The picture, of any real dtype.
    places: x and y, pixels; whole numbers are pixel centres.

  Returns:
    Values, float32.
  """
  height, width, channels = image.shape
  last = jnp.asarray([[width - 1.001, height - 1.001]], jnp.float32)
  places = jnp.clip(places, 0, last)
  low = jnp.floor(places).astype(jnp.int32)
  right, down = jnp.split(places - low, 2, axis=-1)
  flat = image.reshape(height * width, channels)

  def row(first: Array) -> Array:
    left, next_to_it = (
      flat[at].astype(jnp.float32) for at in (first, first + 1)
    )
    return left * (1 - right) + next_to_it * right

  first = low[:, 1] * width + low[:, 0]
  return row(first) * (1 - down) + row(first + width) * down
