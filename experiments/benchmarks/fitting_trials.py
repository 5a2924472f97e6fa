"""What the benchmark of the landmark fitter measures, one function each."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
import numpy as np

from data_prep.fitting.eos_fitter import EosFitter
from disentangle3d.evaluation.bootstrap import Interval, mean_and_interval
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.faces.morphable_model import MorphableModel, synthesize_shape
from disentangle3d.faces.synthetic import render_photos
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.fitting.batched_fitting import (
  FitModel,
  fit_model,
  fit_subjects,
)
from disentangle3d.fitting.batches import BatchShape
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from experiments.benchmarks.fitting_oracles import ScipyProblem, unknowns_of
from experiments.benchmarks.known_faces import KnownFaces, known_faces
from experiments.benchmarks.timing import time_calls

_BATCH = 40
# The paper's usual number of alternations, and no early stop.
SEVEN = FitOptions(max_iterations=7, tolerance=0.0)
EXACT = "at 1e-6"
_RUNS = {
  EXACT: FitOptions(tolerance=1e-6, max_iterations=100),
  "after 7": SEVEN,
  "default": FitOptions(),
}


@dataclasses.dataclass(frozen=True)
class Speed:
  """How fast one setting fits.

  Attributes:
    name: The setting.
    compile_s: The first batch less a later one, seconds.
    images_per_s: Median over the batches.
    quartiles: Lower and upper, of the same.
    slowest: Of a batch, images/s.
    images: How many were fitted after the first batch.
  """

  name: str
  compile_s: float
  images_per_s: float
  quartiles: tuple[float, float]
  slowest: float
  images: int


def speed(
  model: FitModel,
  settings: Mapping[str, tuple[FitOptions, bool]],
  *,
  num_images: int,
  images_a_subject: int = 46,
  seed: int = 0,
) -> list[Speed]:
  """Fits many images, every landmark hidden with probability 0.2 by itself.

  Args:
    model: With a moving contour.
    settings: By name, options and whether contours move.
    num_images: How many to fit, in batches as fit_faces makes them.
    images_a_subject: All have as many.
    seed: Of the faces.

  Returns:
    As many speeds; all that happens between two batches counts.
  """
  shape = BatchShape(images_a_subject, 64)
  batch = shape.images * shape.subjects
  count = max(2, round(num_images / batch))
  faces = known_faces(
    model.model, 64, images_a_subject, noise_px=1.0, hidden=0.2, seed=seed
  )
  subjects = np.repeat(np.arange(64 * count), images_a_subject)
  rng = np.random.default_rng(seed)

  def many(array: np.ndarray) -> np.ndarray:
    flat = array.reshape(batch, *array.shape[2:])
    return np.concatenate([flat] * count)

  # Other noise and other hidden landmarks in every batch.
  landmarks = many(faces.landmarks)
  landmarks = landmarks + rng.normal(size=landmarks.shape).astype(np.float32)
  visibility = (rng.random(landmarks.shape[:2]) >= 0.2).astype(np.float32)
  found = []
  for name, (options, moves) in settings.items():
    stamps = [time.perf_counter()]
    fit_subjects(
      model if moves else dataclasses.replace(model, contour=None),
      landmarks,
      visibility,
      subjects,
      options=options,
      shapes=[shape],
      visible_contour=np.full(len(landmarks), moves),
      progress=functools.partial(_stamp, stamps),
    )
    first, *later = np.diff(stamps).tolist()
    low, middle, high = np.percentile(later, (25, 50, 75)).tolist()
    found.append(
      Speed(
        name=name,
        compile_s=first - middle,
        images_per_s=batch / middle,
        quartiles=(batch / high, batch / low),
        slowest=batch / max(later),
        images=batch * len(later),
      )
    )
  return found


def _stamp(stamps: list[float], _: int) -> None:
  stamps.append(time.perf_counter())


def gaps_to_scipy(
  model: MorphableModel,
  *,
  num_problems: int,
  num_images: int,
  settings: Mapping[str, FitOptions] = _RUNS,
  seed: int = 1,
) -> dict[str, np.ndarray]:
  """How far above SciPy's minimum the fitter ends, relative, `[P]` each.

  SciPy minimises the same objective over all unknowns at once, from our
  solution and from zero coefficients; the lower counts.

  Args:
    model: Cut to its landmarks.
    num_problems: Subjects.
    num_images: Of each.
    settings: What is compared, by name; `EXACT` among them.
    seed: Of the faces.

  Returns:
    By setting: `at 1e-6` (tolerance 1e-6, at most 100 alternations),
    `after 7`, and `default` options.
  """
  faces = known_faces(
    model, num_problems, num_images, noise_px=1.0, hidden=0.1, seed=seed
  )
  results = {
    name: jax.device_get(
      jax.jit(functools.partial(fit_landmarks, options=options))(
        model, faces.landmarks, faces.visibility
      )
    )
    for name, options in settings.items()
  }
  lowest = np.array(
    [
      _scipy_minimum(model, faces, results[EXACT], subject)
      for subject in range(num_problems)
    ]
  )
  return {
    name: np.asarray(result.objective[:, -1], float) / lowest - 1
    for name, result in results.items()
  }


def _scipy_minimum(
  model: MorphableModel, faces: KnownFaces, result: Any, subject: int
) -> float:
  problem = ScipyProblem(
    model,
    faces.landmarks[subject],
    faces.visibility[subject],
    landmark_std_px=FitOptions().landmark_std_px,
  )
  ours = unknowns_of(
    result.identity_coefficients[subject],
    result.expression_coefficients[subject],
    jax.tree.map(lambda leaf: leaf[subject], result.camera),
  )
  mean = np.asarray(model.mean_shape)[np.asarray(model.landmark_vertices)]
  marks = faces.landmarks[subject]
  camera = estimate_camera(
    jnp.broadcast_to(mean[None], (len(marks), *mean.shape)),
    jnp.asarray(marks),
    jnp.asarray(faces.visibility[subject]),
  )
  zero = unknowns_of(0 * ours.identity, 0 * ours.expression, camera)
  return min(problem.minimum(ours), problem.minimum(zero))


def identity_errors(
  world: MorphableModel,
  fitter: MorphableModel,
  *,
  num_subjects: int,
  image_counts: Sequence[int] = (1, 2, 4, 8, 16, 46),
  eos_priors: Sequence[float] = (30.0, 3.0, 0.3),
  seed: int = 2,
) -> dict[str, Interval]:
  """Error of the identity shape against the truth, mm, by method.

  The faces are the world's, of more modes than the fitter has; errors are
  liu2018's (within 95 mm of the nose tip after a similarity).

  Args:
    world: What the faces are drawn from.
    fitter: Its first modes.
    num_subjects: People.
    image_counts: Images that a multi-image fit gets of each.
    eos_priors: Weights of eos's prior to try; none leaves eos out.
    seed: Of the faces.

  Returns:
    Mean over people with its 95 % interval: the mean shape, eos on one image,
    ours on 1, 2, ... images.
  """
  faces = known_faces(
    world, num_subjects, max(image_counts), noise_px=1.0, seed=seed
  )
  small = fit_model(fitter, moving_contour=False)
  none = np.zeros((num_subjects, fitter.identity_dim), np.float32)
  codes = {"mean shape": none}
  if eos_priors:
    eos = EosFitter(fitter)
  for prior in eos_priors:
    found = [
      eos.fit(faces.landmarks[s, 0], faces.visibility[s, 0], prior=prior)[0]
      for s in range(num_subjects)
    ]
    codes[f"eos, 1 image, prior {prior:g}"] = np.array(found, np.float32)
  for count in image_counts:
    result = jax.jit(fit_landmarks)(
      small.model, faces.landmarks[:, :count], faces.visibility[:, :count]
    )
    codes[_images(count)] = np.asarray(result.identity_coefficients)
  truth = _identity_shapes(world, jnp.asarray(faces.identity))
  errors = {}
  for name, code in codes.items():
    error = shape_error(
      _identity_shapes(fitter, jnp.asarray(code)),
      truth,
      landmark_vertices=jnp.asarray(fitter.landmark_vertices),
    )
    errors[name] = mean_and_interval(np.asarray(error.rmse_mm))
  return errors


def _images(count: int) -> str:
  return f"ours, {count} image{'s' * (count > 1)}"


def _identity_shapes(model: MorphableModel, identity: Array) -> Array:
  none = jnp.zeros((len(identity), model.expression_dim), jnp.float32)
  return synthesize_shape(model, identity, none)


def eos_speed(
  fitter: MorphableModel, *, num_images: int, seed: int = 3
) -> float:
  """Images/s of eos on one thread, median."""
  faces = known_faces(fitter, num_images, 1, noise_px=1.0, seed=seed)
  eos = EosFitter(fitter)
  subjects = itertools.cycle(range(num_images))

  def fit_next() -> None:
    subject = next(subjects)
    eos.fit(faces.landmarks[subject, 0], faces.visibility[subject, 0])

  return 1 / time_calls(fit_next, rounds=num_images).median_s


@dataclasses.dataclass(frozen=True, eq=False)
class YawErrors:
  """Shape errors of single-image fits of rendered faces, by yaw.

  Attributes:
    yaw_deg: Middles of the bins of |yaw|, `[K]`.
    photos: How many are in each, `[K]`.
    errors_mm: By method, mean of each bin with its 95 % interval, K each.
  """

  yaw_deg: np.ndarray
  photos: np.ndarray
  errors_mm: Mapping[str, Sequence[Interval]]


def yaw_errors(
  world: SyntheticWorld,
  fitter: MorphableModel,
  *,
  num_photos: int,
  bin_deg: int = 10,
  seed: int = 4,
) -> YawErrors:
  """Fits rendered photos with and without a contour that follows the jaw.

  Args:
    world: With `yaw_distribution="uniform"`, one photo a person.
    fitter: The fitter's model.
    num_photos: How many.
    bin_deg: Width of a bin.
    seed: Of the world's draws.

  Returns:
    Errors of the full shape, liu2018.
  """
  small = fit_model(fitter, moving_contour=True)
  yaw: list[np.ndarray] = []
  errors: dict[str, list[np.ndarray]] = {}
  for start in range(0, num_photos, _BATCH):
    indices = np.arange(start, start + _BATCH, dtype=np.int32)
    photos = _drawn(world, jnp.uint32(seed), indices)
    yaw.append(np.degrees(np.abs(photos[3])))
    shapes = {"mean shape": np.asarray(fitter.mean_shape)[None] + 0 * photos[2]}
    for name, moves in (("fixed vertices", False), ("moving contour", True)):
      fits = fit_subjects(
        small,
        np.asarray(photos[0]),
        np.asarray(photos[1]),
        indices,
        options=FitOptions(),
        shapes=[BatchShape(1, _BATCH)],
        visible_contour=np.full(_BATCH, moves),
      )
      shapes[name] = synthesize_shape(
        fitter,
        jnp.asarray(fits.identity_coefficients),
        jnp.asarray(fits.expression_coefficients),
      )
    for name, shape in shapes.items():
      error = shape_error(
        jnp.asarray(shape),
        photos[2],
        landmark_vertices=jnp.asarray(fitter.landmark_vertices),
      )
      errors.setdefault(name, []).append(np.asarray(error.rmse_mm))
  angle = np.concatenate(yaw)
  bins = np.minimum(angle // bin_deg, 90 // bin_deg - 1).astype(int)
  filled = np.unique(bins)
  return YawErrors(
    yaw_deg=(filled + 0.5) * bin_deg,
    photos=np.array([(bins == b).sum() for b in filled]),
    errors_mm={
      name: [
        mean_and_interval(np.concatenate(parts)[bins == b]) for b in filled
      ]
      for name, parts in errors.items()
    },
  )


@jax.jit
def _drawn(
  world: SyntheticWorld, seed: Array, indices: Array
) -> tuple[Array, Array, Array, Array]:
  """Landmarks, visibility, true shape and yaw; the picture is not drawn."""
  photos = render_photos(world, seed, indices)
  return photos.landmarks, photos.visibility, photos.shape, photos.yaw_rad
