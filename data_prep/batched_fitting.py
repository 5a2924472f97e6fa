"""Fits any number of subjects with any number of images each, in batches.

Subjects are grouped by their number of images, rounded up to a power of two,
so that a few compiled programs serve all, and batches are bounded in images,
so that memory does not grow with the data.
"""

from collections.abc import Callable, Iterator
import dataclasses
import functools

import jax
from jaxtyping import Bool, Float
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.landmark_fitting import (
  FitOptions,
  FitResult,
  fit_landmarks,
)
from disentangle3d.geometry import Camera
from disentangle3d.types import NUM_LANDMARKS, check_array

# Bounds the memory of a batch: about 10 kB an image.
_MAX_BATCH_IMAGES = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFits:
  """Fits of M images, in the order of the landmarks given; host arrays.

  Attributes:
    identity_coefficients: `[M, I]`, the same for all images of a subject.
    expression_coefficients: `[M, E]`.
    camera: Cameras, `[M]`, in the landmarks' pixels.
    rmse_px: `[M]`.
    converged: Whether the subject's fit met the tolerance, `[M]`.
  """

  identity_coefficients: Float[np.ndarray, "M I"]
  expression_coefficients: Float[np.ndarray, "M E"]
  camera: Camera
  rmse_px: Float[np.ndarray, "M"]
  converged: Bool[np.ndarray, "M"]


def fit_subjects(
  model: MorphableModel,
  landmarks: Float[np.ndarray, "M 68 2"],
  visibility: Float[np.ndarray, "M 68"],
  subjects: np.ndarray,
  *,
  options: FitOptions,
  batch_subjects: int = 64,
  progress: Callable[[int], None] | None = None,
) -> ImageFits:
  """Fits every subject to all its images.

  Args:
    model: What to fit.
    landmarks: `[M, 68, 2]`, pixels.
    visibility: `[M, 68]`; an image without any visible landmark gets zeros.
    subjects: Who is in each image, `[M]`: numbers or names, in any order.
    options: Of `fit_landmarks`.
    batch_subjects: At most so many subjects at a time.
    progress: Called after each batch with the number of images in it.

  Returns:
    The fits.

  Raises:
    ValueError: Shapes disagree, there is no image, or `batch_subjects` is no
      positive number.
    TypeError: `landmarks` is not floating point.
  """
  sizes = check_array("landmarks", landmarks, f"M {NUM_LANDMARKS} 2")
  check_array(
    "visibility", visibility, f"M {NUM_LANDMARKS}", dtype="any", sizes=sizes
  )
  subjects = np.asarray(subjects)
  count = len(landmarks)
  if subjects.shape != (count,) or not count:
    raise ValueError(
      f"subjects: expected shape [{count}], one of each of at least one"
      f" image, got {list(subjects.shape)}"
    )
  if batch_subjects < 1:
    raise ValueError(
      f"batch_subjects: expected 1 or more, got {batch_subjects}"
    )
  landmarks = np.asarray(landmarks, np.float32)
  visibility = np.asarray(visibility, np.float32)
  small = landmarks_only(model)
  fits = _empty_fits(count, model)
  for places in image_batches(subjects, batch_subjects=batch_subjects):
    used = places >= 0
    result = jax.device_get(
      _fit_batch(
        small,
        landmarks[places],
        np.where(used[..., None], visibility[places], 0),
        options=options,
      )
    )
    _store(fits, result, places, used)
    if progress is not None:
      progress(int(used.sum()))
  return fits


def image_batches(
  subjects: np.ndarray, *, batch_subjects: int
) -> Iterator[np.ndarray]:
  """Which images go into which batch.

  Args:
    subjects: Who is in each image, `[M]`.
    batch_subjects: At most so many subjects a batch.

  Yields:
    Places of images, `[S, N]`, -1 for padding, every place in exactly one
    batch, all of a subject's in one row. N is a power of two; all batches with
    the same N have the same S.
  """
  _, owner, sizes = np.unique(subjects, return_inverse=True, return_counts=True)
  by_owner = np.split(np.argsort(owner, kind="stable"), np.cumsum(sizes)[:-1])
  buckets: dict[int, list[np.ndarray]] = {}
  for places in by_owner:
    buckets.setdefault(_power_of_two(len(places)), []).append(places)
  for width in sorted(buckets):
    members = buckets[width]
    rows = min(
      batch_subjects,
      max(1, _MAX_BATCH_IMAGES // width),
      _power_of_two(len(members)),
    )
    for start in range(0, len(members), rows):
      batch = np.full((rows, width), -1)
      for row, places in enumerate(members[start : start + rows]):
        batch[row, : len(places)] = places
      yield batch


def landmarks_only(model: MorphableModel) -> MorphableModel:
  """A model of the landmarks alone, small enough to pass around."""
  vertices = np.asarray(model.landmark_vertices)
  kept = np.maximum(vertices, 0)
  return MorphableModel(
    mean_shape=np.asarray(model.mean_shape[kept]),
    identity_basis=np.asarray(model.identity_basis[kept]),
    expression_basis=np.asarray(model.expression_basis[kept]),
    triangles=np.zeros((0, 3), np.int32),
    landmark_vertices=np.where(
      vertices >= 0, np.arange(len(vertices)), -1
    ).astype(np.int32),
  )


@functools.partial(jax.jit, static_argnames="options")
def _fit_batch(
  model: MorphableModel,
  landmarks: jax.Array,
  visibility: jax.Array,
  *,
  options: FitOptions,
) -> FitResult:
  return fit_landmarks(model, landmarks, visibility, options=options)


def _empty_fits(count: int, model: MorphableModel) -> ImageFits:
  def zeros(*shape: int) -> np.ndarray:
    return np.zeros((count, *shape), np.float32)

  return ImageFits(
    identity_coefficients=zeros(model.identity_dim),
    expression_coefficients=zeros(model.expression_dim),
    camera=Camera(scale=zeros(), rotation=zeros(3, 3), translation=zeros(2)),
    rmse_px=zeros(),
    converged=np.zeros(count, bool),
  )


def _store(
  fits: ImageFits, result: FitResult, places: np.ndarray, used: np.ndarray
) -> None:
  """Writes a batch's results to the images' places."""
  where = places[used]
  subject = np.nonzero(used)[0]
  fits.identity_coefficients[where] = result.identity_coefficients[subject]
  fits.expression_coefficients[where] = result.expression_coefficients[used]
  for field in ("scale", "rotation", "translation"):
    getattr(fits.camera, field)[where] = getattr(result.camera, field)[used]
  fits.rmse_px[where] = result.rmse_px[used]
  fits.converged[where] = result.converged[subject]


def _power_of_two(number: int) -> int:
  return 1 << (number - 1).bit_length()
