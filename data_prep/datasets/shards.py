"""A dataset made shard by shard: each shard of fitted photos gives its files.

Who is in which split under which label, and which shard has which files, is
decided for the whole set before the first shard is made, from nothing but the
fitted rows and the settings: every machine comes to the same plan. A shard's
manifest (`manifest-00000-of-00002.json`) says what was written and what was
left out; all of them together make the dataset's own.
"""

from collections import Counter
from collections.abc import (
  Callable,
  Container,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
import dataclasses
import json
import pathlib
import types
from typing import Any

import numpy as np

from data_prep.datasets.writer import file_name, write_records
from data_prep.fitting.fit_files import (
  MORPHABLE_MODEL,
  Fits,
  fits_path,
  read_fits,
)
from data_prep.fitting.landmark_index import LandmarkIndex
from data_prep.fitting.shards import landmarks_in_crop
from data_prep.photos.photo_sets import read_encoded
from data_prep.stages.folder import StageFolder
from data_prep.stages.rows import PhotoRow, count_rows, read_shard_rows
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.output_files import new_file, readable, replace_file
from disentangle3d.training.records import decode_image
from disentangle3d.types import UserError

MANIFEST_SUFFIX = ".json"
_FILE = ("name", "num_records", "sha256")
# How far a photo may come; see `_count_stages`.
STAGES = ("photos", "detected", "located", "aligned", "fitted", "kept")


@dataclasses.dataclass(frozen=True)
class DatasetPlan:
  """What each shard will hold.

  Attributes:
    labels: Split to its people to their labels; "train" first.
    fitted: The manifests of the fitted shards; one makes one of the dataset.
    files: For each of them the name of its file in each split, where it has
      photos of that split.
  """

  labels: Mapping[str, Mapping[str, int]]
  fitted: Sequence[pathlib.Path]
  files: Sequence[Mapping[str, str]]


def plan_dataset(
  index: LandmarkIndex, people: Mapping[str, Sequence[str]]
) -> DatasetPlan:
  """The plan of a dataset; the same for the same photos and people.

  Args:
    index: All fitted photos.
    people: Split to its people, "train" first; labels count them all.
  """
  labels: dict[str, dict[str, int]] = {}
  first = 0
  for split, names in people.items():
    labels[split] = {name: first + i for i, name in enumerate(names)}
    first += len(names)
  files: list[dict[str, str]] = [{} for _ in index.files]
  for split, label_of in labels.items():
    shards = sorted(
      {e.file for e in index.entries if e.ok and e.subject in label_of}
    )
    for number, shard in enumerate(shards):
      files[shard][split] = file_name(split, number, len(shards))
  return DatasetPlan(labels, index.files, files)


def make_shard(
  folder: StageFolder,
  shard: int,
  plan: DatasetPlan,
  model: MorphableModel,
  progress: Callable[[int], object],
) -> None:
  """Writes a shard's files, and its manifest last.

  Args:
    folder: The dataset.
    shard: Which.
    plan: From `plan_dataset`.
    model: What was fitted.
    progress: Called with each number of photos done.

  Raises:
    UserFileNotFoundError: The fits, or a crop, are gone.
    UserError: They are malformed, or a photo has no fit.
  """
  rows = read_shard_rows(plan.fitted[shard], aligned=True)
  fits = _fits_by_image(plan.fitted[shard], model)
  write_shard(
    folder,
    shard,
    {
      split: (name, _records(rows, fits, plan.labels[split], progress))
      for split, name in plan.files[shard].items()
    },
    counts=count_rows(rows),
    stages=_count_stages(rows, fits.keys()),
    rejected={
      readable(row.image_id): row.reason for row in rows if row.status != "ok"
    },
  )
  progress(sum(row.status != "ok" for row in rows))


def write_shard(
  folder: StageFolder,
  shard: int,
  splits: Mapping[str, tuple[str, Iterable[Mapping[str, Any]]]],
  *,
  counts: Mapping[str, int],
  stages: Mapping[str, int] = types.MappingProxyType({}),
  rejected: Mapping[str, str] = types.MappingProxyType({}),
) -> None:
  """Writes a shard's files, and its manifest last.

  Args:
    folder: The dataset.
    shard: Which.
    splits: By name, the file to write and the records in it (`encode_record`).
    counts: See `DatasetParts`, as the rest.
    stages: Same.
    rejected: Same.

  Raises:
    UserError: A record is malformed.
    TypeError: A record has a value of another type.
  """
  files = {}
  for split, (name, records) in splits.items():
    with new_file(folder.path / name) as partial:
      entry = write_records(partial, records)
    files[split] = {"name": name, **entry}
  content = {
    "files": files,
    "counts": dict(counts),
    "stages": dict(stages),
    "rejected": dict(rejected),
  }
  text = json.dumps(content, indent=2, sort_keys=True) + "\n"
  replace_file(folder.manifest(shard), text)


@dataclasses.dataclass(frozen=True)
class DatasetParts:
  """What all shards of a dataset say together.

  Attributes:
    splits: As `write_dataset_manifest` takes them.
    counts: Photos that are ok, and that were rejected, by reason.
    stages: See `_count_stages`.
    rejected: Image id to reason.
  """

  splits: Mapping[str, Mapping[str, Any]]
  counts: Mapping[str, int]
  stages: Mapping[str, int]
  rejected: Mapping[str, str]

  def rejected_by_reason(self) -> dict[str, int]:
    """How many photos were rejected for which reason.

    Reasons may end in details after a colon; the kind is what counts.
    """
    return dict(Counter(text.split(":")[0] for text in self.rejected.values()))


def read_parts(
  folder: StageFolder, num_people: Mapping[str, int]
) -> DatasetParts:
  """Adds up the shards' manifests; needs all of them.

  Args:
    folder: The dataset.
    num_people: In each split, "train" first.

  Raises:
    UserError: One is not what `write_shard` wrote.
  """
  files: dict[str, list[dict[str, Any]]] = {split: [] for split in num_people}
  counts: Counter[str] = Counter()
  stages: Counter[str] = Counter()
  rejected: dict[str, str] = {}
  for shard in range(folder.num_shards):
    path = folder.manifest(shard)
    try:
      content = json.loads(path.read_text("utf-8"))
      for split, entry in content["files"].items():
        files[split].append({name: entry[name] for name in _FILE})
      counts.update(content["counts"])
      stages.update(content["stages"])
      rejected.update(content["rejected"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise UserError(
        f"{path}: expected what {folder.stage} wrote for a shard, got something"
        f" else ({error})"
      ) from error
  splits = {
    split: {
      "num_records": sum(entry["num_records"] for entry in files[split]),
      "num_people": num_people[split],
      "files": files[split],
    }
    for split in num_people
  }
  return DatasetParts(splits, counts, stages, rejected)


def _count_stages(
  rows: Sequence[PhotoRow], fitted: Container[str]
) -> dict[str, int]:
  """How many photos came how far.

  Args:
    rows: All rows.
    fitted: Image ids that have a fit, a good one or not.

  Returns:
    Photos looked at; with a box, with landmarks, with a place in the crop,
    with a fit; and kept in the dataset.
  """
  reached = (
    len(rows),
    sum(row.box is not None for row in rows),
    sum(row.landmarks is not None for row in rows),
    sum(row.crop_from_photo is not None for row in rows),
    sum(row.image_id in fitted for row in rows),
    sum(row.status == "ok" for row in rows),
  )
  return dict(zip(STAGES, reached, strict=True))


def _records(
  rows: Sequence[PhotoRow],
  fits: Mapping[str, Mapping[str, np.ndarray]],
  label_of: Mapping[str, int],
  progress: Callable[[int], object],
) -> Iterator[dict[str, Any]]:
  """The records of the "ok" photos of some people."""
  for row in rows:
    if row.status != "ok" or row.subject not in label_of:
      continue
    if row.image_id not in fits:
      raise UserError(f"{row.image_id}: ok in the manifest, but has no fit")
    if row.crop_path is None:
      raise UserError(f"{row.image_id}: ok in the manifest, but has no crop")
    png = read_encoded(row.crop_path)
    try:
      decode_image(png)
    except ValueError as error:
      raise UserError(f"{row.crop_path}: {error}") from error
    yield {
      "image": png,
      "label": label_of[row.subject],
      "subject": readable(row.subject),
      "image_id": readable(row.image_id),
      "landmarks": landmarks_in_crop(row),
      "visibility": row.visibility,
      "crop_from_photo": row.crop_from_photo,
      **fits[row.image_id],
    }
    progress(1)


def _fits_by_image(
  manifest: pathlib.Path, model: MorphableModel
) -> dict[str, dict[str, np.ndarray]]:
  """The fits of a shard by image_id, as the fields of a record."""
  path = fits_path(manifest)
  fits = read_fits(path)
  for name, expected in (
    ("identity_coefficients", model.identity_dim),
    ("expression_coefficients", model.expression_dim),
  ):
    got = getattr(fits, name).shape[1]
    if got != expected:
      raise UserError(
        f"{path}: expected {expected} {name} as {MORPHABLE_MODEL} has modes,"
        f" got {got}"
      )
  return {
    image_id: _fit_fields(fits, index)
    for index, image_id in enumerate(fits.image_id.tolist())
  }


def _fit_fields(fits: Fits, index: int) -> dict[str, np.ndarray]:
  names = (
    "identity_coefficients",
    "expression_coefficients",
    "camera_scale",
    "camera_rotation",
    "camera_translation",
  )
  return {name: np.asarray(getattr(fits, name)[index]) for name in names}
