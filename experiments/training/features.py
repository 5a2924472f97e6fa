"""A dataset's examples as the features of a trunk that stands still."""

import hashlib
import pathlib

from ml_collections import ConfigDict
import numpy as np

from data_prep.stages.flag_words import expand
from data_prep.stages.progress import progress
from disentangle3d.input_files import read_npz
from disentangle3d.network.face_model import FaceModel
from disentangle3d.output_files import replace_npz
from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.dataset import DatasetSplit
from disentangle3d.training.export import load_network
from disentangle3d.training.input_pipeline import (
  ExampleReader,
  MemoryReader,
  RecordReader,
)
from disentangle3d.training.phases import trunk_stands_still
from disentangle3d.training.processes import is_first_process
from disentangle3d.training.trunk_features import (
  features_of_examples,
  trunk_digest,
)
from disentangle3d.types import UserError
from experiments.training.mixed import mixed
from experiments.training.phases import phases_of

KIND = "trunk_features"
_RECORDS_A_TURN = 1024
_PLAIN, _MIRRORED, _DIGEST = "feature", "mirrored_feature", "sha256"


def open_features(
  config: ConfigDict, split: DatasetSplit, model: FaceModel
) -> tuple[ExampleReader, int]:
  """The examples of a split with features in place of crops.

  Those of mirrored crops are there where faces are flipped. They come from
  `config.examples.features_file`, which is written where it is not there.
  `mixed` says what else is among them.

  Args:
    config: See `experiments/configs/default.py`; its `init_from` has the
      trunk.
    split: The dataset's.
    model: The network.

  Returns:
    A reader, all in memory: `[n, F]`, twice if mirrored, float32, float16
    where codes see the map behind them; and K, the number of classes.

  Raises:
    UserError: A phase trains the trunk or changes crops otherwise than by
      flips, there is no `init_from` or it has another trunk, or the file is
      of other crops or another trunk.
    UserFileNotFoundError: `init_from` has no export, or a dataset is gone.
  """
  _check(config)
  start = load_network(expand(config.init_from))
  if start.model.trunk != model.trunk:
    raise UserError(
      f"config.init_from: expected the trunk {model.trunk}, got"
      f" {start.model.trunk}"
    )
  trunk = start.params["encoder"]["trunk"]
  reader = RecordReader(split)
  examples, crops_digest = _without_crops(reader, split)
  digest = f"{trunk_digest(trunk, model)} {crops_digest}"
  path = config.examples.features_file
  path = pathlib.Path(expand(path)) if path else None
  needed = [_PLAIN, *([_MIRRORED] if config.augmentation.flip else [])]
  features = _kept(path, digest)
  for name in needed:
    if name in features:
      continue
    with progress(f"{name}s", total=len(reader), unit="crop") as update:
      features[name] = features_of_examples(
        reader, trunk, model=model, mirrored=name == _MIRRORED, progress=update
      )
    if path and is_first_process():
      path.parent.mkdir(parents=True, exist_ok=True)
      replace_npz(path, {**features, _DIGEST: np.array(digest)})
  examples = examples.replace(**{name: features[name] for name in needed})

  def read_others(others: DatasetSplit) -> MemoryReader:
    rows = RecordReader(others)
    made = {
      name: features_of_examples(
        rows, trunk, model=model, mirrored=name == _MIRRORED
      )
      for name in needed
    }
    return MemoryReader(_without_crops(rows, others)[0].replace(**made))

  return mixed(config, split, MemoryReader(examples), read_others)


def _check(config: ConfigDict) -> None:
  moving = [
    phase.name
    for phase in phases_of(config)
    if phase.examples == "dataset" and not trunk_stands_still(phase)
  ]
  if moving:
    raise UserError(
      f"config.examples.kind: {KIND} is for a trunk that stands still;"
      f" {', '.join(moving)} trains it: give"
      f" config.phases.{moving[0]}.optimizers.encoder.trunk_factor=0"
    )
  if not config.init_from:
    raise UserError(
      f"config.init_from: expected with config.examples.kind {KIND} a network"
      " whose trunk stands still, got none"
    )
  for phase in phases_of(config):
    if not phase.augmentation.only_flips:
      raise UserError(
        f"config.augmentation: expected flips only with config.examples.kind"
        f" {KIND}"
      )


def _without_crops(
  reader: RecordReader, split: DatasetSplit
) -> tuple[TrainBatch, str]:
  """Labels and coefficients of all examples, and what stands for the crops."""
  digest = hashlib.sha256()
  columns: dict[str, list[np.ndarray]] = {
    name: []
    for name in ("label", "identity_coefficients", "expression_coefficients")
  }
  for first in range(0, len(reader), _RECORDS_A_TURN):
    rows = range(first, min(first + _RECORDS_A_TURN, len(reader)))
    # Checks the records.
    reader.read_targets(rows)
    for record in reader.read_records(rows):
      digest.update(hashlib.sha256(record["image"]).digest())
      for name, column in columns.items():
        column.append(record[name])
  return (
    TrainBatch(
      position=None,
      label=np.array(columns["label"], np.int32),
      identity_coefficients=np.array(
        columns["identity_coefficients"], np.float32
      ).reshape(-1, split.identity_dim),
      expression_coefficients=np.array(
        columns["expression_coefficients"], np.float32
      ).reshape(-1, split.expression_dim),
    ),
    digest.hexdigest(),
  )


def _kept(path: pathlib.Path | None, digest: str) -> dict[str, np.ndarray]:
  """What a file has; nothing where there is none."""
  if path is None or not path.exists():
    return {}
  content = read_npz(path, "a file of features", names=(_DIGEST,))
  if str(content.pop(_DIGEST)) != digest:
    raise UserError(
      f"{path}: expected features of these crops by this trunk, with its map"
      " where config.model sees that, got others; give another"
      " config.examples.features_file, or remove it"
    )
  return content
