"""Writes a dataset folder as `disentangle3d.training.dataset` reads it.

`write_dataset` is for records of one's own; build_dataset and render_synthetic
write shards (`shards.py`) of the same files and manifest.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import itertools
import json
import os
import pathlib
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter
import numpy as np

from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  save_morphable_model,
)
from disentangle3d.machine import package_versions
from disentangle3d.output_files import new_folder, replace_file
from disentangle3d.training.dataset import (
  FORMAT,
  MANIFEST,
  MORPHABLE_MODEL,
  sha256_of,
)
from disentangle3d.training.records import encode_record
from disentangle3d.types import UserError

_PACKAGES = (
  "disentangle3d",
  "jax",
  "flax",
  "numpy",
  "array-record",
  "pillow",
  "opencv-python-headless",
)


@dataclasses.dataclass
class _SplitContent:
  """What was written of one split so far."""

  num_records: int = 0
  files: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  label_of: dict[str, int] = dataclasses.field(default_factory=dict)
  image_ids: set[str] = dataclasses.field(default_factory=set)


def write_dataset(
  output: str | os.PathLike[str],
  splits: Mapping[str, Iterable[Mapping[str, Any]]],
  morphable_model: MorphableModel,
  settings: Mapping[str, Any],
  *,
  records_per_file: int = 8192,
) -> dict[str, Any]:
  """Writes all of a dataset, or nothing.

  Args:
    output: The folder to make; must be new or empty.
    splits: Records (see `encode_record`) of "train" and any other split; read
      once, in order, so that generators will do. The labels of "train" must
      be 0 to K - 1, one a subject; no subject may be in two splits.
    morphable_model: What the coefficients belong to; stored beside them.
    settings: How the dataset was made, for the manifest; JSON values.
    records_per_file: Where to begin another ArrayRecord file.

  Returns:
    The manifest.

  Raises:
    UserError: `output` has something in it, a record is malformed or of
      other sizes than the 3DMM, an image id comes twice, labels or subjects
      break the rules above, or a split is empty.
    TypeError: A record has a value of another type.
  """
  if "train" not in splits:
    raise UserError(
      f'splits: expected one called "train", got {sorted(splits)}'
    )
  if records_per_file < 1:
    raise UserError(
      f"records_per_file: expected at least 1, got {records_per_file}"
    )
  with new_folder(output) as folder:
    contents: dict[str, _SplitContent] = {}
    for name, records in splits.items():
      contents[name] = _write_split(
        folder, name, records, morphable_model, records_per_file
      )
    _check_people(contents)
    save_morphable_model(folder / MORPHABLE_MODEL, morphable_model)
    return write_dataset_manifest(
      folder,
      {
        name: {
          "num_records": content.num_records,
          "num_people": len(content.label_of),
          "files": content.files,
        }
        for name, content in contents.items()
      },
      morphable_model,
      settings,
    )


def _write_split(
  folder: pathlib.Path,
  name: str,
  records: Iterable[Mapping[str, Any]],
  model: MorphableModel,
  records_per_file: int,
) -> _SplitContent:
  content = _SplitContent()
  parts: list[tuple[pathlib.Path, dict[str, Any]]] = []
  remaining = iter(records)
  for first in remaining:
    some = itertools.chain(
      [first], itertools.islice(remaining, records_per_file - 1)
    )
    path = folder / f"{name}-{len(parts):05d}.partial"
    parts.append(
      (path, write_records(path, _checked(name, some, model, content)))
    )
  if not parts:
    raise UserError(f"splits[{name!r}]: expected at least one record")
  for number, (path, entry) in enumerate(parts):
    whole = folder / file_name(name, number, len(parts))
    path.rename(whole)
    content.files.append({"name": whole.name, **entry})
  return content


def file_name(split: str, number: int, count: int) -> str:
  """The name of one of a split's files."""
  return f"{split}-{number:05d}-of-{count:05d}.array_record"


def write_records(
  path: pathlib.Path, records: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
  """Writes one ArrayRecord file; its `num_records` and `sha256`.

  Raises:
    UserError: A record is malformed.
    TypeError: A record has a value of another type.
  """
  count = 0
  # Groups of one: a random read decodes no neighbours. PNG is packed.
  writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
  try:
    for record in records:
      writer.write(encode_record(record))
      count += 1
  finally:
    writer.close()
  return {"num_records": count, "sha256": sha256_of(path)}


def _checked(
  split: str,
  records: Iterable[Mapping[str, Any]],
  model: MorphableModel,
  content: _SplitContent,
) -> Iterator[Mapping[str, Any]]:
  """The same records, checked and counted on the way."""
  for record in records:
    _check_record(split, record, model, content)
    content.num_records += 1
    yield record


def _check_record(
  split: str,
  record: Mapping[str, Any],
  model: MorphableModel,
  content: _SplitContent,
) -> None:
  # A key that is missing is found when the record is encoded.
  image_id: Any = record.get("image_id")
  subject: Any = record.get("subject")
  label: Any = record.get("label")
  here = f"splits[{split!r}]: {image_id}"
  for name, size in (
    ("identity_coefficients", model.identity_dim),
    ("expression_coefficients", model.expression_dim),
  ):
    got = np.shape(record.get(name, 0))
    if got != (size,):
      raise UserError(
        f"{here}: expected {name} of shape [{size}] as the 3DMM has, got"
        f" {list(got)}"
      )
  if image_id in content.image_ids:
    raise UserError(f"{here}: expected each image id once, got it again")
  content.image_ids.add(image_id)
  known = content.label_of.setdefault(subject, label)
  if known != label:
    raise UserError(
      f"{here}: expected label {known} as {subject!r} had before, got {label}"
    )


def _check_people(contents: Mapping[str, _SplitContent]) -> None:
  people: dict[str, str] = {}
  for name, content in contents.items():
    for subject in content.label_of:
      if subject in people:
        raise UserError(
          f"splits: expected each subject in one split, got {subject!r} in"
          f" {people[subject]!r} and {name!r}"
        )
      people[subject] = name
  labels = sorted(contents["train"].label_of.values())
  if labels != list(range(len(labels))):
    raise UserError(
      f"splits['train']: expected labels 0 to {len(labels) - 1}, one a subject,"
      f" got {labels[:3]} ... {labels[-3:]}"
    )


def write_dataset_manifest(
  folder: pathlib.Path,
  splits: Mapping[str, Mapping[str, Any]],
  model: MorphableModel,
  settings: Mapping[str, Any],
  *,
  template: str = SPHEREFACE,
) -> dict[str, Any]:
  """Makes a folder with all files of a dataset in it a dataset.

  Args:
    folder: With the splits' files and MORPHABLE_MODEL.
    splits: By name: `num_records`, `num_people` and, in order, `files` with
      `name`, `num_records` and `sha256`; "train" among them.
    model: What lies in MORPHABLE_MODEL.
    settings: How the dataset was made; JSON values.
    template: What its crops are aligned by.

  Returns:
    The manifest.
  """
  manifest = {
    "format": FORMAT,
    "template": template,
    "splits": splits,
    "identity_dim": model.identity_dim,
    "expression_dim": model.expression_dim,
    "num_classes": splits["train"]["num_people"],
    "morphable_model": {
      "name": model.name,
      "source": model.source,
      "licence": model.licence,
      "num_vertices": model.num_vertices,
      "sha256": sha256_of(folder / MORPHABLE_MODEL),
    },
    "created": {
      "versions": package_versions(_PACKAGES),
      "settings": dict(settings),
    },
  }
  text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
  replace_file(folder / MANIFEST, text)
  return manifest
