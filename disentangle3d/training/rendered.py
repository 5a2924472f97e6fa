"""Photos of the synthetic world, rendered inside the step that learns them.

The host says which examples a step takes, by the same order as for a dataset
on disk; each is rendered from (seed, index) alone.
"""

from collections.abc import Sequence

import flax.struct
import jax
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.faces.synthetic import render_photos, true_coefficients
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.placement import first_shard, replicate


class FittedPhotos(flax.struct.PyTreeNode):
  """Which photos of a world there are, and what was fitted to them.

  Attributes:
    photo: Number of each in the world, `[n]` int32.
    label: `[n]` int32.
    identity_coefficients: `[n, I]`, standard deviations.
    expression_coefficients: `[n, E]`, standard deviations.
  """

  photo: Int[Array | np.ndarray, "n"]
  label: Int[Array | np.ndarray, "n"]
  identity_coefficients: Float[Array | np.ndarray, "n I"]
  expression_coefficients: Float[Array | np.ndarray, "n E"]


class RenderedExamples(flax.struct.PyTreeNode):
  """Photos of the synthetic world, whole on every device.

  Attributes:
    world: What renders them.
    seed: Of its draws, `[]` uint32.
    fitted: The photos and their targets; None is photos 0 to n - 1, people as
      classes and true coefficients.
    num_examples: n.
    identity_dim: I.
    expression_dim: E.
  """

  world: SyntheticWorld
  seed: Array
  fitted: FittedPhotos | None
  num_examples: int = flax.struct.field(pytree_node=False)
  identity_dim: int = flax.struct.field(pytree_node=False)
  expression_dim: int = flax.struct.field(pytree_node=False)

  @property
  def mapped_axis(self) -> int | None:
    """See `HeldExamples`."""
    return None

  def __len__(self) -> int:
    """The number of examples."""
    return self.num_examples

  def examples(self, batch: TrainBatch) -> TrainBatch:
    """See `HeldExamples`."""
    at = batch.index
    if self.fitted is None:
      photos = render_photos(self.world, self.seed, at)
      identity, expression = self._truth(at)
      return batch.replace(
        image=photos.image,
        label=photos.person,
        identity_coefficients=identity,
        expression_coefficients=expression,
        camera=photos.camera,
      )
    fitted = jax.tree.map(lambda leaf: leaf[at], self.fitted)
    photos = render_photos(self.world, self.seed, fitted.photo)
    return batch.replace(
      image=photos.image,
      label=fitted.label,
      identity_coefficients=fitted.identity_coefficients,
      expression_coefficients=fitted.expression_coefficients,
      camera=photos.camera,
    )

  def class_targets(self) -> tuple[np.ndarray, np.ndarray]:
    """See `HeldExamples`."""
    if self.fitted is not None:
      return (
        first_shard(self.fitted.label),
        first_shard(self.fitted.identity_coefficients),
      )
    # One photo of each person: its true identity is all photos'.
    photos = int(first_shard(self.world.photos_per_person))
    numbers = np.arange(0, len(self), photos, dtype=np.int32)
    identity, _ = jax.jit(RenderedExamples._truth)(self, numbers)
    return numbers // photos, first_shard(identity)

  def _truth(self, numbers: Array) -> tuple[Array, Array]:
    identity, expression = true_coefficients(self.world, self.seed, numbers)
    return (
      identity[:, : self.identity_dim],
      expression[:, : self.expression_dim],
    )


def rendered_examples(
  world: SyntheticWorld,
  seed: int,
  *,
  num_people: int,
  identity_dim: int,
  expression_dim: int,
  devices: Sequence[jax.Device],
) -> RenderedExamples:
  """People 0 to S - 1 of a world, with their true coefficients as targets.

  The targets are the first I and E coefficients that the photo was made with:
  what a fit would find that sees everything. Detail and further modes, which
  the world has beyond them, stay out.

  Args:
    world: Its `photos_per_person` says how many of each.
    seed: Everything random comes from it and the photo's number.
    num_people: S, which is K.
    identity_dim: I.
    expression_dim: E.
    devices: What trains.

  Returns:
    The examples.
  """
  return RenderedExamples(
    world=replicate(world, devices),
    seed=replicate(np.uint32(seed), devices),
    fitted=None,
    num_examples=num_people * int(world.photos_per_person),
    identity_dim=identity_dim,
    expression_dim=expression_dim,
  )


def rendered_again(
  world: SyntheticWorld,
  seed: int,
  fitted: FittedPhotos,
  *,
  devices: Sequence[jax.Device],
) -> RenderedExamples:
  """The photos of a synthetic dataset, with the coefficients fitted to them.

  Args:
    world: The dataset's.
    seed: Same.
    fitted: Its photos, on the host.
    devices: What trains.

  Returns:
    The examples, the same as the dataset's up to rounding of the renderer.
  """
  return RenderedExamples(
    world=replicate(world, devices),
    seed=replicate(np.uint32(seed), devices),
    fitted=replicate(fitted, devices),
    num_examples=len(fitted.label),
    identity_dim=fitted.identity_coefficients.shape[1],
    expression_dim=fitted.expression_coefficients.shape[1],
  )
