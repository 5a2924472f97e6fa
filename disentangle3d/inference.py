"""Using a network: images to codes, 3D faces and recognition features.

Every function is pure and neither jits nor places anything: the caller may
jit, vmap, pmap and differentiate it. `params` comes from `init_params`,
`load_params` or a training state. A single image `[112, 96, 3]` is accepted
where a batch is, and comes back without the batch axis.
"""

import functools
import os
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from disentangle3d.network import winograd
from disentangle3d.network.face_model import FaceModel, check_latents
from disentangle3d.network.mobileface import FEATURE_DIMS
from disentangle3d.network.sphereface import scale_images
from disentangle3d.training.export import load_network
from disentangle3d.types import Latents, Reconstruction, check_array

Images = UInt8[Array, "*B 112 96 3"] | Float[Array, "*B 112 96 3"]

# The paper's network; Linen modules are values, so one may serve all calls.
_PAPER_MODEL = FaceModel()

_DECODERS = ("identity_decoder", "residual_decoder")

# Below this length a code counts as zero; float32 squares it without
# underflow.
_SHORTEST = 1e-12


def load_params(
  path: str | os.PathLike[str] | None = None,
) -> tuple[FaceModel, dict[str, Any]]:
  """A trained network's model and params; `load_network` gives all of it.

  Args:
    path: The workdir of a finished training, or the folder it exported;
      without it, the network that ships.

  Returns:
    The model and its params, NumPy arrays.

  Raises:
    UserFileNotFoundError: There is no export there.
    UserError: A file is damaged or does not fit; names file and problem.
  """
  network = load_network(path)
  return network.model, network.params


def encode(
  params: dict[str, Any], images: Images, *, model: FaceModel = _PAPER_MODEL
) -> Latents:
  """Codes of face crops (Eq. 4).

  Args:
    params: Parameters of `model`; only `encoder` is used.
    images: Crops, `[B, 112, 96, 3]` or one `[112, 96, 3]`, RGB; uint8 is
      mapped to (x - 127.5) / 128, float is taken as mapped.
    model: What `params` belongs to.

  Returns:
    Latents, `[B, I]` and `[B, E]`, each entry in [-1, 1].

  Raises:
    ValueError: `images` has another shape, or `params` is not `model`'s.
    TypeError: `images` is neither uint8 nor floating.
  """
  scaled = scale_images(images)
  if scaled.ndim not in (3, 4):
    raise ValueError(
      "images: expected shape [B, 112, 96, 3] or [112, 96, 3], got"
      f" {list(scaled.shape)}"
    )
  if scaled.ndim == 4:
    return _apply(params, model, scaled, "encode")
  latents = _apply(params, model, scaled[None], "encode")
  return jax.tree.map(lambda code: code[0], latents)


def prepare_params(
  params: dict[str, Any],
  *,
  model: FaceModel = _PAPER_MODEL,
  backend: str | None = None,
) -> dict[str, Any]:
  """Params that make `encode` and all above it faster on a CPU.

  Call it once, outside of jit, and give the result where params go; compile
  with `network.compilation.inference_compiler_options()`. Training and export
  want the plain params.

  The trunk's kernels are transformed for Winograd's convolutions: results
  differ by rounding only (1e-4 at most in a code).

  Args:
    params: Parameters of `model`; left as they are.
    model: What `params` belongs to.
    backend: What it will run on; None is JAX's default.

  Returns:
    Other params; `params` itself on other backends than CPU, in another
    precision than float32, and of MobileFaceNet's trunks, which suit
    themselves to the platform.

  Raises:
    ValueError: The model names no preset.
  """
  if (
    (backend or jax.default_backend()) != "cpu"
    or model.dtype != "float32"
    or model.trunk in FEATURE_DIMS
  ):
    return params
  encoder = params["encoder"]
  trunk = winograd.prepare_trunk(encoder["trunk"], model.trunk)
  return {**params, "encoder": {**encoder, "trunk": trunk}}


def cast_params(
  params: dict[str, Any], *, model: FaceModel = _PAPER_MODEL
) -> dict[str, Any]:
  """Params stored in the precision that the model computes in.

  In bfloat16 they take half the memory, and no call converts them; the same
  numbers are computed. The two small layers that make the codes and the mean
  shape stay in float32, as they are computed. Training and export want the
  plain params.

  Args:
    params: Parameters of `model`; left as they are.
    model: What `params` belongs to.

  Returns:
    Other params; `params` itself of a model that computes in float32.
  """
  if model.dtype == "float32":
    return params
  cast = functools.partial(
    jax.tree.map, lambda leaf: jnp.asarray(leaf, model.dtype)
  )
  encoder = params["encoder"]
  decoders = {name: cast(params[name]) for name in _DECODERS}
  encoder = {**encoder, "trunk": cast(encoder["trunk"])}
  return {**params, **decoders, "encoder": encoder}


def decode(
  params: dict[str, Any], latents: Latents, *, model: FaceModel = _PAPER_MODEL
) -> Reconstruction:
  """3D faces of codes (Eq. 2).

  Args:
    params: Parameters of `model`; all but `encoder` are used.
    latents: Codes with any batch dimensions, `[..., I]` and `[..., E]`.
    model: What `params` belongs to.

  Returns:
    Shapes, `[..., V, 3]`, mm, in the 3DMM's frame and vertex order.

  Raises:
    ValueError: The shapes of `latents` differ from the model's, or `params`
      is not `model`'s.
    TypeError: A code is not floating.
  """
  check_latents(latents, model.identity_dim, model.residual_dim)
  return _apply(params, model, latents, "decode")


def reconstruct(
  params: dict[str, Any], images: Images, *, model: FaceModel = _PAPER_MODEL
) -> Reconstruction:
  """3D faces of face crops: `decode(encode(images))`.

  The network predicts no pose. To draw a face over its photo, give the
  reconstruction's 68 landmarks and the photo's to `estimate_camera`.

  Args:
    params: Parameters of `model`.
    images: As in `encode`.
    model: What `params` belongs to.

  Returns:
    Shapes, `[B, V, 3]`, mm, and the codes behind them.

  Raises:
    ValueError: `images` has another shape, or `params` is not `model`'s.
    TypeError: `images` is neither uint8 nor floating.
  """
  return decode(params, encode(params, images, model=model), model=model)


def face_embedding(
  params: dict[str, Any], images: Images, *, model: FaceModel = _PAPER_MODEL
) -> Float[Array, "*B I"]:
  """The recognition feature: the identity code at unit length.

  Two faces are compared by the dot product of their embeddings.

  Args:
    params: Parameters of `model`; only `encoder` is used.
    images: As in `encode`.
    model: What `params` belongs to.

  Returns:
    Embeddings, `[B, I]`, unit length; zero where the code is zero.

  Raises:
    ValueError: `images` has another shape, or `params` is not `model`'s.
    TypeError: `images` is neither uint8 nor floating.
  """
  return unit_length(encode(params, images, model=model).identity)


def unit_length(codes: Float[Array, "*B I"]) -> Float[Array, "*B I"]:
  """Codes at unit length; a zero code stays zero, with finite gradients.

  Args:
    codes: `[..., I]`.

  Returns:
    Same shape.

  Raises:
    TypeError: `codes` is not a floating array.
  """
  check_array("codes", codes, "... I")
  square = jnp.sum(jnp.square(codes), -1, keepdims=True)
  return codes / jnp.sqrt(jnp.maximum(square, _SHORTEST**2))


def _apply(
  params: dict[str, Any], model: FaceModel, argument: Any, method: str
) -> Any:
  try:
    return model.apply({"params": params}, argument, method=method)
  except flax.errors.FlaxError as error:
    raise ValueError(
      f"params: expected the parameters of {_describe(model)}, got others"
      f" ({error})"
    ) from error


def _describe(model: FaceModel) -> str:
  return (
    f"FaceModel(trunk={model.trunk!r}, identity_dim={model.identity_dim},"
    f" residual_dim={model.residual_dim}, num_vertices={model.num_vertices},"
    f" identity_from_map={model.identity_from_map},"
    f" residual_from_map={model.residual_from_map})"
  )
