"""From the landmarks of photographs to a landmark calibration."""

from collections.abc import Mapping
import dataclasses
import pathlib

from absl import logging
from jaxtyping import Float, Int
import numpy as np

from data_prep.fitting.landmark_index import index_landmarks, read_entries
from data_prep.fitting.shards import landmarks_in_crop
from data_prep.fitting.surface_anchors import anchored
from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  calibrated_points,
)
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.batched_fitting import (
  FitModel,
  fit_model,
  fit_subjects,
)
from disentangle3d.fitting.landmark_noise import NoiseEstimate, estimate_noise
from disentangle3d.fitting.landmark_offsets import (
  OffsetEstimate,
  estimate_offsets,
)
from disentangle3d.fitting.linear_faces import PhotographedFaces, fitted_faces
from disentangle3d.fitting.options import (
  DEFAULT_CALIBRATION,
  CalibrationOptions,
  FitOptions,
)
from disentangle3d.fitting.resting_faces import faces_at_rest
from disentangle3d.types import NUM_LANDMARKS, UserError

# Of what photos are fitted with to start from: wide, as offsets are unknown.
_START = FitOptions(landmark_std_px=3.0)
_LEAST_PHOTOS = 20
_MOST_LISTED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
  """Photos whose landmarks are there, those of a person one after another.

  Attributes:
    landmarks: Crop pixels, `[M, 68, 2]`.
    visibility: `[M, 68]`.
    subjects: A number for each person, `[M]`.
    detector: What found them.
    licences: Terms of photos and detectors, by name.
    given: How many photos there were, of any status.
  """

  landmarks: Float[np.ndarray, "M 68 2"]
  visibility: Float[np.ndarray, "M 68"]
  subjects: Int[np.ndarray, "M"]
  detector: str
  licences: Mapping[str, str]
  given: int


@dataclasses.dataclass(frozen=True, eq=False)
class Calibrating:
  """A calibration, and what speaks for it.

  Attributes:
    calibration: The result.
    offsets: From the photos at rest, relative to places on the surface.
    before_mm: `OffsetEstimate.before_mm` for the model's own landmarks, `[68]`.
    noise: From all photos.
    moved_mm: From the model's landmarks to the calibrated points, `[68, 3]`.
    halves_mm: Distances of the points that two halves of the people give,
      `[68]`.
    given: Photos of any status.
    drawn: Photos that were taken of them.
    at_rest: Photos that offsets are from, of them.
  """

  calibration: LandmarkCalibration
  offsets: OffsetEstimate
  before_mm: Float[np.ndarray, "68"]
  noise: NoiseEstimate
  moved_mm: Float[np.ndarray, "68 3"]
  halves_mm: Float[np.ndarray, "68"]
  given: int
  drawn: int
  at_rest: int


def read_detections(
  aligned: pathlib.Path, *, most_photos: int, seed: int
) -> Detections:
  """Reads the landmarks of photos, of whole people drawn at random.

  Args:
    aligned: See `index_landmarks`.
    most_photos: Of all people drawn together; one person at least.
    seed: Draws them.

  Raises:
    UserFileNotFoundError: `aligned` is missing or incomplete.
    UserError: A row cannot be used, two detectors marked the landmarks, or
      there are too few photos.
  """
  index = index_landmarks(aligned)
  if index.bad:
    raise UserError(str(index.bad[0]))
  entries = [entry for entry in index.entries if entry.ok]
  if len(entries) < _LEAST_PHOTOS:
    raise UserError(
      f"{aligned}: expected {_LEAST_PHOTOS} photos with landmarks or more, got"
      f" {len(entries)}"
    )
  names, people = np.unique(
    [entry.subject for entry in entries], return_inverse=True
  )
  order = np.random.default_rng(seed).permutation(len(names))
  total = np.cumsum(np.bincount(people)[order])
  chosen = order[: max(1, np.searchsorted(total, most_photos, side="right"))]
  places = np.argsort(people, kind="stable")
  places = places[np.isin(people[places], chosen)]
  rows = read_entries(index, [entries[place] for place in places])
  detectors = sorted({row.detector for row in rows})
  if len(detectors) > 1:
    raise UserError(
      f"{aligned}: expected the landmarks of one detector, got those of"
      f" {', '.join(detectors[:_MOST_LISTED])}; their points mean other places"
    )
  return Detections(
    landmarks=np.stack([landmarks_in_crop(row) for row in rows]),
    visibility=np.stack([np.asarray(row.visibility) for row in rows]),
    subjects=people[places],
    detector=detectors[0],
    licences=index.licences,
    given=len(index.entries) + len(index.bad),
  )


def calibrate_landmarks(
  detections: Detections,
  model: MorphableModel,
  *,
  source: str,
  seed: int = 0,
  options: CalibrationOptions = DEFAULT_CALIBRATION,
) -> Calibrating:
  """Estimates where a detector's landmarks are on a model, and their noise.

  Offsets are estimated from the model's own landmarks first, then again from
  where these are on the surface: the points there move with identity and
  expression as the surface does.

  Args:
    detections: The photos.
    model: With triangles; a calibration of its own is passed over.
    source: What the photos are, and when.
    seed: Halves the people.
    options: Priors and rounds.

  Returns:
    The calibration and its diagnostics.

  Raises:
    UserError: Too few photos can be fitted.
  """
  model = model.replace(landmark_calibration=None)
  plain = fit_model(model, moving_contour=False)
  faces = _started(plain, detections)
  rest = faces_at_rest(plain, faces) & faces.trusted
  logging.info("%d photos, %d of faces at rest", len(rest), rest.sum())
  first = estimate_offsets(plain, faces.chosen(rest), options=options)
  own = np.asarray(plain.model.mean_shape)[:NUM_LANDMARKS]
  on_surface = _without_offset(anchored(model, own + first.offset_mm))
  placed = fit_model(
    model.replace(landmark_calibration=on_surface), moving_contour=True
  )
  offsets = estimate_offsets(placed, first.faces, options=options)
  halves = [
    estimate_offsets(placed, first.faces.chosen(half), options=options)
    for half in _halves(first.faces, seed)
  ]
  logging.info("offsets are there; now their noise")
  noise = estimate_noise(placed, faces, offsets.offset_mm, options=options)
  calibration = on_surface.replace(
    offset_mm=offsets.offset_mm.astype(np.float32),
    covariance_mm2=noise.covariance_mm2.astype(np.float32),
    yaw_edges_rad=noise.yaw_edges_rad.astype(np.float32),
    detector=detections.detector,
    model=model.name,
    source=source,
    licence=_terms(detections, model),
  )
  points = calibrated_points(calibration, np.asarray(model.mean_shape))
  return Calibrating(
    calibration=calibration,
    offsets=offsets,
    before_mm=first.before_mm,
    noise=noise,
    moved_mm=np.asarray(points) - own,
    halves_mm=np.linalg.norm(halves[0].offset_mm - halves[1].offset_mm, axis=1),
    given=detections.given,
    drawn=len(rest),
    at_rest=int(rest.sum()),
  )


def _started(model: FitModel, detections: Detections) -> PhotographedFaces:
  """Each photo fitted on its own."""
  fits = fit_subjects(
    model,
    detections.landmarks,
    detections.visibility,
    np.arange(len(detections.landmarks)),
    options=_START,
    max_relative_error=0.1,
  )
  kept = ~fits.rejected
  people = len(np.unique(detections.subjects[kept]))
  if kept.sum() < _LEAST_PHOTOS or people < 2:
    raise UserError(
      f"expected {_LEAST_PHOTOS} photos or more of 2 people or more that the"
      f" model can be fitted to, got {kept.sum()} of {people} people, and"
      f" {fits.rejected.sum()} rejected"
    )
  return fitted_faces(
    detections.landmarks, detections.visibility, detections.subjects, fits
  )


def _without_offset(calibration: LandmarkCalibration) -> LandmarkCalibration:
  return calibration.replace(offset_mm=np.zeros_like(calibration.offset_mm))


def _halves(
  faces: PhotographedFaces, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """The photos of either half of the people, as masks."""
  people = np.random.default_rng(seed).permutation(np.unique(faces.subjects))
  first = np.isin(faces.subjects, people[: len(people) // 2])
  return first, ~first


def _terms(detections: Detections, model: MorphableModel) -> str:
  licences = {**detections.licences, model.name: model.licence}
  return "; ".join(f"{name}: {terms}" for name, terms in licences.items())
