"""Tiny networks, datasets and phases that the training tests share."""

from collections.abc import Iterator
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.datasets.writer import write_dataset
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.margins import HeadSetting
from disentangle3d.training.batches import TrainBatch, target_basis
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.identification import Moment
from disentangle3d.training.input_pipeline import open_reader
from disentangle3d.training.loop import PhaseInput
from disentangle3d.training.optimizers import Optimizer, OptimizerSetting
from disentangle3d.training.phase_losses import Forward
from disentangle3d.training.phases import MODULES, Phase, phase_of_modules
from disentangle3d.training.records import encode_image
from tests.fixtures import random_morphable_model

MORPHABLE_MODEL = random_morphable_model()
MODEL = FaceModel(
  trunk="tiny", identity_dim=12, residual_dim=5, num_vertices=120
)
NUM_PEOPLE, PHOTOS = 4, 5
ADAM = OptimizerSetting("adam", 1e-3)


def records(
  *, people: int = NUM_PEOPLE, photos: int = PHOTOS, prefix: str = "s"
) -> Iterator[dict[str, Any]]:
  """Noise photos with coefficients, `photos` of each of `people`."""
  rng = np.random.default_rng(people)
  for person in range(people):
    identity = rng.normal(size=12)
    for photo in range(photos):
      yield {
        "image": encode_image(rng.integers(0, 256, (112, 96, 3), np.uint8)),
        "label": person,
        "subject": f"{prefix}{person}",
        "image_id": f"{prefix}{person}/{photo}",
        "identity_coefficients": identity,
        "expression_coefficients": rng.normal(size=5),
        "landmarks": rng.uniform(0, 96, (68, 2)),
        "visibility": np.ones(68),
        "camera_scale": 0.5,
        "camera_rotation": np.eye(3),
        "camera_translation": [48.0, 56.0],
        "crop_from_photo": np.eye(3)[:2],
        "world_seed": 0,
        "world_index": photo,
      }


def write_tiny_dataset(folder: pathlib.Path, **kwargs: Any) -> pathlib.Path:
  """A dataset of 20 photos to train and 4 held out."""
  splits = {
    "train": records(),
    "heldout": records(people=2, photos=2, prefix="h"),
  }
  write_dataset(folder, splits, MORPHABLE_MODEL, {"seed": 0}, **kwargs)
  return folder


def tiny_input(folder: pathlib.Path, *, reshaped: bool = False) -> PhaseInput:
  """What `train_phase` draws on, from the tiny dataset."""
  split = open_dataset(folder, "train")
  return PhaseInput(
    reader=open_reader(split, cache_bytes=1 << 30),
    num_examples=split.num_records,
    num_classes=split.num_classes,
    basis=target_basis(MORPHABLE_MODEL, reshaped=reshaped),
  )


def fake_input() -> PhaseInput:
  """The same without a dataset."""
  return PhaseInput(
    reader=None,
    num_examples=20,
    num_classes=NUM_PEOPLE,
    basis=target_basis(MORPHABLE_MODEL),
  )


def forward_of(params: dict[str, Any], batch: TrainBatch) -> Forward:
  """What losses read of the first step, of one class."""
  return Forward(
    MODEL,
    params,
    batch,
    head=HeadSetting(),
    num_classes=1,
    moment=Moment(jnp.int32(0), jax.random.key(0), None),
  )


def tiny_phases(steps: int = 6, **joint: Any) -> tuple[Phase, ...]:
  """All four, Adam at a small rate, batch 8."""
  shared = {"steps": steps, "batch_size": 8}
  joint = shared | joint
  modules = dict.fromkeys(MODULES, ADAM)
  return (
    phase_of_modules(
      "latents", {"encoder": ADAM}, weights={"latent": 1.0}, **shared
    ),
    decoders_phase(**shared),
    phase_of_modules(
      "joint_recognition",
      modules,
      weights={"reconstruction": 0.5, "identification": 1.0},
      head_sharpness=20.0,
      **joint,
    ),
    phase_of_modules(
      "joint_reconstruction",
      modules,
      weights={"reconstruction": 1.0, "identification": 1.0},
      takes_over=True,
      **joint,
    ),
  )


def decoders_phase(
  optimizer: Optimizer = ADAM, *, examples: Any = "prior", **settings: Any
) -> Phase:
  """Phase II alone."""
  return phase_of_modules(
    "decoders",
    {"decoders": optimizer},
    weights={"identity_decoder": 1.0, "residual_decoder": 1.0},
    examples=examples,
    **settings,
  )
