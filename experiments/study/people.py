"""Who is photographed how often, rendered and fitted without a disk between.

The crops of the training people stay on the device as uint8, 32 kB each (15.8
GB for 488,848): they are remade from (seed, index) when a stage needs them,
and only the fits are kept in a file.
"""

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np
from scipy.stats import norm

from data_prep.datasets.synthetic_set import fit_labels, photos_without_shapes
from data_prep.stages.progress import progress
from disentangle3d.evaluation.rows import in_batches
from disentangle3d.faces.synthetic import true_coefficients
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.fitting.batched_fitting import FitModel
from disentangle3d.input_files import read_npz
from disentangle3d.output_files import replace_npz
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

# CASIA-WebFace's largest folder has 804 photos; its mean is 46.
MOST_PHOTOS = 804
_LEAST_PHOTOS = 2
# Our choice: the mean is then 1.65 times the median.
_SPREAD = 1.0
_TRUTHS_A_TURN = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingPeople:
  """The photos of S people, a long-tailed number of each.

  Photo j of a person is number `person * MOST_PHOTOS + j` of a world with so
  many photos a person.

  Attributes:
    counts: Photos of each person, `[S]`.
  """

  counts: Int[np.ndarray, "S"]

  @property
  def num_photos(self) -> int:
    """M."""
    return int(self.counts.sum())

  def labels(self) -> Int[np.ndarray, "M"]:
    """Who is in each photo."""
    return np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)

  def indices(self) -> Int[np.ndarray, "M"]:
    """The photos' numbers in the world."""
    first = np.cumsum(self.counts) - self.counts
    place = np.arange(self.num_photos) - np.repeat(first, self.counts)
    return (self.labels() * MOST_PHOTOS + place).astype(np.int32)


def training_people(people: int, photos: int, *, seed: int) -> TrainingPeople:
  """So many people with so many photos in all, as unevenly as on the web.

  Numbers of photos are log-normal, from 2 to 804, in random order.

  Raises:
    UserError: So many photos cannot be had of so many people.
  """
  least, most = people * _LEAST_PHOTOS, people * MOST_PHOTOS
  if people < 1 or not least <= photos <= most:
    raise UserError(
      f"photos: expected {least} to {most} of {people} people, got {photos}"
    )
  weights = np.exp(_SPREAD * norm.ppf((np.arange(people) + 0.5) / people))

  def counts_at(scale: float) -> np.ndarray:
    return np.clip(np.floor(scale * weights), _LEAST_PHOTOS, MOST_PHOTOS)

  low, high = 0.0, 2 * MOST_PHOTOS / weights.min()
  for _ in range(80):
    middle = (low + high) / 2
    low, high = (
      (middle, high) if counts_at(middle).sum() <= photos else (low, middle)
    )
  counts = counts_at(low).astype(np.int64)
  # What rounding left over goes to those who have most and may have more.
  short = photos - counts.sum()
  able = np.flatnonzero(counts < MOST_PHOTOS)
  counts[able[len(able) - short :]] += 1
  return TrainingPeople(np.random.default_rng(seed).permutation(counts))


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedPeople:
  """Photos of training people.

  Attributes:
    images: Flat crops on the device, `[M, 32256]` uint8, as training holds
      them.
    landmarks: Noisy, crop pixels, on the host, `[M, 68, 2]`.
    visibility: `[M, 68]`.
  """

  images: UInt8[Array, "M P"]
  landmarks: Float[np.ndarray, "M 68 2"]
  visibility: Float[np.ndarray, "M 68"]


def render_people(
  world: SyntheticWorld, people: TrainingPeople, *, seed: int, batch: int
) -> RenderedPeople:
  """Renders all photos, batch after batch, straight into one array.

  Args:
    world: From `world_of`.
    people: Whose photos.
    seed: Of the world's draws.
    batch: Photos at a time.
  """
  world = world.replace(photos_per_person=MOST_PHOTOS)
  indices, total = people.indices(), people.num_photos
  batch = min(batch, total)
  images = jnp.zeros((total, IMAGE_HEIGHT * IMAGE_WIDTH * 3), jnp.uint8)
  landmarks = np.empty((total, 68, 2), np.float32)
  visibility = np.empty((total, 68), np.float32)
  done = 0
  with progress("rendering", total=total) as update:
    for start in range(0, total, batch):
      # The last batch is as large as the others, and overlaps the one before.
      start = min(start, total - batch)
      chosen = slice(start, start + batch)
      # The program that held-out people are rendered by too.
      photos = photos_without_shapes(world, jnp.uint32(seed), indices[chosen])
      images = _put(images, photos.image, start)
      landmarks[chosen] = photos.landmarks
      visibility[chosen] = photos.visibility
      update(start + batch - done)
      done = start + batch
  return RenderedPeople(images, landmarks, visibility)


@functools.partial(jax.jit, donate_argnums=0)
def _put(images: Array, photos: Array, start: Array) -> Array:
  flat = photos.reshape(len(photos), -1)
  return jax.lax.dynamic_update_slice_in_dim(images, flat, start, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
  """What a network is taught about each photo, standard deviations.

  Attributes:
    identity: `[M, I]`.
    expression: `[M, E]`.
  """

  identity: Float[np.ndarray, "M I"]
  expression: Float[np.ndarray, "M E"]


def fit_people(
  fitter: FitModel, people: TrainingPeople, photos: RenderedPeople
) -> Targets:
  """Fits every person to all their photos; see `fit_labels`."""
  with progress("fitting", total=people.num_photos) as update:
    fits = fit_labels(
      fitter,
      photos.landmarks,
      photos.visibility,
      people.labels(),
      progress=update,
    )
  return Targets(fits.identity_coefficients, fits.expression_coefficients)


def true_targets(
  world: SyntheticWorld, people: TrainingPeople, *, seed: int
) -> Targets:
  """The weights of all rows that the true shapes are made of."""
  world = world.replace(photos_per_person=MOST_PHOTOS)
  indices = people.indices()
  targets = in_batches(
    lambda batch: _truths(world, jnp.uint32(seed), batch),
    indices,
    _TRUTHS_A_TURN,
  )
  return Targets(*targets)


_truths = jax.jit(true_coefficients)


def save_targets(path: str | os.PathLike[str], targets: Targets) -> None:
  """Writes targets to an `.npz`, whole or not at all."""
  replace_npz(path, dataclasses.asdict(targets))


def load_targets(path: str | os.PathLike[str], *, photos: int) -> Targets:
  """Reads what `save_targets` wrote.

  Raises:
    UserFileNotFoundError: There is no such file; says which stage writes it.
    UserError: It is damaged, or has another number of photos.
  """
  names = ("identity", "expression")
  file = read_npz(
    path, "fits", names=names, otherwise="; run --stage=fit first"
  )
  targets = Targets(*(file[name] for name in names))
  if not len(targets.identity) == len(targets.expression) == photos:
    raise UserError(
      f"{path}: expected {photos} photos, got {len(targets.identity)}"
    )
  return targets
