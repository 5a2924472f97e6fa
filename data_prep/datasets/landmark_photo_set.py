"""A set of synthetic photos for a locator, in `.npz` shards, and its reader."""

from collections.abc import Callable, Iterator
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.datasets.synthetic_set import render_batch
from data_prep.stages.folder import ALONE, Share, digest, open_stage
from data_prep.stages.progress import progress
from disentangle3d.evaluation.rows import in_batches
from disentangle3d.faces.landmark_photos import (
  LandmarkPhotos,
  render_landmark_photos,
)
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.skins import skins_for
from disentangle3d.faces.synthetic_world import SyntheticWorld, synthetic_world
from disentangle3d.fitting.calibration_choice import (
  AUTO,
  calibrated_model,
  licences_of,
)
from disentangle3d.input_files import read_npz
from disentangle3d.output_files import replace_npz
from disentangle3d.training.dataset import sha256_of
from disentangle3d.types import UserError

STAGE = "render_landmark_photos"
PHOTOS_PER_SHARD = 1000
_DETECTORS = ("dlib 68",)
_FIELDS = tuple(field.name for field in dataclasses.fields(LandmarkPhotos))


@dataclasses.dataclass(frozen=True)
class LandmarkPhotoSet:
  """What a set is made of.

  Attributes:
    num_photos: In all.
    photos_per_person: How many photos in a row show one person.
    seed: Of everything random.
    morphable_model: An `.npz`; None takes the procedural face.
    skins: As `skins_for` takes it.
    landmark_calibration: As `calibrated_model` takes it: where on the model
      the 68 points are.
  """

  num_photos: int = 40_000
  photos_per_person: int = 4
  seed: int = 0
  morphable_model: str | None = None
  skins: str = AUTO
  landmark_calibration: str = AUTO


def landmark_world(settings: LandmarkPhotoSet) -> SyntheticWorld:
  """The world that a set's photos are taken in.

  Raises:
    UserError: The `.npz` is not a model, or nothing calibrates it.
    UserFileNotFoundError: There is no such `.npz`.
  """
  model = (
    procedural_face_model()
    if settings.morphable_model is None
    else load_morphable_model(settings.morphable_model)
  )
  model = calibrated_model(
    model, settings.landmark_calibration, detectors=_DETECTORS
  )
  return synthetic_world(
    model,
    detector=model.landmark_calibration,
    albedo="per_photo",
    skins=skins_for(model, settings.skins),
    photos_per_person=settings.photos_per_person,
  )


_render = jax.jit(render_landmark_photos)


def landmark_photos_of(
  world: SyntheticWorld, seed: int, indices: np.ndarray
) -> LandmarkPhotos:
  """Photos on the host; one program for any number."""
  return in_batches(
    lambda batch: _render(world, jnp.uint32(seed), batch),
    indices,
    render_batch(),
  )


def render_set(
  output: pathlib.Path, settings: LandmarkPhotoSet, *, share: Share = ALONE
) -> None:
  """Renders the shards that are missing.

  Args:
    output: The folder to write; new, empty, or of an earlier run of this.
    settings: What to render.
    share: Which shards are this machine's.

  Raises:
    UserError: `output` holds something else, or was begun with other settings.
  """
  world = landmark_world(settings)
  with open_stage(
    output,
    STAGE,
    num_shards=-(-settings.num_photos // PHOTOS_PER_SHARD),
    settings=dataclasses.asdict(settings),
    licences=licences_of(world.model),
    inputs=digest(_inputs(settings, world.model)),
    manifest_suffix=".npz",
    share=share,
  ) as stage:
    pending = stage.pending(share)
    with progress("render", total=len(pending) * PHOTOS_PER_SHARD) as update:
      for shard in pending:
        first = shard * PHOTOS_PER_SHARD
        last = min(first + PHOTOS_PER_SHARD, settings.num_photos)
        photos = landmark_photos_of(
          world, settings.seed, np.arange(first, last, dtype=np.int32)
        )
        arrays = {name: np.asarray(getattr(photos, name)) for name in _FIELDS}
        replace_npz(stage.manifest(shard), arrays)
        update(last - first)
    if stage.is_complete():
      stage.record({"ok": settings.num_photos})


def read_landmark_photos(
  folder: pathlib.Path, *, keep: Callable[[int], bool] = lambda shard: True
) -> list[LandmarkPhotos]:
  """The shards of a finished set, in memory.

  Args:
    folder: What `render_set` wrote.
    keep: Which shards are read, by number.

  Raises:
    UserError: `folder` is no such set, or has no shard to read.
  """
  paths = sorted(folder.glob("manifest-*-of-*.npz"))
  shards = [
    read_npz(path, "a shard of render_landmark_photos", names=_FIELDS)
    for number, path in enumerate(paths)
    if keep(number)
  ]
  if paths and not shards:
    raise UserError(
      f"{folder}: expected shards enough to train on some and to hold some out,"
      f" got {len(paths)}; render more photos"
    )
  if not shards:
    raise UserError(
      f"{folder}: expected shards of data_prep.render_landmark_photos, got none"
    )
  return [
    LandmarkPhotos(**{name: shard[name] for name in _FIELDS})
    for shard in shards
  ]


def _inputs(
  settings: LandmarkPhotoSet, model: MorphableModel
) -> Iterator[bytes]:
  """What photos are made of besides the settings: model, points and skins."""
  if settings.morphable_model is not None:
    yield sha256_of(pathlib.Path(settings.morphable_model)).encode()
  skins = skins_for(model, settings.skins)
  for leaf in jax.tree.leaves((model.landmark_calibration, skins)):
    yield np.asarray(leaf).tobytes()
