"""A published recognition network's file to a network of this project."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import os
import pathlib
from typing import Any

import jax
import numpy as np

from data_prep.files.caffe_files import read_caffemodel
from data_prep.files.torch_files import read_state_dict
from data_prep.trunks import mobilefacenet, sphereface
from data_prep.trunks.layers import CHANNEL_ORDERS, Weights
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.output_files import check_folder
from disentangle3d.training.export import save_network
from disentangle3d.types import UserError, check_choice

PHASE = "import_trunk"

# What a last map of 7 x 7, of a crop of 112 x 112, times its usual channels
# leaves for an FC layer to see: insightface's ResNets.
_ARCFACE_INPUTS = 512 * 7 * 7


@dataclasses.dataclass(frozen=True)
class _Published:
  """A family of networks.

  Attributes:
    marks: Arrays that no other family has, one for each way of naming, and
      the order of colours that files with such names were trained on.
    params: The trunk's name and params of them.
    first: What our params call the layer that sees the crop.
  """

  marks: Mapping[str, str]
  params: Callable[[Weights], tuple[str, dict[str, Any]]]
  first: str


_FAMILIES = {
  "SphereFace": _Published(
    sphereface.MARKS, sphereface.sphereface_params, "conv1_1"
  ),
  "MobileFaceNet": _Published(
    mobilefacenet.MARKS, mobilefacenet.mobilefacenet_params, "conv1"
  ),
}


def read_trunk_weights(
  path: str | os.PathLike[str], *, entry: str | None = None
) -> dict[str, np.ndarray]:
  """The arrays of a published file.

  Args:
    path: A `.caffemodel`, or anything that `torch.save` wrote.
    entry: Which part of a checkpoint; see `find_state_dict`.

  Returns:
    By name, channel-first: `conv1_1.weight`, `conv1_1.bias`, ...

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
    return read_state_dict(path, entry=entry)
  return {
    f"{layer}.{part}": blob
    for layer, blobs in read_caffemodel(path).items()
    for part, blob in _named_blobs(blobs)
  }


def _named_blobs(
  blobs: Sequence[np.ndarray],
) -> Iterator[tuple[str, np.ndarray]]:
  """A Caffe layer's arrays by PyTorch's names."""
  if len(blobs) != 3 or blobs[2].size != 1:
    yield from zip(("weight", "bias"), blobs, strict=False)
    return
  # A BatchNorm keeps sums, and what to divide them by.
  mean, variance, count = blobs
  factor = 1 / count.item() if count.item() else 0.0
  yield "running_mean", mean * np.float32(factor)
  yield "running_var", variance * np.float32(factor)


def trunk_params(
  weights: Weights, *, channels: str | None = None
) -> tuple[str, dict[str, Any]]:
  """A trunk out of published arrays.

  Args:
    weights: From `read_trunk_weights`; others than the trunk's are passed
      over. All its names may have a holder's in front (`backbone.`).
    channels: Order of the colours that the weights were trained on; None
      takes that of the published files of such names.

  Returns:
    The trunk's name, one of `trunks.TRUNKS`, and its params.

  Raises:
    UserError: The arrays are no known trunk's; names the first that differs.
  """
  family, usual, weights = _find_family(weights)
  channels = channels or usual
  check_choice("channels", channels, CHANNEL_ORDERS)
  trunk, params = family.params(weights)
  if channels == "bgr":
    first = params[family.first]
    kernel = np.ascontiguousarray(first["kernel"][:, :, ::-1])
    params[family.first] = {**first, "kernel": kernel}
  return trunk, params


def _find_family(weights: Weights) -> tuple[_Published, str, Weights]:
  """The family, its colours, and the arrays without what is before names."""
  for family in _FAMILIES.values():
    for mark, name in itertools.product(family.marks, weights):
      if f".{name}".endswith(f".{mark}"):
        holder = name.removesuffix(mark)
        return (
          family,
          family.marks[mark],
          {
            one.removeprefix(holder): array
            for one, array in weights.items()
            if one.startswith(holder)
          },
        )
  for name, array in weights.items():
    if array.ndim == 2 and array.shape[1] == _ARCFACE_INPUTS:
      raise UserError(
        "expected a trunk for crops of 112 x 96 pixels, got one for 112 x 112"
        f" ({name} sees a map of 7 x 7); weights for SphereFace's crop are"
        " needed"
      )
  shown = ", ".join(list(weights)[:4]) or "none"
  raise UserError(
    f"expected the layers of one of {', '.join(_FAMILIES)}, got {len(weights)}"
    f" arrays: {shown}, ..."
  )


def import_trunk(
  weights: pathlib.Path,
  output: pathlib.Path,
  morphable_model: MorphableModel | None,
  *,
  entry: str | None = None,
  channels: str | None = None,
  licence: str = "not given",
  seed: int = 0,
) -> FaceModel:
  """Writes a network with a published trunk.

  Args:
    weights: See `read_trunk_weights`.
    output: The folder to write.
    morphable_model: The 3DMM that the network will be trained with; None
      takes the procedural one in the paper's sizes.
    entry: See `read_trunk_weights`.
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
    preset, trunk = trunk_params(
      read_trunk_weights(weights, entry=entry), channels=channels
    )
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
