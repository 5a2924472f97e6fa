"""Codes and trunks' features of any number of crops.

A trunk sees a set of crops once: networks that share one, as those of a
published trunk that stands still do, share what it makes of them, where they
need its map alike.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.evaluation.rows import in_batches
from disentangle3d.network.compilation import inference_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.sphereface import scale_images
from disentangle3d.network.trunks import trunk_features
from disentangle3d.training.export import Network
from disentangle3d.training.trunk_features import trunk_digest
from disentangle3d.types import Latents
from experiments.sets.faces import Images

_BATCH = 50
# Photos and their mirror images of two trunks.
_KEPT = 4
_Seen = tuple[str, Images, bool, Float[np.ndarray, "P F"]]
_seen: list[_Seen] = []


def encode_crops(
  network: Network, images: Images, *, mirrored: bool = False
) -> Latents:
  """Codes of any number of crops, on the host; one program for all.

  Args:
    network: Whose codes.
    images: The crops.
    mirrored: Of the crops turned left to right.
  """
  features = _seen_by(network, images, mirrored=mirrored)
  encoder = jax.tree.map(jnp.asarray, network.params["encoder"])
  latents: Latents = in_batches(
    lambda rows: _codes(encoder, features[rows], model=network.model),
    np.arange(len(images)),
    _BATCH,
  )
  return latents


def encode_trunk(
  network: Network, images: Images, *, mirrored: bool = False
) -> Float[np.ndarray, "P F"]:
  """The trunk's own features of any number of crops; as `encode_crops`."""
  plain = network.model.clone(identity_from_map=False, residual_from_map=False)
  return _seen_by(
    dataclasses.replace(network, model=plain), images, mirrored=mirrored
  )


def _seen_by(
  network: Network, images: Images, *, mirrored: bool
) -> Float[np.ndarray, "P seen"]:
  """What a network's two layers see.

  What was made last is kept for as long as the same array of crops is asked
  about.
  """
  trunk = network.params["encoder"]["trunk"]
  digest = trunk_digest(trunk, network.model)
  for known, crops, turned, features in _seen:
    if known == digest and crops is images and turned == mirrored:
      return features
  there = jax.tree.map(jnp.asarray, trunk)
  run = _program(
    network.model.trunk, network.model.dtype, network.model.with_map
  )

  def made(rows: np.ndarray) -> Array:
    crops = images[rows]
    crops = crops[:, :, ::-1] if mirrored else crops
    return run(there, scale_images(jnp.asarray(crops)))

  features = in_batches(made, np.arange(len(images)), _BATCH)
  _seen.append((digest, images, mirrored, features))
  del _seen[:-_KEPT]
  return features


@functools.cache
def _program(trunk: str, dtype: str, with_map: bool) -> Any:
  def run(params: dict[str, Any], crops: Array) -> Float[Array, "B seen"]:
    features = trunk_features(
      params, crops, trunk=trunk, dtype=dtype, with_map=with_map
    )
    return features.astype(jnp.float32)

  return jax.jit(run, compiler_options=inference_compiler_options())


@functools.partial(jax.jit, static_argnames="model")
def _codes(
  encoder: dict[str, Any], features: Array, *, model: FaceModel
) -> Latents:
  latents: Any = model.apply(
    {"params": {"encoder": encoder}}, features, method="encode"
  )
  return latents
