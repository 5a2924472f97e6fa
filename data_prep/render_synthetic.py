"""Renders people who never were, fits them, and writes a dataset of them.

    python -m data_prep.render_synthetic --output=runs/synthetic

The records are those that photographs give: crops, labels, and coefficients
fitted by `fit_landmarks` to noisy landmarks, all photos of a person at once.
The true shapes are not written: `render_photos` remakes them from the (seed,
index) in each record, in the world that `world_of` makes from the manifest.
People of the split `heldout` come after those of `train`; none is in both.

`--write=aligned` stops before the fit: crops and noisy landmarks of all people,
as align_faces writes them, for fit_faces.
"""

import collections
from collections.abc import Iterator, Mapping
import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
from typing import Any

from absl import flags
import numpy as np
from tqdm import tqdm

from data_prep import command_line
from data_prep.batched_fitting import FitModel
from data_prep.dataset_writer import write_dataset
from data_prep.synthetic_crops import render_aligned
from data_prep.synthetic_set import (
  SplitPlan,
  SyntheticSet,
  fit_labels,
  label_model,
  photos_of,
  split_plans,
  world_of,
)
from disentangle3d.faces.morphable_model import (
  MorphableModel,
)
from disentangle3d.faces.synthetic_world import (
  ALBEDOS,
  JAWS,
  SyntheticWorld,
)
from disentangle3d.training.records import encode_image

# People are rendered and fitted this many at a time: bounds the memory.
_PEOPLE_A_TURN = 64
_TURNS_AT_A_TIME = 2


def _records(
  world: SyntheticWorld,
  fitter: FitModel,
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
  fitter: FitModel,
  plan: SplitPlan,
  seed: int,
  start: int,
) -> list[dict[str, Any]]:
  """Renders and fits the people from `start` on, as many as fit in a turn."""
  indices = plan.indices(start, start + _PEOPLE_A_TURN)
  photos = photos_of(world, seed, indices)
  fits = fit_labels(fitter, photos.landmarks, photos.visibility, photos.person)
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
  small = label_model(fitter, settings.jaw)
  with tqdm(total=total, unit="photo", desc="render and fit") as progress:
    return write_dataset(
      output,
      {
        name: _records(world, small, plan, settings.seed, progress)
        for name, plan in plans.items()
      },
      fitter,
      {"synthetic": dataclasses.asdict(settings)},
    )


def _define_flags() -> None:
  flags.DEFINE_string(
    "output", None, "Folder to write; new or empty.", required=True
  )
  flags.DEFINE_enum(
    "write",
    "dataset",
    ("dataset", "aligned"),
    "A dataset for training, or crops and landmarks for fit_faces.",
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
  if values.write == "aligned":
    photos = render_aligned(pathlib.Path(values.output), settings, world)
    print(f"{values.output}: {photos} photos")
    return
  manifest = render_dataset(values.output, settings, world, fitter)
  for name, split in manifest["splits"].items():
    print(
      f"{name}: {split['num_records']} photos, {split['num_people']} people"
    )


if __name__ == "__main__":
  command_line.run(main, _define_flags)
