"""Published SphereFace weights to this project's trunk."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

import jax
import numpy as np

from data_prep.files.caffe_files import read_caffemodel
from data_prep.files.torch_files import read_state_dict
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.sphereface import PRESETS, Trunk
from disentangle3d.output_files import check_folder
from disentangle3d.training.export import save_network
from disentangle3d.types import (
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  UserError,
  check_choice,
)

PHASE = "import_sphereface"


# What four strides of 2 leave of a crop.
_MAP = (IMAGE_HEIGHT // 16, IMAGE_WIDTH // 16)


CHANNEL_ORDERS = ("bgr", "rgb")


def read_trunk_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The arrays of a published file under the PyTorch port's names.

  Args:
    path: A `.caffemodel`, or anything that `torch.save` wrote.

  Returns:
    `conv1_1.weight`, `conv1_1.bias`, `relu1_1.weight`, ..., channel-first.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is damaged or of another kind; names it.
  """
  path = pathlib.Path(path)
  if path.suffix == ".prototxt":
    raise UserError(
      f"{path}: expected weights, got a description of layers; give the"
      " .caffemodel that goes with it"
    )
  if path.suffix != ".caffemodel":
    return read_state_dict(path)
  return {
    f"{layer}.{part}": blob
    for layer, blobs in read_caffemodel(path).items()
    for part, blob in zip(("weight", "bias"), blobs, strict=False)
  }


def trunk_params(
  weights: Mapping[str, np.ndarray], *, channels: str = "bgr"
) -> tuple[str, dict[str, Any]]:
  """A SphereFace trunk out of published arrays.

  Args:
    weights: From `read_trunk_weights`; others than the trunk's are passed
      over. A convolution without biases gets zeros (Caffe froze the residual
      ones').
    channels: Order of the colours that the weights were trained on. Both
      published ones saw images as OpenCV and MATLAB's Caffe code had them,
      `bgr`.

  Returns:
    The preset, and the params of `sphereface.SphereFace`.

  Raises:
    UserError: The arrays are no preset's; names the first that differs.
  """
  check_choice("channels", channels, CHANNEL_ORDERS)
  preset = _find_preset(weights)
  trunk = PRESETS[preset]
  params: dict[str, Any] = {}
  before = 3
  for place, width in _places(trunk):
    kernel = _take(weights, f"conv{place}.weight", (width, before, 3, 3))
    if place == "1_1" and channels == "bgr":
      kernel = kernel[:, ::-1]
    bias = np.zeros(width, np.float32)
    if f"conv{place}.bias" in weights:
      bias = _take(weights, f"conv{place}.bias", (width,))
    slope = _take(weights, f"relu{place}.weight", (width,))
    params[f"conv{place}"] = {
      "kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)),
      "bias": bias,
    }
    params[f"prelu{place}"] = {"slope": slope}
    before = width
  # Published flat as (c, h, w); ours is (h, w, c).
  flat = before * _MAP[0] * _MAP[1]
  kernel = _take(weights, "fc5.weight", (trunk.feature_dim, flat))
  kernel = kernel.reshape(trunk.feature_dim, before, *_MAP)
  params["fc5"] = {
    "kernel": np.ascontiguousarray(
      kernel.transpose(2, 3, 1, 0).reshape(flat, trunk.feature_dim)
    ),
    "bias": _take(weights, "fc5.bias", (trunk.feature_dim,)),
  }
  return preset, params


def _places(trunk: Trunk) -> list[tuple[str, int]]:
  """`1_1`, `1_2`, ... and the channels there, from the image on."""
  return [
    (f"{stage}_{number}", width)
    for stage, (width, units) in enumerate(
      zip(trunk.widths, trunk.units, strict=True), start=1
    )
    for number in range(1, 2 + 2 * units)
  ]


def _find_preset(weights: Mapping[str, np.ndarray]) -> str:
  found = {
    name.removeprefix("conv").removesuffix(".weight")
    for name in weights
    if name.startswith("conv") and name.endswith(".weight")
  }
  for name, trunk in PRESETS.items():
    if found == {place for place, _ in _places(trunk)}:
      return name
  shown = ", ".join(f"conv{place}" for place in sorted(found)) or "none"
  raise UserError(
    f"expected the convolutions of one of {', '.join(PRESETS)}, got"
    f" {len(found)}: {shown}"
  )


def _take(
  weights: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> np.ndarray:
  if name not in weights:
    raise UserError(f"expected {name} {list(shape)}, got no such array")
  array = np.asarray(weights[name], np.float32)
  got = list(array.shape)
  # Old Caffe files pad every shape to four dimensions.
  while array.ndim > len(shape) and array.shape[0] == 1:
    array = array[0]
  if array.shape == (1,) and len(shape) == 1:
    # One slope that all channels share.
    array = np.full(shape, array[0])
  if array.shape != shape:
    raise UserError(f"expected {name} of shape {list(shape)}, got {got}")
  if not np.isfinite(array).all():
    raise UserError(f"expected finite numbers in {name}")
  return array


def import_sphereface(
  weights: pathlib.Path,
  output: pathlib.Path,
  morphable_model: MorphableModel | None,
  *,
  channels: str = "bgr",
  licence: str = "not given",
  seed: int = 0,
) -> FaceModel:
  """Writes the network.

  Args:
    weights: See `read_trunk_weights`.
    output: The folder to write.
    morphable_model: The 3DMM that the network will be trained with; None
      takes the procedural one in the paper's sizes.
    channels: See `trunk_params`.
    licence: Of the weights; goes into the output beside the 3DMM's.
    seed: Of what is fresh.

  Returns:
    The network's description.

  Raises:
    UserFileNotFoundError: There is no such file of weights.
    UserError: It holds something else, or `output` is a file.
  """
  check_folder(output)
  try:
    preset, trunk = trunk_params(read_trunk_weights(weights), channels=channels)
  except ValueError as error:
    told = str(error)
    raise UserError(
      told if told.startswith(str(weights)) else f"{weights}: {told}"
    ) from error
  if morphable_model is None:
    morphable_model = procedural_face_model()
  model = FaceModel(
    trunk=preset,
    identity_dim=morphable_model.identity_dim,
    residual_dim=morphable_model.expression_dim,
    num_vertices=morphable_model.num_vertices,
  )
  params = init_params(jax.random.key(seed), model, morphable_model)
  params["encoder"] = {**params["encoder"], "trunk": trunk}
  save_network(
    output,
    model,
    params,
    morphable_model.replace(
      licence=f"{morphable_model.licence}; trunk's weights: {licence}",
      source=f"{morphable_model.source}; trunk: {weights.name}",
    ),
    phase=PHASE,
  )
  return model
