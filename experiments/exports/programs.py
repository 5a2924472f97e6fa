"""A network as StableHLO, safetensors and ONNX."""

from collections.abc import Callable, Mapping, Sequence
import json
import pathlib
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
from jaxtyping import Array, Float, UInt8
import numpy as np

from data_prep.stages.extras import require
from disentangle3d.inference import reconstruct, unit_length
from disentangle3d.network.depthwise import grouped_convolution
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.mobileface import Depthwise
from disentangle3d.network.prelu import PReLU, plain_prelu
from disentangle3d.output_files import new_folder
from disentangle3d.training.export import Network, abstract_params
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

_STABLEHLO, _PARAMS = "reconstruct.stablehlo", "params.safetensors"
_ONNX, _TOPOLOGY = "reconstruct.onnx", "topology.safetensors"

PLATFORMS = ("cpu", "cuda", "tpu")


_INPUT = "images"


# Name and meaning of what comes out.
OUTPUTS = {
  "embedding": "[B, I], unit length: compare two faces by the dot product",
  "identity": "[B, I], identity code in [-1, 1]",
  "identity_shape": "[B, V, 3], mm: the person, without the expression",
  "residual": "[B, E], residual code in [-1, 1]",
  "shape": "[B, V, 3], mm: the face in the photo",
}


_ABOUT = "about.json"


def reconstruct_arrays(
  params: Mapping[str, Array],
  images: UInt8[Array, "B 112 96 3"],
  *,
  model: FaceModel,
) -> dict[str, Float[Array, "B *size"]]:
  """`reconstruct` and `face_embedding` on plain dicts of arrays.

  Args:
    params: Flat, `"encoder/trunk/conv1_1/kernel"` and so on.
    images: Crops, `[B, 112, 96, 3]`, RGB.
    model: What `params` belongs to.

  Returns:
    See `OUTPUTS`.
  """
  nested = flax.traverse_util.unflatten_dict(dict(params), sep="/")
  faces = reconstruct(nested, images, model=model)
  return {
    "embedding": unit_length(faces.latents.identity),
    "identity": faces.latents.identity,
    "identity_shape": faces.identity_shape,
    "residual": faces.latents.residual,
    "shape": faces.shape,
  }


def stablehlo_program(
  model: FaceModel, *, platforms: Sequence[str] = PLATFORMS
) -> bytes:
  """The program of `reconstruct_arrays` for any batch size.

  Args:
    model: The network.
    platforms: What it is to run on.

  Returns:
    What `jax.export.deserialize` takes.

  Raises:
    UserError: There is no such platform.
  """
  unknown = sorted(set(platforms) - set(PLATFORMS))
  if unknown or not platforms:
    raise UserError(
      f"platforms: expected some of {', '.join(PLATFORMS)}, got"
      f" {', '.join(unknown) or 'none'}"
    )

  def run(params: Mapping[str, Array], images: Array) -> dict[str, Array]:
    return reconstruct_arrays(params, images, model=model)

  exported = jax.export.export(jax.jit(run), platforms=tuple(platforms))(
    flax.traverse_util.flatten_dict(abstract_params(model), sep="/"),
    _any_batch(),
  )
  return bytes(exported.serialize())


def _onnx_model(network: Network) -> bytes:
  """The same program with its params as an ONNX model.

  Args:
    network: What to convert.

  Returns:
    A serialised ModelProto: input `images`, outputs as `OUTPUTS` names them.

  Raises:
    UserModuleNotFoundError: The extra `onnx` is not installed.
  """
  require("onnx", "for ONNX", "jax2onnx")
  import jax2onnx

  params = flax.traverse_util.flatten_dict(network.params, sep="/")
  params = {name: jax.numpy.asarray(leaf) for name, leaf in params.items()}

  def run(images: Array) -> tuple[Array, ...]:
    with nn.intercept_methods(_plainly):
      made = reconstruct_arrays(params, images, model=network.model)
    return tuple(made[name] for name in OUTPUTS)

  proto = jax2onnx.to_onnx(
    run,
    inputs=[_any_batch()],
    model_name="reconstruct",
    input_names=[_INPUT],
    output_names=list(OUTPUTS),
  )
  return proto.SerializeToString()


def _plainly(
  usual: Callable[..., Any],
  arguments: tuple[Any, ...],
  keywords: dict[str, Any],
  context: nn.module.InterceptorContext,
) -> Any:
  """ONNX has no program a platform, and needs no gradients of ours."""
  module = context.module
  if isinstance(module, Depthwise) and context.method_name == "convolve":
    x, kernel = arguments
    return grouped_convolution(x, kernel, module.stride)
  if isinstance(module, PReLU) and context.method_name == "activate":
    return plain_prelu(*arguments)
  return usual(*arguments, **keywords)


def _any_batch() -> jax.ShapeDtypeStruct:
  (batch,) = jax.export.symbolic_shape("batch")
  return jax.ShapeDtypeStruct(
    (batch, IMAGE_HEIGHT, IMAGE_WIDTH, 3), jax.numpy.uint8
  )


def export_network(
  network: Network,
  output: pathlib.Path,
  *,
  platforms: Sequence[str] = PLATFORMS,
  with_onnx: bool = False,
) -> list[str]:
  """Writes the folder.

  Args:
    network: What to write.
    output: The folder; new or empty.
    platforms: Of the StableHLO program.
    with_onnx: Writes the ONNX model too.

  Returns:
    The files' names.

  Raises:
    UserError: `output` is taken, or there is no such platform.
    UserModuleNotFoundError: The extra `export`, or `onnx`, is not installed.
  """
  require("export", "to export", "flatbuffers", "safetensors")
  from safetensors.numpy import save

  with new_folder(output) as folder:
    about = _about(network, platforms)
    texts = {name: json.dumps(value) for name, value in about.items()}
    params = flax.traverse_util.flatten_dict(network.params, sep="/")
    topology = {
      "triangles": network.triangles,
      "landmark_vertices": network.landmark_vertices,
    }
    contents = {
      _STABLEHLO: stablehlo_program(network.model, platforms=platforms),
      _PARAMS: save(_contiguous(params), metadata=texts),
      _TOPOLOGY: save(_contiguous(topology), metadata=texts),
      _ABOUT: (json.dumps(about, indent=2) + "\n").encode(),
    }
    if with_onnx:
      contents[_ONNX] = _onnx_model(network)
    for name, content in contents.items():
      (folder / name).write_bytes(content)
  return list(contents)


def _contiguous(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
  # safetensors writes the memory as it lies.
  return {name: np.ascontiguousarray(leaf) for name, leaf in arrays.items()}


def _about(network: Network, platforms: Sequence[str]) -> dict[str, Any]:
  model = network.model
  return {
    "model": {
      "trunk": model.trunk,
      "identity_dim": model.identity_dim,
      "residual_dim": model.residual_dim,
      "num_vertices": model.num_vertices,
      "identity_from_map": model.identity_from_map,
      "residual_from_map": model.residual_from_map,
      "template": model.template,
    },
    "input": {
      _INPUT: (
        "[B, 112, 96, 3] uint8, RGB, crops aligned by the template"
        f" {model.template}"
      )
    },
    "outputs": OUTPUTS,
    "platforms": list(platforms),
    "morphable_model": network.provenance,
    "jax": jax.__version__,
  }
