"""Augmentation on the device: new shapes, flips, shifts, colours, occlusion.

Every function is pure and takes one example; crops are `[112, 96, 3]` uint8
before and after. What is drawn comes from the example's key alone, so neither
devices nor the order of work matter.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from disentangle3d.geometry import Camera
from disentangle3d.training.batches import TrainBatch, example_keys
from disentangle3d.training.reshaping import changed_coefficients, reshaped_crop
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

# Rec. 601, of gamma-coded values as crops are.
_LUMA = (0.299, 0.587, 0.114)
_MIDDLE = 127.5
# Longer to shorter side of what hides a part of the face, at most.
_LARGEST_ASPECT = 2.0


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """What is done to examples at random; the defaults do nothing.

  Attributes:
    new_identity: Largest share of the variance of the identity coefficients
      that is drawn anew, the crop changed with it: see `reshaping`. Somebody
      else's face then: not where people are told apart.
    new_expression: Same of the expression coefficients.
    flip: Probability that a face becomes its mirror image, targets too.
    translation_px: Largest shift along x and along y, whole pixels.
    brightness: Largest change, as a share of 255, up or down.
    contrast: Largest change of the factor around the middle, under 1.
    saturation: Largest change of the factor around grey, under 1.
    occlusion: Probability that a rectangle of noise hides a part.
    occlusion_area: Its largest share of the crop, over 0, under 1; the share
      is uniform from a tenth of it.
  """

  new_identity: float = 0.0
  new_expression: float = 0.0
  flip: float = 0.0
  translation_px: int = 0
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  occlusion: float = 0.0
  occlusion_area: float = 0.15

  def __post_init__(self):
    for name in (
      "new_identity",
      "new_expression",
      "flip",
      "brightness",
      "occlusion",
    ):
      if not 0 <= getattr(self, name) <= 1:
        raise UserError(
          f"augmentation.{name}: expected 0 to 1, got {getattr(self, name)}"
        )
    for name in ("contrast", "saturation"):
      if not 0 <= getattr(self, name) < 1:
        raise UserError(
          f"augmentation.{name}: expected 0 or more, under 1, got"
          f" {getattr(self, name)}"
        )
    if not 0 <= self.translation_px < IMAGE_WIDTH:
      raise UserError(
        f"augmentation.translation_px: expected 0 to {IMAGE_WIDTH - 1}, got"
        f" {self.translation_px}"
      )
    if not 0 < self.occlusion_area < 1:
      raise UserError(
        "augmentation.occlusion_area: expected over 0, under 1, got"
        f" {self.occlusion_area}"
      )

  @property
  def only_flips(self) -> bool:
    """Whether no crop is changed but to its mirror image."""
    return dataclasses.replace(self, flip=0.0) == Augmentation(
      occlusion_area=self.occlusion_area
    )

  @property
  def changes_shapes(self) -> bool:
    """Whether faces become others."""
    return bool(self.new_identity or self.new_expression)

  @property
  def changes_colours(self) -> bool:
    """Whether anything photometric is done."""
    return bool(self.brightness or self.contrast or self.saturation)


def augment_batch(
  key: Array, setting: Augmentation, batch: TrainBatch
) -> TrainBatch:
  """Augments the examples of a batch, each by its own key.

  Args:
    key: The key of the step; the examples' come from it and their positions.
    setting: What to do.
    batch: With images, or with features if faces are mirrored at most; where
      they are also with coefficients, and a basis that says how; where shapes
      are changed with cameras too.

  Returns:
    `batch`, changed; unchanged, to the bit, where the setting does nothing.

  Raises:
    ValueError: Faces are to be mirrored or changed, and the basis does not say
      how, or there are no cameras.
  """
  if setting == Augmentation():
    return batch
  if batch.feature is not None and not setting.only_flips:
    raise UserError(
      "augmentation: expected flips only where features stand for crops"
    )
  each = example_keys(key, batch.position)
  if setting.changes_shapes:
    batch = _reshaped(setting, each, batch)
  keys = jax.vmap(lambda one: jax.random.split(one, 4))(each)
  if setting.flip:
    batch = _maybe_mirrored(setting.flip, keys[:, 0], batch)
  image = batch.image
  if setting.translation_px:
    image = jax.vmap(
      lambda k, x: translate(x, *_shift(k, setting.translation_px))
    )(keys[:, 1], image)
  if setting.changes_colours:
    image = jax.vmap(lambda k, x: _recoloured(setting, k, x))(keys[:, 2], image)
  if setting.occlusion:
    image = jax.vmap(lambda k, x: _maybe_occluded(setting, k, x))(
      keys[:, 3], image
    )
  return batch.replace(image=image)


def flip(image: UInt8[Array, "*B H W 3"]) -> UInt8[Array, "*B H W 3"]:
  """The mirror image: left is right."""
  return image[..., ::-1, :]


def translate(
  image: UInt8[Array, "H W 3"],
  right: int | Int[Array, ""],
  down: int | Int[Array, ""],
) -> UInt8[Array, "H W 3"]:
  """Shifts by whole pixels; what comes in repeats the border."""
  height, width, _ = image.shape
  rows = jnp.clip(jnp.arange(height) - down, 0, height - 1)
  columns = jnp.clip(jnp.arange(width) - right, 0, width - 1)
  return image[rows][:, columns]


def adjust_colours(
  image: UInt8[Array, "H W 3"],
  *,
  brightness: float | Float[Array, ""] = 0.0,
  contrast: float | Float[Array, ""] = 1.0,
  saturation: float | Float[Array, ""] = 1.0,
) -> UInt8[Array, "H W 3"]:
  """Photometric change, rounded and clipped to 0 to 255.

  Args:
    image: The crop.
    brightness: Added to all values, as a share of 255.
    contrast: Factor around 127.5.
    saturation: Factor of each value's distance to its pixel's grey.

  Returns:
    The changed crop.
  """
  values = image.astype(jnp.float32)
  grey = values @ jnp.asarray(_LUMA, jnp.float32)
  values = grey[..., None] + saturation * (values - grey[..., None])
  values = _MIDDLE + contrast * (values - _MIDDLE) + 255 * brightness
  return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)


def occlude(
  image: UInt8[Array, "H W 3"],
  hidden: Bool[Array, "H W"],
  noise: UInt8[Array, "H W 3"],
) -> UInt8[Array, "H W 3"]:
  """Puts noise where the crop is hidden."""
  return jnp.where(hidden[..., None], noise, image)


def random_rectangle(
  key: Array, *, smallest_area: float, largest_area: float
) -> Bool[Array, "H W"]:
  """A rectangle that lies in the crop as a whole.

  Args:
    key: The key is consumed.
    smallest_area: Of the crop's area, before rounding to whole pixels.
    largest_area: Same.

  Returns:
    Where it is, `[112, 96]`. Neither side is longer than the crop's, which
    may make a rectangle of a large area smaller.
  """
  area, aspect, top, left = jax.random.uniform(key, (4,), jnp.float32)
  pixels = IMAGE_HEIGHT * IMAGE_WIDTH
  pixels *= smallest_area + (largest_area - smallest_area) * area
  ratio = _LARGEST_ASPECT ** (2 * aspect - 1)
  height = jnp.clip(jnp.round(jnp.sqrt(pixels * ratio)), 1, IMAGE_HEIGHT)
  width = jnp.clip(jnp.round(pixels / height), 1, IMAGE_WIDTH)
  first_row = jnp.floor(top * (IMAGE_HEIGHT - height + 1))
  first_column = jnp.floor(left * (IMAGE_WIDTH - width + 1))
  rows, columns = jnp.arange(IMAGE_HEIGHT), jnp.arange(IMAGE_WIDTH)
  in_rows = (rows >= first_row) & (rows < first_row + height)
  in_columns = (columns >= first_column) & (columns < first_column + width)
  return in_rows[:, None] & in_columns[None]


def _reshaped(
  setting: Augmentation, keys: Array, batch: TrainBatch
) -> TrainBatch:
  if batch.basis is None or batch.basis.control is None or batch.camera is None:
    raise UserError(
      "augmentation.new_identity, new_expression: expected examples with"
      " cameras and a basis with control points, got some without; see"
      " target_basis"
    )
  control = batch.basis.control

  def change(
    key: Array, image: Array, camera: Camera, alpha: Array, beta: Array
  ) -> tuple[Array, Array, Array]:
    # The other changes take the first four.
    keys = jax.random.split(jax.random.fold_in(key, 4))
    new_alpha = changed_coefficients(keys[0], alpha, setting.new_identity)
    new_beta = changed_coefficients(keys[1], beta, setting.new_expression)
    crop = reshaped_crop(
      control, image, camera, (alpha, beta), (new_alpha, new_beta)
    )
    return crop, new_alpha, new_beta

  image, alpha, beta = jax.vmap(change)(
    keys,
    batch.image,
    batch.camera,
    batch.identity_coefficients,
    batch.expression_coefficients,
  )
  return batch.replace(
    image=image, identity_coefficients=alpha, expression_coefficients=beta
  )


def _maybe_mirrored(
  probability: float, keys: Array, batch: TrainBatch
) -> TrainBatch:
  if batch.basis is None or batch.basis.mirroring is None:
    raise UserError(
      "augmentation.flip: expected a basis that says how coefficients are"
      " mirrored, got one without; see target_basis"
    )
  flipped = jax.vmap(
    lambda key: jax.random.bernoulli(key, jnp.float32(probability))
  )(keys)
  identity, expression = batch.basis.mirroring(
    batch.identity_coefficients, batch.expression_coefficients
  )

  def where(mirrored: Array, plain: Array) -> Array:
    chosen = flipped.reshape(-1, *[1] * (plain.ndim - 1))
    return jnp.where(chosen, mirrored, plain)

  seen = (
    {"image": where(flip(batch.image), batch.image)}
    if batch.feature is None
    else {"feature": where(batch.mirrored_feature, batch.feature)}
  )
  return batch.replace(
    **seen,
    identity_coefficients=where(identity, batch.identity_coefficients),
    expression_coefficients=where(expression, batch.expression_coefficients),
  )


def _shift(key: Array, largest: int) -> Int[Array, "2"]:
  return jax.random.randint(key, (2,), -largest, largest + 1, jnp.int32)


def _recoloured(
  setting: Augmentation, key: Array, image: UInt8[Array, "H W 3"]
) -> UInt8[Array, "H W 3"]:
  change = jax.random.uniform(key, (3,), jnp.float32, -1, 1)
  return adjust_colours(
    image,
    brightness=setting.brightness * change[0],
    contrast=1 + setting.contrast * change[1],
    saturation=1 + setting.saturation * change[2],
  )


def _maybe_occluded(
  setting: Augmentation, key: Array, image: UInt8[Array, "H W 3"]
) -> UInt8[Array, "H W 3"]:
  whether, where, noise = jax.random.split(key, 3)
  hidden = random_rectangle(
    where,
    smallest_area=setting.occlusion_area / 10,
    largest_area=setting.occlusion_area,
  )
  hidden &= jax.random.bernoulli(whether, jnp.float32(setting.occlusion))
  return occlude(image, hidden, jax.random.bits(noise, image.shape, jnp.uint8))
