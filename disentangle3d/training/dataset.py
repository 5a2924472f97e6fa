"""A dataset folder: its manifest, and opening one of its splits.

<folder>/manifest.json
         morphable_model.npz                  the 3DMM of the coefficients
         train-00000-of-00002.array_record    records.py says what is in it
         heldout-00000-of-00001.array_record
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from disentangle3d.crop_templates import SPHEREFACE, TEMPLATES
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.input_files import existing_file, existing_folder
from disentangle3d.output_files import readable
from disentangle3d.stores import as_path, in_store
from disentangle3d.types import UserError, UserFileNotFoundError, check_choice

MANIFEST = "manifest.json"
MORPHABLE_MODEL = "morphable_model.npz"
FORMAT = "disentangle3d dataset, version 1"
_NUMBERS = ("identity_dim", "expression_dim", "num_classes")


@dataclasses.dataclass(frozen=True)
class SplitFile:
  """One ArrayRecord file of a split.

  Attributes:
    path: Where it lies, on a disk or in a store.
    num_records: Photos in it.
    sha256: Its checksum.
  """

  path: pathlib.Path
  num_records: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class DatasetSplit:
  """One split of a dataset whose manifest was found to be true.

  Attributes:
    folder: The dataset.
    name: The split.
    contents: Its ArrayRecord files, in order.
    num_records: Photos in it.
    num_people: People in it.
    identity_dim: I of the coefficients.
    expression_dim: E of the coefficients.
    num_classes: K, people in the split "train".
    provenance: Name, source, licence, num_vertices and sha256 of the 3DMM.
    template: What its crops are aligned by, one of `crop_templates.TEMPLATES`.
  """

  folder: pathlib.Path
  name: str
  contents: tuple[SplitFile, ...]
  num_records: int
  num_people: int
  identity_dim: int
  expression_dim: int
  num_classes: int
  provenance: dict[str, Any]
  template: str = SPHEREFACE

  @property
  def files(self) -> tuple[pathlib.Path, ...]:
    """Where its files lie, in order."""
    return tuple(file.path for file in self.contents)


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """The manifest of a dataset folder, checked for its keys only.

  Raises:
    UserFileNotFoundError: There is no folder, or no manifest in it.
    UserError: The manifest is not one of this format, or the folder's path is
      no UTF-8, in which ArrayRecord finds no file.
  """
  folder = as_path(folder)
  if readable(str(folder)) != str(folder):
    raise UserError(
      f"{readable(str(folder))}: expected a dataset whose path is UTF-8, got"
      " other bytes; rename it"
    )
  otherwise = (
    "; expected a dataset folder as data_prep.render_synthetic or"
    " data_prep.build_dataset writes it"
  )
  if folder.is_file():
    existing_folder(folder)
  path = existing_file(folder / MANIFEST, otherwise=otherwise)
  try:
    manifest = json.loads(path.read_text())
  except (ValueError, OSError) as error:
    raise UserError(f"{path}: expected JSON, got {error}") from error
  if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
    raise UserError(f'{path}: expected "format": "{FORMAT}"')
  missing = {*_NUMBERS, "splits", "morphable_model"} - manifest.keys()
  if missing:
    raise UserError(f"{path}: expected the keys {', '.join(sorted(missing))}")
  return manifest


def template_of_manifest(manifest: Mapping[str, Any]) -> str:
  """What a dataset's crops are aligned by, of `crop_templates.TEMPLATES`."""
  template = str(manifest.get("template", SPHEREFACE))
  check_choice("template", template, TEMPLATES)
  return template


def open_dataset(
  folder: str | os.PathLike[str],
  split: str,
  *,
  verify: bool = True,
  part: tuple[int, int] = (0, 1),
) -> DatasetSplit:
  """Opens a split and checks what the manifest says of it.

  Args:
    folder: The dataset.
    split: Usually "train" or "heldout".
    verify: Also read every file once, for its checksum. Files of a store are
      checked when they are staged.
    part: Which part of the examples, of how many, is read: only the files that
      have some of them are checked.

  Returns:
    The split.

  Raises:
    UserFileNotFoundError: The folder, manifest or a file of it is missing.
    UserError: There is no such split, or a file's record count or checksum
      is not the manifest's; names the file, expected and got.
  """
  folder = as_path(folder)
  manifest = read_manifest(folder)
  path = folder / MANIFEST
  try:
    splits = manifest["splits"]
    if split not in splits:
      raise UserError(
        f"{path}: expected a split {split!r}, got"
        f" {', '.join(sorted(splits)) or 'none'}"
      )
    about = splits[split]
    counted = sum(entry["num_records"] for entry in about["files"])
    for entry in _files_of_part(about["files"], counted, part):
      if not in_store(folder):
        check_file(folder / entry["name"], entry, verify=verify)
    if counted != about["num_records"]:
      raise UserError(
        f"{path}: expected {about['num_records']} records in {split!r}, its"
        f" files have {counted}"
      )
    model = manifest["morphable_model"]
    check_checksum(folder / MORPHABLE_MODEL, model, verify=verify)
    return DatasetSplit(
      folder=folder,
      name=split,
      contents=tuple(
        SplitFile(folder / entry["name"], entry["num_records"], entry["sha256"])
        for entry in about["files"]
      ),
      num_records=int(about["num_records"]),
      num_people=int(about["num_people"]),
      provenance=dict(model),
      template=template_of_manifest(manifest),
      **{key: int(manifest[key]) for key in _NUMBERS},
    )
  except (KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f"{path}: expected a manifest of {FORMAT!r}, got one without or with"
      f" another {error}"
    ) from error


def _files_of_part(
  files: Sequence[dict[str, Any]], total: int, part: tuple[int, int]
) -> Iterator[dict[str, Any]]:
  """The files that have examples of one of some equal parts."""
  number, parts = part
  wanted = range(number * total // parts, (number + 1) * total // parts)
  first = 0
  for entry in files:
    stop = first + entry["num_records"]
    if max(first, wanted.start) < min(stop, wanted.stop) or parts == 1:
      yield entry
    first = stop


def load_dataset_model(split: DatasetSplit) -> MorphableModel:
  """The 3DMM that a dataset's coefficients belong to.

  Raises:
    UserError: Its sizes are not those of the manifest.
  """
  path = split.folder / MORPHABLE_MODEL
  model = load_morphable_model(path)
  for name, expected, got in (
    ("identity_dim", split.identity_dim, model.identity_dim),
    ("expression_dim", split.expression_dim, model.expression_dim),
    ("num_vertices", split.provenance["num_vertices"], model.num_vertices),
  ):
    if expected != got:
      raise UserError(
        f"{path}: expected {name} {expected} as {MANIFEST} says, got {got}"
      )
  return model


def sha256_of(path: pathlib.Path) -> str:
  """The checksum of a file, in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(
  path: pathlib.Path, entry: dict[str, Any], *, verify: bool
) -> None:
  """Checks an ArrayRecord file against its entry in the manifest.

  Args:
    path: The file.
    entry: Its `num_records` and `sha256`.
    verify: Also read it once, for its checksum.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: Its record count or checksum is another.
  """
  check_checksum(path, entry, verify=verify)
  try:
    reader = ArrayRecordReader(str(path))
    got = reader.num_records()
    reader.close()
  except (ValueError, RuntimeError) as error:
    raise UserError(
      f"{path}: expected an ArrayRecord file ({error})"
    ) from error
  if got != entry["num_records"]:
    raise UserError(
      f"{path}: expected {entry['num_records']} records as {MANIFEST} says,"
      f" got {got}"
    )


def check_checksum(
  path: pathlib.Path, entry: dict[str, Any], *, verify: bool
) -> None:
  """As `check_file`, of any file with a `sha256`."""
  if not path.is_file():
    raise UserFileNotFoundError(
      f"{path}: no such file, but {MANIFEST} names it"
    )
  if verify and (got := sha256_of(path)) != entry["sha256"]:
    raise UserError(
      f"{path}: expected sha256 {entry['sha256']} as {MANIFEST} says, got"
      f" {got}; the file is not the one that was written"
    )
