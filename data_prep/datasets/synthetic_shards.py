"""A synthetic set in shards of consecutive people, and the folder they fill."""

import contextlib
import dataclasses
import pathlib

import jax
import numpy as np

from data_prep.datasets.synthetic_set import (
  SplitPlan,
  SyntheticSet,
  split_plans,
)
from data_prep.datasets.writer import file_name
from data_prep.stages.folder import (
  ALONE,
  Share,
  StageFolder,
  digest,
  open_stage,
)
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.skins import NONE, skins_for
from disentangle3d.fitting.calibration_choice import licences_of
from disentangle3d.stores import as_path
from disentangle3d.training.dataset import sha256_of

STAGE = "render_synthetic"
# Left out where they are as ever: sets begun before there were these go on.
_NEW_SETTINGS = {
  "skins": NONE,
  "labels": "fitted",
  "template": SPHEREFACE,
  "yaw_distribution": "mixed",
}
# Of whole people, at least so many: bounds the memory, and what a kill costs.
_PHOTOS_A_SHARD = 512


@dataclasses.dataclass(frozen=True)
class SyntheticShard:
  """People start to stop - 1 of a split.

  Attributes:
    split: The split's name.
    plan: The split.
    start: 0-based, in the split.
    stop: Same.
    file: The name of its records in a dataset.
  """

  split: str
  plan: SplitPlan
  start: int
  stop: int
  file: str

  @property
  def num_photos(self) -> int:
    """Of all its people."""
    return (self.stop - self.start) * self.plan.photos_per_person


def plan_synthetic_shards(settings: SyntheticSet) -> list[SyntheticShard]:
  """All shards of a set, a split after the other."""
  shards = []
  for split, plan in split_plans(settings).items():
    people = -(-_PHOTOS_A_SHARD // plan.photos_per_person)
    starts = range(0, plan.people, people)
    for number, start in enumerate(starts):
      stop = min(start + people, plan.people)
      file = file_name(split, number, len(starts))
      shards.append(SyntheticShard(split, plan, start, stop, file))
  return shards


def open_set(
  path: pathlib.Path,
  settings: SyntheticSet,
  model: MorphableModel,
  *,
  write: str,
  num_shards: int,
  manifest_suffix: str,
  share: Share = ALONE,
) -> contextlib.AbstractContextManager[StageFolder]:
  """Begins the folder of a set, or goes on with one.

  Args:
    path: New, empty, or of an earlier run of the same.
    settings: Of the set.
    model: The fitter's or the world's: its licence goes into `about.json`.
    write: What is written of the set.
    num_shards: From `plan_synthetic_shards`.
    manifest_suffix: Of the shards' manifests.
    share: What this machine makes.

  Returns:
    See `open_stage`.

  Raises:
    UserError: As `open_stage`.
  """
  told = {"write": write, **dataclasses.asdict(settings)}
  for name, value in _NEW_SETTINGS.items():
    if told[name] == value:
      del told[name]
  skins = skins_for(model, settings.skins)
  file, calibration = settings.morphable_model, model.landmark_calibration
  inputs = [] if file is None else [_checksum(file)]
  if calibration is None:
    del told["landmark_calibration"]
  else:
    inputs += [
      np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(calibration)
    ]
  licences = licences_of(model)
  if skins is not None:
    inputs += [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(skins)]
    licences[f"skins: {skins.source}"] = skins.licence
  return open_stage(
    path,
    STAGE,
    num_shards=num_shards,
    settings=told,
    licences=licences,
    inputs=digest(inputs),
    manifest_suffix=manifest_suffix,
    share=share,
  )


def _checksum(file: str) -> bytes:
  return sha256_of(as_path(file)).encode()
