"""Codes and trunks' features of any number of crops."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.evaluation.rows import in_batches
from disentangle3d.inference import encode
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.sphereface import scale_images
from disentangle3d.network.trunks import trunk_features
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
  latents: Latents = _in_batches(_encode, network, images, mirrored)
  return latents


def encode_trunk(
  network: Network, images: Images, *, mirrored: bool = False
) -> Float[np.ndarray, "P F"]:
  """The trunk's own features of any number of crops; as `encode_crops`."""
  features: np.ndarray = _in_batches(_features, network, images, mirrored)
  return features


@functools.partial(jax.jit, static_argnames="model")
def _features(
  params: dict[str, Any], crops: Array, *, model: FaceModel
) -> Float[Array, "B F"]:
  return trunk_features(
    params["encoder"]["trunk"],
    scale_images(crops),
    trunk=model.trunk,
    dtype=model.dtype,
  ).astype(jnp.float32)


def _in_batches(
  make: Callable[..., Any], network: Network, images: Images, mirrored: bool
) -> Any:
  params = jax.tree.map(jnp.asarray, network.params)

  def made(rows: np.ndarray) -> Any:
    crops = images[rows]
    crops = crops[:, :, ::-1] if mirrored else crops
    return make(params, jnp.asarray(crops), model=network.model)

  return in_batches(made, np.arange(len(images)), _BATCH)
