"""How well a network's codes tell people apart, on photos never trained on."""

import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.inference import encode
from disentangle3d.training.export import Network
from disentangle3d.types import Latents
from experiments.sets.faces import Images

_BATCH = 50


def encode_photos(
  network: Network, images: Images, *, mirrored: bool = False
) -> Latents:
  """Codes of any number of photos, on the host; one program for all.

  Args:
    network: Whose codes.
    images: The crops.
    mirrored: Of the crops turned left to right.
  """
  run = jax.jit(
    lambda params, batch: encode(params, batch, model=network.model)
  )
  params = jax.tree.map(jnp.asarray, network.params)
  parts = []
  for start in range(0, len(images), _BATCH):
    rows = np.minimum(np.arange(start, start + _BATCH), len(images) - 1)
    batch = images[rows]
    batch = batch[:, :, ::-1] if mirrored else batch
    codes = run(params, jnp.asarray(batch))
    parts.append(jax.tree.map(np.asarray, codes))
  joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
  return jax.tree.map(lambda leaf: leaf[: len(images)], joined)
