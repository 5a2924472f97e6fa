"""What a synthetic set of photos is made of, and its photos on the host."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.evaluation.rows import in_batches
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
  truncate_modes,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.skins import skins_for
from disentangle3d.faces.synthetic import (
  SyntheticPhotos,
  render_photos,
  true_coefficients,
)
from disentangle3d.faces.synthetic_world import SyntheticWorld, synthetic_world
from disentangle3d.fitting.batched_fitting import (
  FitModel,
  ImageFits,
  fit_model,
  fit_subjects,
)
from disentangle3d.fitting.batches import BatchShape
from disentangle3d.fitting.calibration_choice import NONE, calibrated_model
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.training.dataset import MANIFEST
from disentangle3d.types import (
  IDENTITY_DIM,
  NUM_VERTICES,
  RESIDUAL_DIM,
  UserError,
  check_choice,
)

# The procedural world has this many modes beyond its fitter's.
_MORE_IDENTITY_MODES = 61
_MORE_EXPRESSION_MODES = 15
# Whose shipped calibration "auto" takes.
_DETECTORS = ("dlib 68",)
LABELS = ("fitted", "true")
_RENDER_BATCH, _ACCELERATOR_RENDER_BATCH = 16, 256


@dataclasses.dataclass(frozen=True)
class SyntheticSet:
  """What a synthetic dataset is made of; stored in its manifest.

  Attributes:
    people: In the split train.
    photos_per_person: Of those.
    heldout_people: In the split heldout.
    heldout_photos_per_person: Of those.
    seed: Of everything random.
    albedo: See `synthetic_world`.
    jaw: Same.
    landmark_noise_px: Same.
    landmark_calibration: Whose `detector` reports the landmarks, and what the
      fitter goes by: "none", or as `calibrated_model` takes it, "auto" being
      the model's own or the one that ships for dlib.
    skins: Whose skins faces wear, as `skins_for` takes it.
    labels: What networks are taught, "fitted" to the landmarks of all photos
      of a person, or the "true" coefficients of the fitter's modes.
    template: What crops are aligned by, see `synthetic_world`.
    yaw_distribution: See `synthetic_world`.
    morphable_model: An `.npz`, of which the fitter gets the first modes; None
      takes the procedural face, with more modes than the fitter gets.
    num_vertices: Of the procedural face.
    identity_modes: The fitter's I; None is all an `.npz` has, or 199.
    expression_modes: The fitter's E; None is all an `.npz` has, or 29.
  """

  people: int = 1000
  photos_per_person: int = 8
  heldout_people: int = 40
  heldout_photos_per_person: int = 10
  seed: int = 0
  albedo: str = "per_person"
  jaw: str = "visible_contour"
  landmark_noise_px: float = 1.0
  landmark_calibration: str = NONE
  skins: str = NONE
  labels: str = "fitted"
  template: str = SPHEREFACE
  yaw_distribution: str = "mixed"
  morphable_model: str | None = None
  num_vertices: int = NUM_VERTICES
  identity_modes: int | None = None
  expression_modes: int | None = None

  def __post_init__(self):
    check_choice("labels", self.labels, LABELS)
    for name in (
      "people",
      "photos_per_person",
      "heldout_people",
      "heldout_photos_per_person",
    ):
      if getattr(self, name) < 1:
        raise UserError(
          f"{name}: expected at least 1, got {getattr(self, name)}"
        )


@dataclasses.dataclass(frozen=True)
class SplitPlan:
  """The photos of one split: consecutive people of one world."""

  first_person: int
  people: int
  photos_per_person: int

  def indices(self, start: int = 0, stop: int | None = None) -> np.ndarray:
    """The photos' numbers of the split's people start to stop - 1."""
    stop = self.people if stop is None else min(stop, self.people)
    first = (self.first_person + start) * self.photos_per_person
    last = (self.first_person + stop) * self.photos_per_person
    return np.arange(first, last, dtype=np.int32)


def split_plans(settings: SyntheticSet) -> dict[str, SplitPlan]:
  """Who is in which split."""
  return {
    "train": SplitPlan(0, settings.people, settings.photos_per_person),
    "heldout": SplitPlan(
      settings.people,
      settings.heldout_people,
      settings.heldout_photos_per_person,
    ),
  }


def world_of(settings: SyntheticSet) -> tuple[SyntheticWorld, MorphableModel]:
  """The world of a set, and the model of its fitter.

  Raises:
    UserError: A setting is out of range, or the `.npz` is not a model.
    UserFileNotFoundError: There is no such `.npz`.
  """
  if settings.morphable_model is None:
    identity = settings.identity_modes or IDENTITY_DIM
    expression = settings.expression_modes or RESIDUAL_DIM
    model = procedural_face_model(
      num_vertices=settings.num_vertices,
      identity_dim=identity + _MORE_IDENTITY_MODES,
      expression_dim=expression + _MORE_EXPRESSION_MODES,
    )
  else:
    model = load_morphable_model(settings.morphable_model)
    identity = settings.identity_modes or model.identity_dim
    expression = settings.expression_modes or model.expression_dim
  model = calibrated_model(
    model, settings.landmark_calibration, detectors=_DETECTORS
  )
  world = synthetic_world(
    model,
    detector=model.landmark_calibration,
    skins=skins_for(model, settings.skins),
    albedo=settings.albedo,
    jaw=settings.jaw,
    landmark_noise_px=settings.landmark_noise_px,
    photos_per_person=settings.photos_per_person,
    template=settings.template,
    yaw_distribution=settings.yaw_distribution,
  )
  return world, truncate_modes(model, identity, expression)


def fit_labels(
  fitter: FitModel,
  landmarks: Float[Array | np.ndarray, "M 68 2"],
  visibility: Float[Array | np.ndarray, "M 68"],
  people: Int[Array | np.ndarray, "M"],
  *,
  shapes: Sequence[BatchShape] | None = None,
  progress: Callable[[int], None] | None = None,
) -> ImageFits:
  """Fits every person to all their photos: what networks are taught.

  Args:
    fitter: From `label_model`.
    landmarks: As `fit_subjects` takes them.
    visibility: Same.
    people: Who is in each photo.
    shapes: Same.
    progress: Same.
  """
  return fit_subjects(
    fitter,
    np.asarray(landmarks),
    np.asarray(visibility),
    np.asarray(people),
    # What the landmarks were drawn with is no guess.
    options=FitOptions(noise="calibrated"),
    shapes=shapes,
    visible_contour=np.full(len(people), fitter.contour is not None),
    progress=progress,
  )


def true_labels(
  world: SyntheticWorld,
  seed: int,
  indices: Int[np.ndarray, "M"],
  photos: SyntheticPhotos,
  fitter: MorphableModel,
) -> ImageFits:
  """What the fitter's modes were given to make each photo.

  Args:
    world: What the photos were made in.
    seed: Same.
    indices: The photos' numbers.
    photos: Themselves: their true cameras.
    fitter: Whose modes, the first of the world's.
  """
  identity, expression = in_batches(
    lambda batch: _true_coefficients(world, jnp.uint32(seed), batch),
    indices,
    render_batch(),
  )
  count = len(indices)
  return ImageFits(
    identity_coefficients=identity[:, : fitter.identity_dim],
    expression_coefficients=expression[:, : fitter.expression_dim],
    camera=photos.camera,
    rmse_px=np.zeros(count, np.float32),
    relative_error=np.zeros(count, np.float32),
    outliers=np.zeros(count, np.int32),
    converged=np.ones(count, bool),
    rejected=np.zeros(count, bool),
  )


def label_model(fitter: MorphableModel, jaw: str) -> FitModel:
  """What `fit_labels` reads of a fitter's model.

  Args:
    fitter: The whole model.
    jaw: The world's: contour vertices follow the silhouette if landmarks do.
  """
  return fit_model(fitter, moving_contour=jaw == "visible_contour")


def render_batch() -> int:
  """How many photos to render at a time on JAX's default backend."""
  on_cpu = jax.default_backend() == "cpu"
  return _RENDER_BATCH if on_cpu else _ACCELERATOR_RENDER_BATCH


_true_coefficients = jax.jit(true_coefficients)


@jax.jit
def photos_without_shapes(
  world: SyntheticWorld, seed: jax.Array, indices: jax.Array
) -> SyntheticPhotos:
  """Photos on the device; their shapes, which are large, are not made."""
  none = jnp.zeros((len(indices), 0, 3), jnp.float32)
  photos = render_photos(world, seed, indices)
  return photos.replace(shape=none, identity_shape=none)


def photos_of(
  world: SyntheticWorld, seed: int, indices: np.ndarray
) -> SyntheticPhotos:
  """Photos on the host, without their shapes; one program for any number."""
  return in_batches(
    lambda batch: photos_without_shapes(world, jnp.uint32(seed), batch),
    indices,
    render_batch(),
  )


def is_synthetic(manifest: Mapping[str, Any]) -> bool:
  """Whether a dataset is of data_prep.render_synthetic."""
  return "synthetic" in manifest.get("created", {}).get("settings", {})


def settings_of(
  manifest: Mapping[str, Any], dataset: str | os.PathLike[str]
) -> SyntheticSet:
  """What a synthetic dataset was made of.

  Raises:
    UserError: It is a dataset of photographs, or of another version.
  """
  try:
    return SyntheticSet(**manifest["created"]["settings"]["synthetic"])
  except (KeyError, TypeError) as error:
    raise UserError(
      f"{os.path.join(dataset, MANIFEST)}: expected a dataset of"
      f" data_prep.render_synthetic, got another ({error})"
    ) from error
