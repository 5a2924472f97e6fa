"""The encoder-decoder network (paper, Fig. 2 to 4) and its parameters."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import flatten_vertices, unflatten_vertices
from disentangle3d.network import winograd
from disentangle3d.network.decoders import LinearDecoder
from disentangle3d.network.sphereface import xavier
from disentangle3d.network.trunks import feature_dim, make_trunk
from disentangle3d.types import (
  IDENTITY_DIM,
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  NUM_VERTICES,
  RESIDUAL_DIM,
  Latents,
  Reconstruction,
  UserError,
  check_array,
  check_key,
)


class Encoder(nn.Module):
  """A trunk and two parallel FC layers ending in tanh (Fig. 3, Eq. 4).

  The trunk's params may be those of `winograd.prepare_trunk`.

  Attributes:
    trunk: One of `trunks.TRUNKS`.
    identity_dim: I.
    residual_dim: E.
    dtype: Precision of the trunk; parameters and latents are float32.
    identity_from_map: Whether the identity code is made of the trunk's last
      map as well as of its feature.
    residual_from_map: Whether the residual code is.
  """

  trunk: str
  identity_dim: int
  residual_dim: int
  dtype: str = "float32"
  identity_from_map: bool = False
  residual_from_map: bool = False

  @nn.compact
  def __call__(
    self, images: Float[Array, "B 112 96 3"] | Float[Array, "B feature"]
  ) -> Latents:
    """Latents of mapped crops, or of a trunk's features of them."""
    with_map = self.identity_from_map or self.residual_from_map
    stored = self.variables.get("params", {}).get("trunk", {})
    if images.ndim == 2:
      expected = feature_dim(self.trunk, with_map=with_map)
      check_array("features", images, f"B {expected}")
      seen = images
    elif winograd.is_prepared(stored):
      seen = winograd.fast_trunk(
        stored, images, preset=self.trunk, with_map=with_map
      )
    else:
      seen = make_trunk(
        self.trunk, self.dtype, with_map=with_map, name="trunk"
      )(images)
    # The two small layers stay in float32: in bfloat16 codes would move in
    # steps of 0.004, near a tenth of the spread between people.
    seen = seen.astype(jnp.float32)
    feature = seen[:, : feature_dim(self.trunk)]
    identity = nn.Dense(
      self.identity_dim, kernel_init=xavier, name="identity_fc"
    )(seen if self.identity_from_map else feature)
    residual = nn.Dense(
      self.residual_dim, kernel_init=xavier, name="residual_fc"
    )(seen if self.residual_from_map else feature)
    return Latents(identity=jnp.tanh(identity), residual=jnp.tanh(residual))


class FaceModel(nn.Module):
  """Crop to latents to 3D face. Hashable; the fields say all there is.

  Attributes:
    trunk: One of `trunks.TRUNKS`.
    identity_dim: I, size of the identity code.
    residual_dim: E, size of the residual code.
    num_vertices: V.
    dtype: Precision of the computation; parameters, latents and shapes are
      float32.
    identity_from_map: Whether the identity code is made of the trunk's last
      map as well as of its feature; False: the paper.
    residual_from_map: Whether the residual code is.
    template: What the crops that it sees are aligned by, one of
      `crop_templates.TEMPLATES`; `sphereface`: the paper.
  """

  trunk: str = "sphere20"
  identity_dim: int = IDENTITY_DIM
  residual_dim: int = RESIDUAL_DIM
  num_vertices: int = NUM_VERTICES
  dtype: str = "float32"
  identity_from_map: bool = False
  residual_from_map: bool = False
  template: str = SPHEREFACE

  @property
  def with_map(self) -> bool:
    """Whether the encoder needs the trunk's last map."""
    return self.identity_from_map or self.residual_from_map

  def setup(self) -> None:
    """Names the top level of the parameters, `mean_shape` aside."""
    self.encoder = Encoder(
      self.trunk,
      self.identity_dim,
      self.residual_dim,
      self.dtype,
      self.identity_from_map,
      self.residual_from_map,
    )
    self.identity_decoder = LinearDecoder(self.num_vertices, self.dtype)
    self.residual_decoder = LinearDecoder(self.num_vertices, self.dtype)

  def __call__(self, images: Float[Array, "B 112 96 3"]) -> Reconstruction:
    """`decode(encode(images))`."""
    return self.decode(self.encode(images))

  def encode(
    self, images: Float[Array, "B 112 96 3"] | Float[Array, "B feature"]
  ) -> Latents:
    """Latents of crops; needs the top-level entry `encoder` only.

    Args:
      images: Crops, `[B, 112, 96, 3]`, mapped by `sphereface.scale_images`; or
        what `trunks.trunk_features` makes of them, `with_map` if the model
        needs it.

    Returns:
      Latents, `[B, I]` and `[B, E]`, each entry in [-1, 1].

    Raises:
      ValueError: `images` has another shape.
      TypeError: `images` is not floating.
    """
    return self.encoder(images)

  @nn.compact
  def decode(self, latents: Latents) -> Reconstruction:
    """Shapes of latents (Eq. 2); needs every entry but `encoder`.

    Args:
      latents: Codes with any batch dimensions, `[..., I]` and `[..., E]`.

    Returns:
      Shapes `[..., V, 3]`, mm.

    Raises:
      ValueError: A last dimension differs from the model's, or the batch
        dimensions differ.
    """
    check_latents(latents, self.identity_dim, self.residual_dim)
    mean = self.param(
      "mean_shape",
      nn.initializers.zeros_init(),
      (self.num_vertices, 3),
      jnp.float32,
    )
    identity = self.identity_decoder(latents.identity)
    residual = self.residual_decoder(latents.residual)
    flat = flatten_vertices(mean)
    flat = flat.reshape((1,) * (identity.ndim - 1) + flat.shape) + identity
    return Reconstruction(
      shape=unflatten_vertices(flat + residual),
      identity_shape=unflatten_vertices(flat),
      latents=latents,
    )


def check_latents(
  latents: Latents, identity_dim: int, residual_dim: int
) -> None:
  """Checks the static shapes and dtypes of latents.

  Raises:
    UserError: A size differs, or the batch dimensions differ.
    TypeError: A code is not floating.
  """
  sizes = {"I": identity_dim, "E": residual_dim}
  check_array("latents.identity", latents.identity, "... I", sizes=sizes)
  check_array("latents.residual", latents.residual, "... E", sizes=sizes)
  if latents.identity.shape[:-1] != latents.residual.shape[:-1]:
    raise UserError(
      "latents.residual: expected batch dimensions"
      f" {list(latents.identity.shape[:-1])} as latents.identity has, got"
      f" {list(latents.residual.shape[:-1])}"
    )


def init_params(
  key: Array, model: FaceModel, morphable_model: MorphableModel | None = None
) -> dict[str, Any]:
  """Fresh parameters; the decoders start from noise, not from the basis.

  Args:
    key: From `jax.random.key`; consumed.
    model: Trunk and sizes.
    morphable_model: Where the mean shape comes from; its sizes must be the
      model's. None takes `procedural_face_model` of the model's sizes.

  Returns:
    `encoder`, `identity_decoder` (`kernel` `[I, 3V]`), `residual_decoder`
    (`kernel` `[E, 3V]`) and `mean_shape` `[V, 3]`, mm, which no phase trains.

  Raises:
    TypeError: `key` is not a typed key.
    ValueError: The 3DMM's sizes differ from the model's, or the model names
      no preset.
  """
  check_key("key", key)
  if morphable_model is None:
    mean_shape = _procedural_mean_shape(model.num_vertices)
  else:
    _check_sizes(model, morphable_model)
    mean_shape = jnp.asarray(morphable_model.mean_shape, jnp.float32)
  images = jax.ShapeDtypeStruct((1, IMAGE_HEIGHT, IMAGE_WIDTH, 3), jnp.float32)
  params = dict(model.lazy_init(key, images)["params"])
  return params | {"mean_shape": mean_shape}


def widen_to_map(
  params: dict[str, Any], start: FaceModel, model: FaceModel
) -> dict[str, Any]:
  """A network's params for one that makes codes of the map as well.

  Args:
    params: Of `start`.
    start: A network.
    model: The same, but that more of its codes see the map.

  Returns:
    Params of `model`, which computes what `start` does until it is trained.
  """
  rows = feature_dim(model.trunk, with_map=True) - feature_dim(model.trunk)
  encoder = dict(params["encoder"])
  for name, before, after in (
    ("identity_fc", start.identity_from_map, model.identity_from_map),
    ("residual_fc", start.residual_from_map, model.residual_from_map),
  ):
    if after and not before:
      kernel = encoder[name]["kernel"]
      nothing = jnp.zeros((rows, kernel.shape[1]), kernel.dtype)
      encoder[name] = {
        **encoder[name],
        "kernel": jnp.concatenate([kernel, nothing]),
      }
  return {**params, "encoder": encoder}


def _check_sizes(model: FaceModel, morphable_model: MorphableModel) -> None:
  for name, expected, got in (
    ("num_vertices", model.num_vertices, morphable_model.num_vertices),
    ("identity_dim", model.identity_dim, morphable_model.identity_dim),
    ("expression_dim", model.residual_dim, morphable_model.expression_dim),
  ):
    if expected != got:
      raise UserError(
        f"morphable_model.{name}: expected {expected} as the model has, got"
        f" {got}"
      )


def _procedural_mean_shape(num_vertices: int) -> Float[Array, "V 3"]:

  # The mean shape is the same whatever the number of modes.
  model = procedural_face_model(
    num_vertices=num_vertices, identity_dim=1, expression_dim=1
  )
  return jnp.asarray(model.mean_shape, jnp.float32)


def count_params(params: Any) -> int:
  """The number of parameters in a tree of arrays or of their shapes."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
