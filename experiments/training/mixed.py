"""A dataset's examples with those of another among them."""

from collections.abc import Callable

from ml_collections import ConfigDict

from data_prep.stages.flag_words import expand
from disentangle3d.training.dataset import (
  DatasetSplit,
  load_dataset_model,
  open_dataset,
)
from disentangle3d.training.input_pipeline import ExampleReader
from disentangle3d.training.mixing import CentredReader, JoinedReader
from disentangle3d.types import UserError


def mixed(
  config: ConfigDict,
  split: DatasetSplit,
  reader: ExampleReader,
  read_others: Callable[[DatasetSplit], ExampleReader],
) -> tuple[ExampleReader, int]:
  """What `config.examples` says is done to a split's examples.

  Args:
    config: `examples.centre_identities`, `mixed_in` and `mixed_in_repeat` are
      read.
    split: The dataset's.
    reader: Its examples.
    read_others: Opens those of the dataset to mix in.

  Returns:
    A reader, and K, the number of classes: the others' people come behind the
    dataset's own.

  Raises:
    UserError: The other dataset has another template or 3DMM.
    UserFileNotFoundError: It is not there.
  """
  examples = config.examples
  if examples.centre_identities:
    reader = CentredReader(reader)
  if not examples.mixed_in:
    return reader, split.num_classes
  others = _others(config, split)
  joined = JoinedReader(
    reader,
    read_others(others),
    first_label=split.num_classes,
    repeat=examples.mixed_in_repeat,
  )
  return joined, split.num_classes + others.num_classes


def _others(config: ConfigDict, split: DatasetSplit) -> DatasetSplit:
  """The dataset to mix in, which must be of the other's 3DMM."""
  examples = config.examples
  if not examples.mixed_in_repeat >= 1:
    raise UserError(
      "config.examples.mixed_in_repeat: expected at least 1, got"
      f" {examples.mixed_in_repeat}"
    )
  others = open_dataset(
    expand(examples.mixed_in), "train", verify=examples.verify_checksums
  )
  if others.template != split.template:
    raise UserError(
      f"config.examples.mixed_in: expected crops of the template"
      f" {split.template!r}, as the dataset's are, got {others.template!r}"
    )
  wanted, got = (load_dataset_model(one).name for one in (split, others))
  if got != wanted:
    raise UserError(
      f"config.examples.mixed_in: {others.folder}: expected coefficients of"
      f" {wanted!r}, got {got!r}"
    )
  return others
