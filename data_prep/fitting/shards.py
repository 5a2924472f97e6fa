"""Fits the photos of one shard and writes them."""

from collections.abc import Callable
import dataclasses

import numpy as np

from data_prep.fitting.fit_files import Fits, fits_path, no_fits, write_fits
from data_prep.fitting.landmark_index import LandmarkIndex, read_entries
from data_prep.fitting.network_prior import NetworkPrior
from data_prep.fitting.plan import FitShard
from data_prep.stages.folder import StageFolder
from data_prep.stages.rows import PhotoRow, write_manifest
from disentangle3d.fitting.batched_fitting import (
  FitModel,
  ImageFits,
  fit_subjects,
)
from disentangle3d.fitting.calibration_choice import AUTO
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.types import NUM_LANDMARKS, UserError, check_choice

CONTOURS = ("detector", "on", "off")
# What reports the jaw where it ends in the photo, by how its name begins; in
# "MTCNN + dlib 68" the landmarks are the latter's.
_VISIBLE_CONTOUR = ("dlib", "face-alignment", "annotation", "visible_contour")
# Weak perspective has 6 parameters, 3 points at least.
LEAST_VISIBLE = 4
# No locator is surer than that in a crop.
_LEAST_SPREAD_PX = 0.3


@dataclasses.dataclass(frozen=True)
class FitSettings:
  """What decides the fits, and how they are cut into shards.

  Attributes:
    options: Of `fit_landmarks`.
    contour: Whose contours follow the silhouette: "on" everybody's, "off"
      nobody's, "detector" those of detectors known to report the visible one.
    max_relative_error: Photos whose landmarks are met worse than this part of
      the face's size (90 mm) are rejected.
    max_disagreement: Photos whose landmarks are farther from the detector's
      five points (`PhotoRow.disagreement`) are rejected: a frontal face laid
      over a profile is 0.14 or more away, others are hardly ever over 0.05.
    landmark_calibration: As `calibrated_model` takes it.
    images_per_shard: About how many; a kill loses at most one shard.
    about: A network, whose codes are the prior's means, as `load_network` takes
      it; None is 0.
    skip_bad: Go on without rows that cannot be used, and list them in
      `skipped.json`; otherwise they stop the run.
  """

  options: FitOptions = FitOptions()
  contour: str = "detector"
  max_relative_error: float = 0.1
  max_disagreement: float = 0.1
  landmark_calibration: str = AUTO
  images_per_shard: int = 16_384
  about: str | None = None
  skip_bad: bool = False

  def __post_init__(self) -> None:
    check_choice("contour", self.contour, CONTOURS)
    if not self.max_relative_error > 0:
      raise UserError(
        "max_relative_error: expected more than 0, got"
        f" {self.max_relative_error}"
      )
    if not self.max_disagreement > 0:
      raise UserError(
        f"max_disagreement: expected more than 0, got {self.max_disagreement}"
      )
    if self.images_per_shard < 1:
      raise UserError(
        f"images_per_shard: expected 1 or more, got {self.images_per_shard}"
      )


def landmarks_in_crop(row: PhotoRow) -> np.ndarray:
  """The landmarks of an aligned photo in crop pixels, `[68, 2]`."""
  matrix = np.asarray(row.crop_from_photo, np.float64)
  points = np.asarray(row.landmarks, np.float64)
  mapped = points @ matrix[:, :2].T + matrix[None, :, 2]
  return mapped.astype(np.float32)


def weights_in_crop(row: PhotoRow, landmark_std_px: float) -> np.ndarray:
  """How much each landmark of an aligned photo counts in a fit, `[68]`.

  Its visibility; and where the locator says how unsure it is, the ratio of
  `landmark_std_px` squared to its own variance, so that the prior weighs what
  it did. Along either axis that is 3 b^2 for a spread of b.
  """
  visibility = np.asarray(row.visibility, np.float32)
  if row.spread is None:
    return visibility
  matrix = np.asarray(row.crop_from_photo, np.float64)
  spread = np.hypot(matrix[0, 0], matrix[1, 0]) * np.asarray(row.spread)
  unit = landmark_std_px or 1.0
  ratio = unit**2 / (3 * np.maximum(spread, _LEAST_SPREAD_PX) ** 2)
  return (visibility * ratio).astype(np.float32)


def _check_row(
  row: PhotoRow, usable: np.ndarray, settings: FitSettings
) -> PhotoRow:
  """Gives up a photo with too few landmarks that the model has, `[68]`.

  Or with landmarks where the face detector saw another pose.
  """
  if row.status != "ok":
    return row
  away = row.disagreement
  if away is not None and away > settings.max_disagreement:
    return row.rejected(
      "landmarks disagree with the detector's five points:"
      f" {100 * float(away):.1f} % of the face's size"
    )
  visible = int(np.sum((np.asarray(row.visibility) > 0) & usable))
  if visible < LEAST_VISIBLE:
    return row.rejected(f"too few visible landmarks: {visible}")
  return row


def fit_shard(
  folder: StageFolder,
  number: int,
  shard: FitShard,
  index: LandmarkIndex,
  model: FitModel,
  settings: FitSettings,
  update: Callable[[int], object],
  *,
  prior: NetworkPrior | None = None,
) -> None:
  """Fits and writes one shard; its manifest comes last.

  Args:
    folder: Where to.
    number: The shard's.
    shard: Whose photos.
    index: Where their rows lie.
    model: What to fit.
    settings: How.
    update: Told how many photos are done.
    prior: Of the coefficients; None is about 0.

  Raises:
    UserError: A file has changed since it was indexed, or a photo is gone that
      the prior sees.
  """
  usable = np.asarray(model.model.landmark_vertices) >= 0
  rows = [
    _check_row(row, usable, settings)
    for row in read_entries(index, shard.entries)
  ]
  chosen = [place for place, row in enumerate(rows) if row.status == "ok"]
  update(len(rows) - len(chosen))
  path = folder.manifest(number)
  image_ids = [rows[place].image_id for place in chosen]
  if chosen:
    slides = [
      follows_silhouette(rows[place], settings.contour) for place in chosen
    ]
    alpha, beta = (
      (None, None)
      if prior is None
      else prior.means([rows[place] for place in chosen])
    )
    fits = fit_subjects(
      model,
      np.stack([landmarks_in_crop(rows[place]) for place in chosen]),
      np.stack(
        [
          weights_in_crop(rows[place], settings.options.landmark_std_px)
          for place in chosen
        ]
      ),
      np.array([rows[place].subject for place in chosen]),
      options=settings.options,
      shapes=[shard.shape] if shard.shape else None,
      visible_contour=np.array(slides),
      identity_mean=alpha,
      expression_mean=beta,
      max_relative_error=settings.max_relative_error,
      progress=update,
    )
    for where, place in enumerate(chosen):
      if fits.rejected[where]:
        rows[place] = rows[place].rejected(_reason(fits, where, settings))
    write_fits(fits_path(path), _fits_file(fits, image_ids))
  else:
    write_fits(fits_path(path), no_fits(model.model))
  write_manifest(path, rows)


def follows_silhouette(row: PhotoRow, contour: str) -> bool:
  """Whether a photo's jaw landmarks are on the silhouette.

  Args:
    row: Whose detector says so under "detector".
    contour: One of `CONTOURS`.
  """
  if contour == "detector":
    return row.detector.split(" + ")[-1].startswith(_VISIBLE_CONTOUR)
  return contour == "on"


def _reason(fits: ImageFits, where: int, settings: FitSettings) -> str:
  error = fits.relative_error[where]
  if error > settings.max_relative_error:
    return f"landmarks met badly: error {100 * error:.1f} % of the face's size"
  if 2 * fits.outliers[where] > NUM_LANDMARKS:
    return (
      f"landmarks mostly outliers: {fits.outliers[where]} of {NUM_LANDMARKS}"
    )
  return "fitted from behind: landmarks mirrored or out of order"


def _fits_file(fits: ImageFits, image_ids: list[str]) -> Fits:
  return Fits(
    image_id=np.array(image_ids, np.str_),
    identity_coefficients=fits.identity_coefficients,
    expression_coefficients=fits.expression_coefficients,
    camera_scale=np.asarray(fits.camera.scale),
    camera_rotation=np.asarray(fits.camera.rotation),
    camera_translation=np.asarray(fits.camera.translation),
    rmse_px=fits.rmse_px,
    relative_error=fits.relative_error,
    outliers=fits.outliers.astype(np.float32),
  )
