"""Codes of any number of crops."""

import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.evaluation.rows import in_batches
from disentangle3d.inference import encode
from disentangle3d.training.export import Network
from disentangle3d.types import Latents
from experiments.sets.faces import Images

_BATCH = 50
_encode = jax.jit(encode, static_argnames="model")


def encode_crops(
  network: Network, images: Images, *, mirrored: bool = False
) -> Latents:
  """Codes of any number of crops, on the host; one program for all.

  Args:
    network: Whose codes.
    images: The crops.
    mirrored: Of the crops turned left to right.
  """
  params = jax.tree.map(jnp.asarray, network.params)

  def codes(rows: np.ndarray) -> Latents:
    crops = images[rows]
    crops = crops[:, :, ::-1] if mirrored else crops
    return _encode(params, jnp.asarray(crops), model=network.model)

  return in_batches(codes, np.arange(len(images)), _BATCH)
