"""Examples that a trunk which stands still has seen: features for crops.

What such a trunk makes of a crop, and of its mirror image, is the same in every
step; computed once, a step is left with the two FC layers, the decoders and
the identity head.
"""

from collections.abc import Callable
import functools
import hashlib
from typing import Any

import jax
from jaxtyping import Array, Float, UInt8
import numpy as np

from disentangle3d.network.compilation import inference_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.sphereface import scale_images
from disentangle3d.network.trunks import trunk_features
from disentangle3d.training.input_pipeline import Examples, read_chunks

# Crops a turn: one program for all, and a few hundred MB of activations.
_TURN = 64


def features_of_examples(
  reader: Examples,
  trunk: dict[str, Any],
  *,
  model: FaceModel,
  mirrored: bool = False,
  progress: Callable[[int], object] = lambda done: None,
) -> Float[np.ndarray, "n F"]:
  """The features of all crops, in order.

  Args:
    reader: The examples; their crops are read a few at a time.
    trunk: The trunk's params.
    model: Whose trunk it is.
    mirrored: Of the crops turned left to right.
    progress: Told how many more are done.

  Returns:
    `[n, F]` float32; float16 with the map behind, of a model that needs it.
  """
  dtype = np.float16 if model.with_map else np.float32
  run = _program(model.trunk, model.dtype, model.with_map)
  there = jax.device_put(trunk)
  ranges = [
    range(first, min(first + _TURN, len(reader)))
    for first in range(0, len(reader), _TURN)
  ]
  parts = []
  for chunk, wanted in zip(read_chunks(reader, ranges), ranges, strict=True):
    crops = chunk.image[:, :, ::-1] if mirrored else chunk.image
    made = run(there, scale_images(_filled(crops)))
    parts.append(np.asarray(made)[: len(wanted)].astype(dtype))
    progress(len(wanted))
  return np.concatenate(parts)


def trunk_digest(trunk: dict[str, Any], model: FaceModel) -> str:
  """Stands for all that decides a crop's feature."""
  seen = " with its map" if model.with_map else ""
  digest = hashlib.sha256(f"{model.trunk}{seen} {model.dtype}".encode())
  for path, leaf in jax.tree_util.tree_leaves_with_path(trunk):
    digest.update(jax.tree_util.keystr(path).encode())
    # A step without an update makes 0 of -0.
    digest.update((np.asarray(leaf) + np.float32(0)).tobytes())
  return digest.hexdigest()


@functools.cache
def _program(trunk: str, dtype: str, with_map: bool) -> Callable[..., Array]:
  return jax.jit(
    functools.partial(
      trunk_features, trunk=trunk, dtype=dtype, with_map=with_map
    ),
    compiler_options=inference_compiler_options(),
  )


def _filled(crops: UInt8[np.ndarray, "b 112 96 3"]) -> Any:
  """As many as a turn has, the last one again and again."""
  return crops[np.minimum(np.arange(_TURN), len(crops) - 1)]
