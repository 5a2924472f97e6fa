"""Fits any number of subjects with any number of images each, in batches."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import Bool, Float, Int
import numpy as np

from disentangle3d.faces.morphable_model import (
  MorphableModel,
  identity_calibration,
)
from disentangle3d.fitting.batches import (
  BATCH_IMAGES,
  IMAGES_A_PROGRAM,
  BatchShape,
  image_batches,
  plan_batches,
)
from disentangle3d.fitting.contour import jaw_contour
from disentangle3d.fitting.landmark_fitting import (
  FitOptions,
  FitResult,
  fit_landmarks,
)
from disentangle3d.fitting.model_points import model_points
from disentangle3d.geometry import Camera
from disentangle3d.types import NUM_CONTOUR, NUM_LANDMARKS, check_array

# Beyond 110 degrees from the front: as a mirrored photo is fitted.
_FACING_AWAY = -0.34
# An accelerator holds more images, and fits some 100,000 of them a second
# where its compiler takes ten seconds or more for a program.
_ACCELERATOR_BATCH_IMAGES, _ACCELERATOR_IMAGES_A_PROGRAM = 65_536, 2_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFits:
  """Fits of M images, in the order of the landmarks given; host arrays.

  Attributes:
    identity_coefficients: `[M, I]`, the same for all images of a subject.
    expression_coefficients: `[M, E]`.
    camera: Cameras, `[M]`, in the landmarks' pixels.
    rmse_px: `[M]`.
    relative_error: See `FitResult`, `[M]`.
    outliers: How many of the landmarks are, `[M]` int32.
    converged: Whether the subject's fit met the tolerance, `[M]`.
    rejected: Whether the fit is not to be trusted, `[M]`; the subject's other
      images were then fitted without this one.
  """

  identity_coefficients: Float[np.ndarray, "M I"]
  expression_coefficients: Float[np.ndarray, "M E"]
  camera: Camera
  rmse_px: Float[np.ndarray, "M"]
  relative_error: Float[np.ndarray, "M"]
  outliers: Int[np.ndarray, "M"]
  converged: Bool[np.ndarray, "M"]
  rejected: Bool[np.ndarray, "M"]


@dataclasses.dataclass(frozen=True)
class FitModel:
  """A model cut to what a fit reads; `fit_model` makes one.

  Attributes:
    model: The landmarks, and the contour's candidates, alone.
    contour: From `jaw_contour`, in the cut model's numbers, or None.
  """

  model: MorphableModel
  contour: Int[np.ndarray, "17 C"] | None


def fit_model(model: MorphableModel, *, moving_contour: bool) -> FitModel:
  """Cuts a model to its landmarks, so that it is small to pass around.

  Args:
    model: The whole model.
    moving_contour: Whether contours may follow the silhouette, which needs
      candidates for them.
  """
  curves = jaw_contour(model) if moving_contour else None
  points = jax.device_get(model_points(model, curves))
  order = np.arange(NUM_LANDMARKS)
  if curves is not None:
    others = np.arange(NUM_LANDMARKS, len(points.mask))
    first, rest = order[:NUM_CONTOUR, None], others.reshape(NUM_CONTOUR, -1)
    order = np.concatenate([order, np.hstack([first, rest]).ravel()])
  numbers = np.where(points.mask[order] > 0, np.arange(len(order)), -1)
  own, candidates = np.split(numbers.astype(np.int32), [NUM_LANDMARKS])
  small = MorphableModel(
    mean_shape=points.mean[order],
    identity_basis=points.identity[order],
    expression_basis=points.expression[order],
    triangles=np.zeros((0, 3), np.int32),
    landmark_vertices=own,
  )
  calibration = model.landmark_calibration
  if calibration is not None:
    # The points are in the right places: what is left of it is the noise.
    same = identity_calibration(small)
    calibration = calibration.replace(
      triangle_vertices=same.triangle_vertices,
      weights=same.weights,
      offset_mm=same.offset_mm,
    )
    small = small.replace(landmark_calibration=calibration)
  if curves is not None:
    curves = candidates.reshape(NUM_CONTOUR, -1)
  return FitModel(small, curves)


def fit_subjects(
  model: MorphableModel | FitModel,
  landmarks: Float[np.ndarray, "M 68 2"],
  visibility: Float[np.ndarray, "M 68"],
  subjects: np.ndarray,
  *,
  options: FitOptions,
  shapes: Sequence[BatchShape] | None = None,
  visible_contour: Bool[np.ndarray, "M"] | None = None,
  identity_mean: Float[np.ndarray, "M I"] | None = None,
  expression_mean: Float[np.ndarray, "M E"] | None = None,
  max_relative_error: float | None = None,
  progress: Callable[[int], object] | None = None,
) -> ImageFits:
  """Fits every subject to all its images.

  Args:
    model: What to fit.
    landmarks: `[M, 68, 2]`, pixels.
    visibility: `[M, 68]`; an image without any visible landmark gets zeros.
    subjects: Who is in each image, `[M]`: numbers or names, in any order.
    options: Of `fit_landmarks`.
    shapes: Sizes of batches; None plans for these subjects (`device_plan`).
    visible_contour: Which images' contours follow the silhouette, `[M]`; needs
      a `FitModel` with contours. None is none.
    identity_mean: Of the identity's prior by each image, `[M, I]`, see
      `fit_landmarks`; a subject has the mean of its images'.
    expression_mean: Of the expressions' prior, `[M, E]`.
    max_relative_error: Rejects images beyond it, faces that look away, and
      images more than half of whose landmarks are outliers, and fits the
      subject again without them. None rejects nothing.
    progress: Called after each batch with the number of images in it.

  Returns:
    The fits.

  Raises:
    ValueError: Shapes disagree, there is no image, or a contour is to move
      that the model has no candidates for.
    TypeError: `landmarks` is not floating point.
  """
  small = model
  if isinstance(small, MorphableModel):
    small = fit_model(small, moving_contour=False)
  subjects = _check(small, landmarks, visibility, subjects, visible_contour)
  sizes = {
    "M": len(landmarks),
    "I": small.model.identity_dim,
    "E": small.model.expression_dim,
  }
  if identity_mean is not None:
    check_array("identity_mean", identity_mean, "M I", sizes=sizes)
  if expression_mean is not None:
    check_array("expression_mean", expression_mean, "M E", sizes=sizes)
  slides = np.zeros(len(landmarks), bool)
  if visible_contour is not None:
    slides = np.asarray(visible_contour, bool)
  landmarks = np.asarray(landmarks, np.float32)
  visibility = np.asarray(visibility, np.float32)
  if shapes is None:
    shapes = device_plan(np.unique(subjects, return_counts=True)[1])
  fits = _empty_fits(len(landmarks), small.model)
  fit = functools.partial(
    _fit_images,
    fits,
    small,
    landmarks,
    subjects,
    slides,
    (identity_mean, expression_mean),
    options,
    shapes,
  )
  fit(np.arange(len(landmarks)), visibility, progress)
  if max_relative_error is not None:
    fits.rejected[:] = _distrusted(fits, visibility, max_relative_error)
    spoilt = np.unique(subjects[fits.rejected])
    others = np.unique(subjects[~fits.rejected])
    again = np.flatnonzero(np.isin(subjects, np.intersect1d(spoilt, others)))
    if again.size:
      fit(again, np.where(fits.rejected[:, None], 0, visibility), None)
  return fits


def device_plan(sizes: Int[np.ndarray, "S"]) -> tuple[BatchShape, ...]:
  """`plan_batches` as suits JAX's default backend.

  Args:
    sizes: Images of each subject.
  """
  batch_images, images_a_program = BATCH_IMAGES, IMAGES_A_PROGRAM
  if jax.default_backend() != "cpu":
    batch_images = _ACCELERATOR_BATCH_IMAGES
    images_a_program = _ACCELERATOR_IMAGES_A_PROGRAM
  return plan_batches(
    sizes, batch_images=batch_images, images_a_program=images_a_program
  )


def _fit_images(
  fits: ImageFits,
  model: FitModel,
  landmarks: np.ndarray,
  subjects: np.ndarray,
  slides: np.ndarray,
  means: tuple[np.ndarray | None, np.ndarray | None],
  options: FitOptions,
  shapes: Sequence[BatchShape],
  chosen: np.ndarray,
  visibility: np.ndarray,
  progress: Callable[[int], object] | None,
) -> None:
  """Fits the chosen images, batch after batch, into `fits`."""
  identity, expression = means
  for places in image_batches(subjects[chosen], shapes):
    used = places >= 0
    places = np.where(used, chosen[places], 0)
    result = _fit_batch(
      model.model,
      landmarks[places],
      np.where(used[..., None], visibility[places], 0),
      model.contour,
      slides[places],
      None if identity is None else _subject_means(identity[places], used),
      None if expression is None else expression[places],
      options=options,
    )
    _store(fits, jax.device_get(result), places, used)
    if progress is not None:
      progress(int(used.sum()))


@functools.partial(jax.jit, static_argnames="options")
def _fit_batch(
  model: MorphableModel,
  landmarks: jax.Array,
  visibility: jax.Array,
  contour: jax.Array | None,
  slides: jax.Array,
  identity_mean: jax.Array | None,
  expression_mean: jax.Array | None,
  *,
  options: FitOptions,
) -> FitResult:
  return fit_landmarks(
    model,
    landmarks,
    visibility,
    options=options,
    contour=contour,
    visible_contour=slides,
    identity_mean=identity_mean,
    expression_mean=expression_mean,
  )


def _subject_means(
  means: Float[np.ndarray, "S N I"], used: Bool[np.ndarray, "S N"]
) -> Float[np.ndarray, "S I"]:
  """The mean over the images that there are; zero where there is none."""
  count = np.maximum(used.sum(1), 1)[:, None]
  total = np.sum(np.where(used[..., None], means, 0), 1)
  return (total / count).astype(np.float32)


def _check(
  model: FitModel,
  landmarks: np.ndarray,
  visibility: np.ndarray,
  subjects: np.ndarray,
  visible_contour: np.ndarray | None,
) -> np.ndarray:
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
  if visible_contour is not None:
    check_array(
      "visible_contour", visible_contour, "M", dtype="any", sizes=sizes
    )
    if np.any(visible_contour) and model.contour is None:
      raise ValueError(
        "visible_contour: expected a FitModel with a moving contour, got one"
        " without"
      )
  return subjects


def _distrusted(
  fits: ImageFits, visibility: np.ndarray, max_relative_error: float
) -> np.ndarray:
  """Which of the fits are not to be trusted, `[M]`."""
  seen = np.sum(visibility > 0, -1)
  bad = fits.relative_error > max_relative_error
  bad |= fits.camera.rotation[:, 2, 2] < _FACING_AWAY
  bad |= 2 * fits.outliers > seen
  return bad & (seen > 0)


def _empty_fits(count: int, model: MorphableModel) -> ImageFits:
  def zeros(*shape: int) -> Any:
    return np.zeros((count, *shape), np.float32)

  return ImageFits(
    identity_coefficients=zeros(model.identity_dim),
    expression_coefficients=zeros(model.expression_dim),
    camera=Camera(scale=zeros(), rotation=zeros(3, 3), translation=zeros(2)),
    rmse_px=zeros(),
    relative_error=zeros(),
    outliers=np.zeros(count, np.int32),
    converged=np.zeros(count, bool),
    rejected=np.zeros(count, bool),
  )


def _store(
  fits: ImageFits, result: FitResult, places: np.ndarray, used: np.ndarray
) -> None:
  """Writes a batch's results to the images' places.

  An image that was rejected before keeps its own fit, but for the identity.
  """
  subject, _ = np.nonzero(used)
  where = places[used]
  fits.identity_coefficients[where] = result.identity_coefficients[subject]
  fits.converged[where] = result.converged[subject]
  kept = used & ~fits.rejected[places]
  where = places[kept]
  fits.expression_coefficients[where] = result.expression_coefficients[kept]
  for field in ("scale", "rotation", "translation"):
    getattr(fits.camera, field)[where] = getattr(result.camera, field)[kept]
  fits.rmse_px[where] = result.rmse_px[kept]
  fits.relative_error[where] = result.relative_error[kept]
  fits.outliers[where] = result.outliers[kept].sum(-1)
