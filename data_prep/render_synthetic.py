"""Renders people who never were, fits them, and writes a dataset of them.

    python -m data_prep.render_synthetic --output=runs/synthetic

The records are those that photographs give: crops, labels, and coefficients
fitted by `fit_landmarks` to noisy landmarks, all photos of a person at once.
The true shapes are not written: `render_photos` remakes them from the (seed,
index) in each record, in the world that `world_of` makes from the manifest.
People of the split `heldout` come after those of `train`; none is in both.
"""

import collections
from collections.abc import Iterator, Mapping
import concurrent.futures
import dataclasses
import itertools
import os
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from data_prep import command_line
from data_prep.batched_fitting import fit_subjects
from data_prep.dataset_writer import write_dataset
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
  truncate_modes,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.synthetic import SyntheticPhotos, render_photos
from disentangle3d.faces.synthetic_world import (
  ALBEDOS,
  JAWS,
  SyntheticWorld,
  synthetic_world,
)
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.training.records import encode_image
from disentangle3d.types import IDENTITY_DIM, NUM_VERTICES, RESIDUAL_DIM

# The procedural world has this many modes beyond its fitter's.
_MORE_IDENTITY_MODES = 61
_MORE_EXPRESSION_MODES = 15
# People are rendered and fitted this many at a time: bounds the memory.
_PEOPLE_A_TURN = 64
_RENDER_BATCH = 16
_TURNS_AT_A_TIME = 2


@dataclasses.dataclass(frozen=True)
class SyntheticSet:
  """What a synthetic dataset is made of; stored in its manifest.

  Attributes:
    people: In the split train.
    photos_per_person: Of those.
    heldout_people: In the split heldout.
    heldout_photos_per_person: Of those.
    seed: Of everything random.
    albedo: See `synthetic_world`.
    jaw: Same.
    landmark_noise_px: Same.
    morphable_model: An `.npz`, of which the fitter gets the first modes; None
      takes the procedural face, with more modes than the fitter gets.
    num_vertices: Of the procedural face.
    identity_modes: The fitter's I; None is all an `.npz` has, or 199.
    expression_modes: The fitter's E; None is all an `.npz` has, or 29.
  """

  people: int = 1000
  photos_per_person: int = 8
  heldout_people: int = 40
  heldout_photos_per_person: int = 10
  seed: int = 0
  albedo: str = "per_person"
  jaw: str = "visible_contour"
  landmark_noise_px: float = 1.0
  morphable_model: str | None = None
  num_vertices: int = NUM_VERTICES
  identity_modes: int | None = None
  expression_modes: int | None = None

  def __post_init__(self):
    for name in (
      "people",
      "photos_per_person",
      "heldout_people",
      "heldout_photos_per_person",
    ):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name}: expected at least 1, got {getattr(self, name)}"
        )


@dataclasses.dataclass(frozen=True)
class SplitPlan:
  """The photos of one split: consecutive people of one world."""

  first_person: int
  people: int
  photos_per_person: int

  def indices(self, start: int = 0, stop: int | None = None) -> np.ndarray:
    """The photos' numbers of the split's people start to stop - 1."""
    stop = self.people if stop is None else min(stop, self.people)
    first = (self.first_person + start) * self.photos_per_person
    last = (self.first_person + stop) * self.photos_per_person
    return np.arange(first, last, dtype=np.int32)


def split_plans(settings: SyntheticSet) -> dict[str, SplitPlan]:
  """Who is in which split."""
  return {
    "train": SplitPlan(0, settings.people, settings.photos_per_person),
    "heldout": SplitPlan(
      settings.people,
      settings.heldout_people,
      settings.heldout_photos_per_person,
    ),
  }


def world_of(settings: SyntheticSet) -> tuple[SyntheticWorld, MorphableModel]:
  """The world of a set, and the model of its fitter.

  Raises:
    ValueError: A setting is out of range, or the `.npz` is not a model.
    FileNotFoundError: There is no such `.npz`.
  """
  if settings.morphable_model is None:
    identity = settings.identity_modes or IDENTITY_DIM
    expression = settings.expression_modes or RESIDUAL_DIM
    model = procedural_face_model(
      num_vertices=settings.num_vertices,
      identity_dim=identity + _MORE_IDENTITY_MODES,
      expression_dim=expression + _MORE_EXPRESSION_MODES,
    )
  else:
    model = load_morphable_model(settings.morphable_model)
    identity = settings.identity_modes or model.identity_dim
    expression = settings.expression_modes or model.expression_dim
  world = synthetic_world(
    model,
    albedo=settings.albedo,
    jaw=settings.jaw,
    landmark_noise_px=settings.landmark_noise_px,
    photos_per_person=settings.photos_per_person,
  )
  return world, truncate_modes(model, identity, expression)


@jax.jit
def _photos_without_shapes(
  world: SyntheticWorld, seed: jax.Array, indices: jax.Array
) -> SyntheticPhotos:
  none = jnp.zeros((len(indices), 0, 3), jnp.float32)
  photos = render_photos(world, seed, indices)
  return photos.replace(shape=none, identity_shape=none)


def photos_of(
  world: SyntheticWorld, seed: int, indices: np.ndarray
) -> SyntheticPhotos:
  """Photos on the host, without their shapes; one program for any number."""
  parts = []
  for start in range(0, len(indices), _RENDER_BATCH):
    rows = np.arange(start, start + _RENDER_BATCH)
    batch = indices[np.minimum(rows, len(indices) - 1)]
    photos = _photos_without_shapes(world, jnp.uint32(seed), batch)
    parts.append(jax.tree.map(np.asarray, photos))
  joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
  return jax.tree.map(lambda leaf: leaf[: len(indices)], joined)


def _records(
  world: SyntheticWorld,
  fitter: MorphableModel,
  plan: SplitPlan,
  seed: int,
  progress: tqdm,
) -> Iterator[dict[str, Any]]:
  """The records of a split, in order; two turns are worked on at a time.

  A renderer keeps little more than one core busy: while one turn is rendered
  the next is, too, or the one before is fitted.
  """
  world = world.replace(photos_per_person=plan.photos_per_person)
  starts = iter(range(0, plan.people, _PEOPLE_A_TURN))
  with concurrent.futures.ThreadPoolExecutor(_TURNS_AT_A_TIME) as pool:

    def submit() -> list[concurrent.futures.Future[list[dict[str, Any]]]]:
      return [
        pool.submit(_turn, world, fitter, plan, seed, start)
        for start in itertools.islice(starts, 1)
      ]

    waiting = collections.deque(submit())
    waiting += submit()
    try:
      while waiting:
        records = waiting.popleft().result()
        waiting += submit()
        yield from records
        progress.update(len(records))
    finally:
      pool.shutdown(cancel_futures=True)


def _turn(
  world: SyntheticWorld,
  fitter: MorphableModel,
  plan: SplitPlan,
  seed: int,
  start: int,
) -> list[dict[str, Any]]:
  """Renders and fits the people from `start` on, as many as fit in a turn."""
  indices = plan.indices(start, start + _PEOPLE_A_TURN)
  photos = photos_of(world, seed, indices)
  fits = fit_subjects(
    fitter,
    photos.landmarks,
    photos.visibility,
    photos.person,
    options=FitOptions(),
  )
  records = []
  for row, index in enumerate(indices):
    person = int(photos.person[row])
    records.append(
      {
        "image": encode_image(photos.image[row]),
        "label": person - plan.first_person,
        "subject": f"person{person:06d}",
        "image_id": f"photo{index:08d}",
        "identity_coefficients": fits.identity_coefficients[row],
        "expression_coefficients": fits.expression_coefficients[row],
        "landmarks": photos.landmarks[row],
        "visibility": photos.visibility[row],
        "camera_scale": fits.camera.scale[row],
        "camera_rotation": fits.camera.rotation[row],
        "camera_translation": fits.camera.translation[row],
        # A synthetic photo is rendered as a crop.
        "crop_from_photo": np.eye(2, 3, dtype=np.float32),
        "world_seed": seed,
        "world_index": int(index),
      }
    )
  return records


def render_dataset(
  output: str | os.PathLike[str],
  settings: SyntheticSet,
  world: SyntheticWorld,
  fitter: MorphableModel,
) -> Mapping[str, Any]:
  """Renders, fits and writes both splits; the manifest comes back.

  Args:
    output: The folder to make; must be new or empty. Nothing is left there
      if this is interrupted.
    settings: What to render.
    world: From `world_of`, as `fitter`.
    fitter: The model that is fitted.

  Returns:
    The manifest.

  Raises:
    ValueError: `output` has something in it.
  """
  plans = split_plans(settings)
  total = sum(plan.people * plan.photos_per_person for plan in plans.values())
  with tqdm(total=total, unit="photo", desc="render and fit") as progress:
    return write_dataset(
      output,
      {
        name: _records(world, fitter, plan, settings.seed, progress)
        for name, plan in plans.items()
      },
      fitter,
      {"synthetic": dataclasses.asdict(settings)},
    )


def _define_flags() -> None:
  flags.DEFINE_string(
    "output", None, "Folder to write; new or empty.", required=True
  )
  for field in dataclasses.fields(SyntheticSet):
    help_text = f"See SyntheticSet.{field.name}."
    match field.name:
      case "albedo":
        flags.DEFINE_enum("albedo", field.default, ALBEDOS, help_text)
      case "jaw":
        flags.DEFINE_enum("jaw", field.default, JAWS, help_text)
      case "morphable_model":
        flags.DEFINE_string("morphable_model", None, help_text)
      case "landmark_noise_px":
        flags.DEFINE_float(field.name, field.default, help_text)
      case _:
        flags.DEFINE_integer(field.name, field.default, help_text)


def main() -> None:
  """Reads the flags, writes the dataset."""
  values = flags.FLAGS
  settings = SyntheticSet(
    **{
      field.name: getattr(values, field.name)
      for field in dataclasses.fields(SyntheticSet)
    }
  )
  world, fitter = world_of(settings)
  manifest = render_dataset(values.output, settings, world, fitter)
  for name, split in manifest["splits"].items():
    print(
      f"{name}: {split['num_records']} photos, {split['num_people']} people"
    )


if __name__ == "__main__":
  command_line.run(main, _define_flags)
