"""The trained landmark network in a file, and the one that ships."""

import json
import os
import pathlib
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.input_files import read_npz
from disentangle3d.network.landmark_network import CROP_PX, LandmarkNetwork
from disentangle3d.output_files import replace_npz
from disentangle3d.types import UserError

_ABOUT = "about"
_FORMAT = "disentangle3d landmark network, version 1"
SHIPPED = pathlib.Path(__file__).parent / "weights" / "landmarks_synthetic.npz"


def save_landmark_params(
  path: str | os.PathLike[str], params: Any, *, precision: str = "float16"
) -> None:
  """Writes an `.npz` (no pickle), by a rename at the end.

  Args:
    path: Where to write; the folder must exist.
    params: The network's.
    precision: Of the numbers; float16 halves the file, and moves points by a
      hundredth of a pixel.
  """
  flat = flax.traverse_util.flatten_dict(params, sep="/")
  arrays = {name: np.asarray(leaf, precision) for name, leaf in flat.items()}
  replace_npz(
    path, arrays | {_ABOUT: np.array(json.dumps({"format": _FORMAT}))}
  )


def load_landmark_params(
  path: str | os.PathLike[str], *, fresh: Any = None
) -> Any:
  """Reads and checks what `save_landmark_params` wrote.

  Args:
    path: The file.
    fresh: Params that take the place of those the file lacks, whose network
      had fewer layers; None refuses such a file.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It holds something else; names file and problem.
  """
  content = read_npz(
    path,
    "params of a landmark network",
    names=(_ABOUT,),
    otherwise="; python -m experiments.train_locator makes one",
  )
  expected = flax.traverse_util.flatten_dict(_abstract_params(), sep="/")
  other = flax.traverse_util.flatten_dict(fresh or {}, sep="/")
  found = {name: content.get(name, other.get(name)) for name in expected}
  for name, shape in expected.items():
    array = found[name]
    if array is None or array.shape != shape.shape:
      raise UserError(
        f"{path}: {name}: expected {list(shape.shape)}, got"
        f" {'nothing' if array is None else list(array.shape)}"
      )
    if array.dtype.kind != "f" or not np.isfinite(array).all():
      raise UserError(f"{path}: {name}: expected finite floating numbers")
  return flax.traverse_util.unflatten_dict(
    {name: np.asarray(array, np.float32) for name, array in found.items()},
    sep="/",
  )


def _abstract_params() -> Any:
  crops = jax.ShapeDtypeStruct((1, CROP_PX, CROP_PX, 3), jnp.float32)
  shapes = jax.eval_shape(LandmarkNetwork().init, jax.random.key(0), crops)
  return shapes["params"]
