"""Writes synthetic photos as align_faces writes photographs."""

import dataclasses
import pathlib

import numpy as np
from tqdm import tqdm

from data_prep.manifests import (
  PhotoRow,
  count_rows,
  manifest_path,
  write_manifest,
)
from data_prep.output_files import new_folder
from data_prep.stage_about import write_about
from data_prep.synthetic_set import SyntheticSet, photos_of, split_plans
from disentangle3d.faces.synthetic import SyntheticPhotos
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.geometry import five_points
from disentangle3d.training.records import encode_image

# People are rendered this many at a time: bounds the memory.
_PEOPLE_A_TURN = 64


def render_aligned(
  output: pathlib.Path, settings: SyntheticSet, world: SyntheticWorld
) -> int:
  """Writes crops and landmarks as align_faces does; how many comes back.

  Args:
    output: The folder to make; must be new or empty. Nothing is left there
      if this is interrupted.
    settings: What to render.
    world: From `world_of`.

  Raises:
    ValueError: `output` has something in it.
  """
  rows = []
  # What a fitter has to know of a detector is how it reports the jaw.
  detector = f"{settings.jaw}, synthetic"
  plans = split_plans(settings).values()
  total = sum(plan.people * plan.photos_per_person for plan in plans)
  with (
    new_folder(output) as folder,
    tqdm(total=total, unit="photo", desc="rendering") as progress,
  ):
    for plan in plans:
      own = world.replace(photos_per_person=plan.photos_per_person)
      for start in range(0, plan.people, _PEOPLE_A_TURN):
        indices = plan.indices(start, start + _PEOPLE_A_TURN)
        photos = photos_of(own, settings.seed, indices)
        for place, index in enumerate(indices):
          rows.append(_aligned_row(folder, detector, photos, place, int(index)))
        progress.update(len(indices))
    write_manifest(manifest_path(folder), rows)
    write_about(
      folder,
      "render_synthetic",
      settings=dataclasses.asdict(settings),
      licences={world.model.name: world.model.licence},
      counts=count_rows(rows),
    )
  return total


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
  crop.write_bytes(encode_image(photos.image[place]))
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
