"""A training set of synthetic people, rendered and fitted shard by shard."""

from collections.abc import Mapping
import dataclasses
import functools
import os
from typing import Any

from absl import logging
import numpy as np

from data_prep.datasets.shards import MANIFEST_SUFFIX, read_parts, write_shard
from data_prep.datasets.synthetic_set import (
  SyntheticSet,
  fit_labels,
  label_model,
  photos_of,
  split_plans,
  true_labels,
)
from data_prep.datasets.synthetic_shards import (
  SyntheticShard,
  open_set,
  plan_synthetic_shards,
)
from data_prep.datasets.writer import write_dataset_manifest
from data_prep.stages.engine import LOCAL, Engine, Progress, ShardWork
from data_prep.stages.folder import ALONE, Share, StageFolder
from data_prep.stages.progress import progress
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  save_morphable_model,
)
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.fitting.batched_fitting import FitModel
from disentangle3d.stores import as_path
from disentangle3d.training.dataset import (
  MANIFEST,
  MORPHABLE_MODEL,
  read_manifest,
)
from disentangle3d.training.records import encode_image

# A renderer keeps little more than one core busy.
_SHARDS_AT_A_TIME = 2


def render_dataset(
  output: str | os.PathLike[str],
  settings: SyntheticSet,
  world: SyntheticWorld,
  fitter: MorphableModel,
  *,
  share: Share = ALONE,
  engine: Engine = LOCAL,
) -> Mapping[str, Any] | None:
  """Renders, fits and writes both splits; a finished set is left as it is.

  Args:
    output: The folder to write; new, empty, or of an earlier run of this.
    settings: What to render.
    world: From `world_of`, as `fitter`.
    fitter: The model that is fitted.
    share: Which shards are this machine's.
    engine: Who makes them.

  Returns:
    The manifest once every shard is there; None before.

  Raises:
    ValueError: `output` holds something else, or was begun with other settings.
  """
  output = as_path(output)
  shards = plan_synthetic_shards(settings)
  with open_set(
    output,
    settings,
    fitter,
    write="dataset",
    num_shards=len(shards),
    manifest_suffix=MANIFEST_SUFFIX,
    share=share,
  ) as stage:
    if (output / MANIFEST).is_file():
      return read_manifest(output)
    small = label_model(fitter, settings.jaw)
    pending = stage.pending(share)
    total = sum(shards[number].num_photos for number in pending)

    work = ShardWork(
      functools.partial(_make, stage, settings, world, fitter, small),
      part=shards.__getitem__,
      at_once=_SHARDS_AT_A_TIME,
      gains_from_gpu=True,
    )
    with progress("render and fit", total=total) as update:
      engine.run(work, pending, update)
    if not stage.is_complete():
      logging.info("%s: other machines' shards are still missing", output)
      return None
    save_morphable_model(output / MORPHABLE_MODEL, fitter)
    plans = split_plans(settings)
    parts = read_parts(stage, {name: plans[name].people for name in plans})
    manifest = write_dataset_manifest(
      output,
      parts.splits,
      fitter,
      {"synthetic": dataclasses.asdict(settings)},
      template=settings.template,
    )
    stage.record(parts.counts)
    return manifest


def _make(
  folder: StageFolder,
  settings: SyntheticSet,
  world: SyntheticWorld,
  fitter: MorphableModel,
  small: FitModel,
  number: int,
  shard: SyntheticShard,
  progress: Progress,
) -> None:
  records = _records(shard, settings, world, fitter, small)
  write_shard(
    folder,
    number,
    {shard.split: (shard.file, records)},
    counts={"ok": len(records)},
  )
  progress(len(records))


def _records(
  shard: SyntheticShard,
  settings: SyntheticSet,
  world: SyntheticWorld,
  fitter: MorphableModel,
  small: FitModel,
) -> list[dict[str, Any]]:
  plan, seed = shard.plan, settings.seed
  indices = plan.indices(shard.start, shard.stop)
  world = world.replace(photos_per_person=plan.photos_per_person)
  photos = photos_of(world, seed, indices)
  if settings.labels == "true":
    fits = true_labels(world, seed, indices, photos, fitter)
  else:
    fits = fit_labels(small, photos.landmarks, photos.visibility, photos.person)
  records = []
  for row, index in enumerate(indices):
    person = int(photos.person[row])
    records.append(
      {
        "image": encode_image(np.asarray(photos.image[row])),
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
