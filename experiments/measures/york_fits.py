"""What the parts of a landmark calibration add to fits, on York's scans."""

from collections.abc import Mapping, Sequence
import types

import numpy as np

from disentangle3d.evaluation.side_by_side import (
  OUTLINE_MEDIAN,
  OUTLINE_RMSE,
  SideBySide,
  compare_scans,
)
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.types import UserError
from experiments.measures.scans import Maker, fit_photos
from experiments.measures.york import Run
from experiments.sets.heldout import MULTI_FIT, SINGLE_FIT, photo_methods
from experiments.sets.scans import FacePhoto
from experiments.sets.york import YorkSet

# From nothing of it to all of it; each a model and options of the fit.
PARTS = (
  "no calibration",
  "places across the face",
  "places in depth too",
  "their noise too",
)
_WHO: Mapping[str, str] = types.MappingProxyType(
  {SINGLE_FIT: "one photo", MULTI_FIT: "all photos"}
)


def measure_fit_parts(
  faces: YorkSet, calibrated: MorphableModel, *, run: Run = map
) -> SideBySide:
  """Scores landmark fits with more and more of a landmark calibration.

  Args:
    faces: The photos and their scans.
    calibrated: The 3DMM with its calibration.
    run: `map`, or one that does it in other processes.

  Returns:
    The mean shape, then for each of `PARTS` the fit of one photo and of all
    photos of a person, under the protocol `outline`.

  Raises:
    UserError: `calibrated` has no calibration.
  """
  maker = _maker(faces.photos, calibrated)
  return compare_scans(
    maker.names,
    (
      (
        faces.photos[row].scan,
        {name: whole for name, (whole, _) in made.items()},
      )
      for row, made in maker.make(faces.photos, range(len(faces.photos)))
    ),
    groups=faces.people,
    columns=(OUTLINE_MEDIAN, OUTLINE_RMSE),
    run=run,
  )


def fit_parts(
  calibrated: MorphableModel,
) -> dict[str, tuple[MorphableModel, FitOptions]]:
  """For each of `PARTS` the model and the options of its fits.

  Args:
    calibrated: The 3DMM with its calibration.

  Raises:
    UserError: It has none.
  """
  whole = calibrated.landmark_calibration
  if whole is None:
    raise UserError(
      "--york_parts: expected a landmark calibration of the photographs'"
      " detector and --morphable_model, got none"
    )
  across = np.asarray(whole.offset_mm) * np.array([1, 1, 0], np.float32)
  flat = calibrated.replace(
    landmark_calibration=whole.replace(offset_mm=across)
  )
  alike, own = FitOptions(), FitOptions(noise="calibrated")
  without = calibrated.replace(landmark_calibration=None)
  models = (without, flat, calibrated, calibrated)
  options = (alike, alike, alike, own)
  return dict(zip(PARTS, zip(models, options, strict=True), strict=True))


def _maker(photos: Sequence[FacePhoto], calibrated: MorphableModel) -> Maker:
  fits = {
    f"{part}, {_WHO[who]}": fit
    for part, (model, options) in fit_parts(calibrated).items()
    for who, fit in fit_photos(photos, model, options=options).items()
  }
  images = np.stack([photo.image for photo in photos])
  return Maker(
    methods=photo_methods(calibrated, images, fits, {}),
    folders=(),
    triangles=np.asarray(calibrated.triangles),
    landmark_vertices=np.asarray(calibrated.landmark_vertices),
  )
