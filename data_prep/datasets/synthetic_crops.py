"""Writes synthetic photos as align_faces writes photographs."""

import functools
import pathlib

import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet, photos_of
from data_prep.datasets.synthetic_shards import (
  SyntheticShard,
  open_set,
  plan_synthetic_shards,
)
from data_prep.stages.engine import LOCAL, Engine, Progress, ShardWork
from data_prep.stages.folder import ALONE, Share, StageFolder
from data_prep.stages.rows import PhotoRow, write_manifest
from data_prep.stages.shard_loop import fill_shards
from disentangle3d.faces.synthetic import SyntheticPhotos
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.geometry import five_points
from disentangle3d.output_files import replace_file
from disentangle3d.training.records import encode_image


def render_aligned(
  output: pathlib.Path,
  settings: SyntheticSet,
  world: SyntheticWorld,
  *,
  share: Share = ALONE,
  engine: Engine = LOCAL,
) -> dict[str, int] | None:
  """Writes crops and landmarks as align_faces does.

  Args:
    output: The folder to write; new, empty, or of an earlier run of this.
    settings: What to render.
    world: From `world_of`.
    share: Which shards are this machine's.
    engine: Who makes them.

  Returns:
    The counts of photos once every shard is there; None before.

  Raises:
    ValueError: `output` holds something else, or was begun with other settings.
  """
  shards = plan_synthetic_shards(settings)
  # What a fitter has to know of a detector is how it reports the jaw, and
  # where it marks the rest.
  detector = f"{settings.jaw}, synthetic"
  calibration = world.model.landmark_calibration
  if calibration is not None and settings.jaw == "visible_contour":
    detector = f"{detector} + {calibration.detector.split(' + ')[-1]}"

  with open_set(
    output,
    settings,
    world.model,
    write="aligned",
    num_shards=len(shards),
    manifest_suffix=".jsonl",
    share=share,
  ) as folder:
    total = sum(shard.num_photos for shard in shards)
    make = functools.partial(_make, folder, settings.seed, world, detector)
    return fill_shards(
      folder,
      share,
      ShardWork(make, part=shards.__getitem__, gains_from_gpu=True),
      num_photos=total,
      engine=engine,
    )


def _make(
  folder: StageFolder,
  seed: int,
  world: SyntheticWorld,
  detector: str,
  number: int,
  shard: SyntheticShard,
  progress: Progress,
) -> None:
  indices = shard.plan.indices(shard.start, shard.stop)
  own = world.replace(photos_per_person=shard.plan.photos_per_person)
  photos = photos_of(own, seed, indices)
  rows = [
    _aligned_row(folder.path, detector, photos, place, int(index))
    for place, index in enumerate(indices)
  ]
  write_manifest(folder.manifest(number), rows)
  progress(len(rows))


def _aligned_row(
  folder: pathlib.Path,
  detector: str,
  photos: SyntheticPhotos,
  place: int,
  index: int,
) -> PhotoRow:
  subject = f"person{int(photos.person[place]):06d}"
  image_id = f"{subject}/photo{index:08d}"
  crop = folder / "crops" / f"{image_id}.png"
  crop.parent.mkdir(parents=True, exist_ok=True)
  replace_file(crop, encode_image(np.asarray(photos.image[place])))
  landmarks = np.asarray(photos.landmarks[place])
  return PhotoRow(
    image_path=crop,
    subject=subject,
    image_id=image_id,
    status="ok",
    detector=detector,
    box=np.concatenate([landmarks.min(0), landmarks.max(0)]),
    five_points=np.asarray(five_points(landmarks)),
    landmarks=landmarks,
    visibility=np.asarray(photos.visibility[place]),
    crop_from_photo=np.eye(2, 3, dtype=np.float32),
    crop_path=crop,
  )
