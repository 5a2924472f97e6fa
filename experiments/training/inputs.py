"""From a ConfigDict to the network and the examples it describes."""

from collections.abc import Sequence
import functools
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet, settings_of, world_of
from data_prep.stages.flag_words import expand
from disentangle3d.crop_templates import TEMPLATES
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network.face_model import FaceModel
from disentangle3d.training.batches import target_basis
from disentangle3d.training.dataset import (
  DatasetSplit,
  load_dataset_model,
  open_dataset,
  read_manifest,
)
from disentangle3d.training.export import abstract_params
from disentangle3d.training.input_pipeline import RecordReader, open_reader
from disentangle3d.training.loop import PhaseInput
from disentangle3d.training.rendered import (
  FittedPhotos,
  RenderedExamples,
  rendered_again,
  rendered_examples,
)
from disentangle3d.training.resident import resident_examples
from disentangle3d.training.staging import Staging
from disentangle3d.types import UserError, check_choice
from experiments.training import features
from experiments.training.mixed import mixed
from experiments.training.phases import phases_of

KINDS = ("grain", "device_resident", features.KIND, "synthetic")
# Whose examples are read, not held by the step.
_MIXABLE = ("grain", features.KIND)
_MIB = 1 << 20
_RECORDS_A_TURN = 1024


def face_model_of(config: ConfigDict) -> FaceModel:
  """The network of a config; its dtype by the backend where that is None.

  Raises:
    UserError: `config.model` has a field that FaceModel has not, or names
      no preset.
  """
  settings = config.model.to_dict()
  if settings.get("dtype") is None:
    on_cpu = jax.default_backend() == "cpu"
    settings["dtype"] = "float32" if on_cpu else "bfloat16"
  try:
    model = FaceModel(**settings)
  except TypeError as error:
    raise UserError(f"config.model: {error}") from error
  for name in ("identity_dim", "residual_dim", "num_vertices"):
    if not getattr(model, name) >= 1:
      raise UserError(
        f"config.model.{name}: expected at least 1, got {getattr(model, name)}"
      )
  check_choice("config.model.template", model.template, TEMPLATES)
  try:
    abstract_params(model)
  except ValueError as error:
    raise UserError(f"config.model.{error}") from error
  except TypeError as error:
    raise UserError(f"config.model.dtype: {error}") from error
  return model


def open_input(
  config: ConfigDict, devices: Sequence[jax.Device]
) -> tuple[PhaseInput, MorphableModel]:
  """The examples of a config, and the 3DMM of their coefficients.

  Args:
    config: See `experiments/configs/default.py`.
    devices: What trains.

  Returns:
    What `run_phases` takes; without a dataset's phase only numbers.

  Raises:
    UserError: `config.examples.kind` is no choice, the dataset is missing or
      damaged, or its sizes are not the network's.
    UserFileNotFoundError: The dataset is not there.
  """
  examples = config.examples
  _check_examples(examples)
  model = face_model_of(config)
  needy = [p.name for p in phases_of(config) if p.examples == "dataset"]
  if needy and not examples.path and examples.kind == "synthetic":
    return _people_of_config(config, model, devices)
  if needy and not examples.path:
    raise UserError(
      "config.examples.path: expected a dataset folder for"
      f" {', '.join(needy)}, got none; give --config.examples.path"
    )
  if needy:
    return _dataset_of_config(config, model, devices)
  morphable_model = procedural_face_model(
    num_vertices=model.num_vertices,
    identity_dim=model.identity_dim,
    expression_dim=model.residual_dim,
  )
  phase_input = _phase_input(
    config, morphable_model, examples.num_examples, examples.num_classes
  )
  return phase_input, morphable_model


def _check_examples(examples: ConfigDict) -> None:
  kind = examples.kind
  if kind not in KINDS:
    raise UserError(
      f"config.examples.kind: expected one of {', '.join(KINDS)}, got {kind}"
    )
  for name in ("mixed_in", "centre_identities"):
    if examples[name] and kind not in _MIXABLE:
      raise UserError(
        f"config.examples.{name}: expected with config.examples.kind"
        f" {' or '.join(_MIXABLE)}, got {kind}"
      )
  for name in ("num_examples", "num_classes"):
    if not examples[name] >= 1:
      raise UserError(
        f"config.examples.{name}: expected at least 1, got {examples[name]}"
      )


def _dataset_of_config(
  config: ConfigDict, model: FaceModel, devices: Sequence[jax.Device]
) -> tuple[PhaseInput, MorphableModel]:
  examples = config.examples
  split = open_dataset(
    expand(examples.path),
    "train",
    verify=examples.verify_checksums,
    part=own_part(examples),
  )
  morphable_model = load_dataset_model(split)
  _check_sizes(model, split, morphable_model)
  _check_template(model, split)
  sources: dict[str, Any] = {}
  num_examples, num_classes = split.num_records, split.num_classes
  match examples.kind:
    case "grain":
      read = functools.partial(
        open_reader,
        cache_bytes=examples.cache_mib * _MIB,
        staging=staging_of(examples),
      )
      reader, num_classes = mixed(config, split, read(split), read)
      sources["reader"], num_examples = reader, len(reader)
      sources["lanes"] = examples.lanes
    case features.KIND:
      reader, num_classes = features.open_features(config, split, model)
      sources["reader"], num_examples = reader, len(reader)
    case "device_resident":
      sources["held"] = resident_examples(RecordReader(split), devices=devices)
    case _:
      sources["held"] = _photos_of_dataset(split, devices)
  phase_input = _phase_input(
    config, morphable_model, num_examples, num_classes, **sources
  )
  return phase_input, morphable_model


def own_part(examples: ConfigDict) -> tuple[int, int]:
  """Which part of the examples this process reads, of how many."""
  processes = jax.process_count()
  whole = examples.mixed_in or examples.centre_identities
  if examples.kind == "grain" and examples.lanes % processes == 0 and not whole:
    return jax.process_index(), processes
  return 0, 1


def staging_of(examples: ConfigDict) -> Staging:
  """Where the files of a dataset in a store are copied to."""
  folder = examples.staging_folder
  return Staging(
    expand(folder) if folder else None, most_bytes=examples.staging_gib << 30
  )


def _phase_input(
  config: ConfigDict,
  morphable_model: MorphableModel,
  num_examples: int,
  num_classes: int,
  **sources: Any,
) -> PhaseInput:
  # Phases on the prior or on noise mirror nothing.
  mirrored = bool(sources) and config.augmentation.flip > 0
  reshaped = bool(sources) and any(
    phase.augmentation.changes_shapes for phase in phases_of(config)
  )
  basis = target_basis(
    morphable_model,
    mirrored=mirrored,
    reshaped=reshaped,
    template=config.model.template,
  )
  return PhaseInput(
    num_examples=num_examples,
    num_classes=num_classes,
    basis=jax.tree.map(np.asarray, basis),
    **{"reader": None} | sources,
  )


def _check_sizes(
  model: FaceModel, split: DatasetSplit, morphable_model: MorphableModel
) -> None:
  for name, got, expected in (
    ("identity_dim", model.identity_dim, split.identity_dim),
    ("residual_dim", model.residual_dim, split.expression_dim),
    ("num_vertices", model.num_vertices, morphable_model.num_vertices),
  ):
    if got != expected:
      raise UserError(
        f"config.model.{name}: expected {expected} as the 3DMM of the dataset"
        f" {split.folder} has, got {got}"
      )


def _check_template(model: FaceModel, split: DatasetSplit) -> None:
  if model.template != split.template:
    raise UserError(
      f"config.model.template: expected {split.template!r}, by which the crops"
      f" of the dataset {split.folder} are aligned, got {model.template!r}"
    )


def _people_of_config(
  config: ConfigDict, model: FaceModel, devices: Sequence[jax.Device]
) -> tuple[PhaseInput, MorphableModel]:
  """People of the procedural world who are on no disk."""
  settings = SyntheticSet(
    people=config.examples.people,
    photos_per_person=config.examples.photos_per_person,
    seed=config.examples.world_seed,
    num_vertices=model.num_vertices,
    identity_modes=model.identity_dim,
    expression_modes=model.residual_dim,
    template=model.template,
  )
  world, morphable_model = world_of(settings)
  held = rendered_examples(
    world,
    settings.seed,
    num_people=settings.people,
    identity_dim=model.identity_dim,
    expression_dim=model.residual_dim,
    devices=devices,
  )
  return (
    _phase_input(
      config, morphable_model, len(held), settings.people, held=held
    ),
    morphable_model,
  )


def _photos_of_dataset(
  split: DatasetSplit, devices: Sequence[jax.Device]
) -> RenderedExamples:
  """A synthetic dataset's photos, rendered again, and its coefficients."""
  settings = settings_of(read_manifest(split.folder), split.folder)
  world, _ = world_of(settings)
  reader = RecordReader(split)
  records = [
    {
      name: record[name]
      for name in (
        "world_index",
        "label",
        "identity_coefficients",
        "expression_coefficients",
      )
    }
    for first in range(0, len(reader), _RECORDS_A_TURN)
    for record in reader.read_records(
      range(first, min(first + _RECORDS_A_TURN, len(reader)))
    )
  ]

  def column(name: str, dtype: Any) -> np.ndarray:
    return np.array([record[name] for record in records], dtype)

  return rendered_again(
    world,
    settings.seed,
    FittedPhotos(
      photo=column("world_index", np.int32),
      label=column("label", np.int32),
      identity_coefficients=column("identity_coefficients", np.float32),
      expression_coefficients=column("expression_coefficients", np.float32),
    ),
    devices=devices,
  )
