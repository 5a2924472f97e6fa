"""What the train step is fed, and batches that need no dataset.

The example at position i of the global batch of a step has the key
`fold_in(fold_in(key(seed), step), i)`: whatever is random about an example
comes from that, so neither process nor device numbers matter.
"""

from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.mirroring import Mirroring, mirroring_of
from disentangle3d.faces.morphable_model import MorphableModel, flatten_basis
from disentangle3d.training.reshaping import ControlPoints, control_points
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, LATENT_SCALE


@flax.struct.dataclass
class TargetBasis:
  """The 3DMM that target shapes are made of, flat as decoder kernels are.

  Attributes:
    identity: `[I, 3V]`, mm a standard deviation.
    expression: `[E, 3V]`, mm a standard deviation.
    mirroring: How coefficients of a face are mirrored; None where no face is.
    control: What moves with a face's shape; None where no shape is changed.
  """

  identity: Float[Array, "*D I V3"]
  expression: Float[Array, "*D E V3"]
  mirroring: Mirroring | None = None
  control: ControlPoints | None = None


class TrainBatch(flax.struct.PyTreeNode):
  """A batch, of JAX or NumPy arrays; None where the input has no such thing.

  Attributes:
    position: Place of each example in the global batch, `[B]` int32.
    image: Crops, `[B, 112, 96, 3]` uint8.
    label: Classes, `[B]` int32, in [0, K).
    identity_coefficients: alpha, `[B, I]`, standard deviations.
    expression_coefficients: beta, `[B, E]`, standard deviations.
    camera: Of the crops, `Camera` of `[B]`.
    basis: `TargetBasis`, what target shapes are made of; the same every step.
    index: Which examples of `held` these are, `[B]` int32.
    held: `HeldExamples` that the step takes them from; the same every step.
    feature: In place of crops, what a trunk that stands still makes of them,
      `[B, F]`; with its last map behind it, float16, where codes see that.
    mirrored_feature: Of the mirrored crops, `[B, F]`; None where no face is
      mirrored.
  """

  position: Int[Any, "*B"]
  image: UInt8[Any, "*B 112 96 3"] = None
  label: Int[Any, "*B"] = None
  identity_coefficients: Float[Any, "*B I"] = None
  expression_coefficients: Float[Any, "*B E"] = None
  camera: Any = None
  basis: Any = None
  index: Int[Any, "*B"] = None
  held: Any = None
  feature: Float[Any, "*B F"] = None
  mirrored_feature: Float[Any, "*B F"] = None


class HeldExamples(Protocol):
  """What a step takes examples from, in place of a batch that it is fed."""

  @property
  def mapped_axis(self) -> int | None:
    """The axis of the devices: 0, or None where each device has the whole."""

  def __len__(self) -> int:
    """The number of examples."""

  def examples(self, batch: TrainBatch) -> TrainBatch:
    """Fills in the examples of `batch.index`; inside the step only."""

  def class_targets(self) -> tuple[np.ndarray, np.ndarray]:
    """Labels `[m]` and identity coefficients `[m, I]`, of each person some."""


def target_basis(
  model: MorphableModel,
  *,
  mirrored: bool = False,
  reshaped: bool = False,
  template: str = SPHEREFACE,
) -> TargetBasis:
  """The bases of a 3DMM as rows of flat shapes.

  Args:
    model: The 3DMM.
    mirrored: Whether faces are to be mirrored.
    reshaped: Whether shapes are to be changed.
    template: What crops are aligned by, then too.

  Returns:
    The bases.

  Raises:
    ValueError: See `mirroring_of` and `control_points`.
  """
  return TargetBasis(
    identity=flatten_basis(jnp.asarray(model.identity_basis)),
    expression=flatten_basis(jnp.asarray(model.expression_basis)),
    mirroring=mirroring_of(model) if mirrored else None,
    control=control_points(model, template=template) if reshaped else None,
  )


def split_batch(batch: TrainBatch, parts: int) -> TrainBatch:
  """Examples `[B, ...]` as `[parts, B / parts, ...]`, without the basis."""
  return jax.tree.map(
    lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]),
    batch.replace(basis=None, held=None),
  )


def example_keys(key: Array, position: Int[Array, "B"]) -> Array:
  """A key an example, `[B]`, from the key of the step."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, position)


def prior_batch(
  key: Array, batch: TrainBatch, *, identity_dim: int, residual_dim: int
) -> TrainBatch:
  """Fills in coefficients from the prior: N(0, 1), clipped to +-3.

  Args:
    key: The key of the step.
    batch: Its `position` says which examples these are.
    identity_dim: I.
    residual_dim: E.

  Returns:
    `batch` with coefficients.
  """

  def draw(example_key: Array) -> Float[Array, "C"]:
    return jax.random.normal(
      example_key, (identity_dim + residual_dim,), jnp.float32
    )

  drawn = jax.vmap(draw)(example_keys(key, batch.position))
  drawn = jnp.clip(drawn, -LATENT_SCALE, LATENT_SCALE)
  return batch.replace(
    identity_coefficients=drawn[:, :identity_dim],
    expression_coefficients=drawn[:, identity_dim:],
  )


def fake_batch(
  key: Array,
  batch: TrainBatch,
  *,
  identity_dim: int,
  residual_dim: int,
  num_classes: int,
) -> TrainBatch:
  """Fills in noise images, random labels and prior coefficients.

  For measuring speed: the step without an input pipeline.

  Args:
    key: The key of the step.
    batch: Its `position` says which examples these are.
    identity_dim: I.
    residual_dim: E.
    num_classes: K.

  Returns:
    `batch` with everything.
  """

  def draw(example_key: Array) -> tuple[Array, Array]:
    image_key, label_key = jax.random.split(example_key)
    shape = (IMAGE_HEIGHT, IMAGE_WIDTH, 3)
    image = jax.random.bits(image_key, shape, jnp.uint8)
    return image, jax.random.randint(label_key, (), 0, num_classes, jnp.int32)

  keys = example_keys(key, batch.position)
  image, label = jax.vmap(draw)(keys)
  return prior_batch(
    key,
    batch.replace(image=image, label=label),
    identity_dim=identity_dim,
    residual_dim=residual_dim,
  )
