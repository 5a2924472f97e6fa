"""What the networks' rivals need of a set of photographs that lacks it."""

from collections.abc import Sequence
import dataclasses
from typing import Any

from absl import logging
from jaxtyping import Float, UInt8
import numpy as np

from data_prep.fitting.shards import follows_silhouette
from data_prep.stages.rows import PhotoRow
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.batched_fitting import fit_model, fit_subjects
from disentangle3d.fitting.calibration_choice import (
  AUTO,
  calibrated_model,
  calibration_text,
)
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.geometry import apply_affine
from disentangle3d.types import NUM_LANDMARKS


@dataclasses.dataclass(frozen=True, eq=False)
class Rivals:
  """What to fit and to learn from.

  Attributes:
    fitter: Of landmark fits of each photo by itself; None leaves them out.
    landmark_calibration: Of those fits, as `calibrated_model` takes it.
    training_images: Crops of people of no set, for eigenfaces; None leaves
      those out.
  """

  fitter: MorphableModel | None = None
  landmark_calibration: str = AUTO
  training_images: UInt8[np.ndarray, "T 112 96 3"] | None = None

  def of_photos(self, rows: Sequence[PhotoRow]) -> dict[str, Any]:
    """What a `FaceSet` of these photographs takes."""
    return {
      "fitted": self._fitted(rows),
      "training_images": self.training_images,
    }

  def _fitted(
    self, rows: Sequence[PhotoRow]
  ) -> Float[np.ndarray, "P I"] | None:
    """Identity coefficients of each photo; zeros where it has no landmarks."""
    if self.fitter is None:
      return None
    seen = [
      place
      for place, row in enumerate(rows)
      if row.landmarks is not None and row.crop_from_photo is not None
    ]
    if not seen:
      logging.warning(
        "No photograph has landmarks, so there are no landmark fits."
      )
      return None
    landmarks = np.zeros((len(rows), NUM_LANDMARKS, 2), np.float32)
    visibility = np.zeros((len(rows), NUM_LANDMARKS), np.float32)
    visibility[seen] = [rows[place].visibility for place in seen]
    landmarks[seen] = apply_affine(
      np.array([rows[place].crop_from_photo for place in seen], np.float32),
      np.array([rows[place].landmarks for place in seen], np.float32),
    )
    contours = np.array([follows_silhouette(row, "detector") for row in rows])
    model = calibrated_model(
      self.fitter,
      self.landmark_calibration,
      detectors={rows[place].detector for place in seen},
    )
    logging.info("landmark calibration: %s", calibration_text(model))
    fits = fit_subjects(
      fit_model(model, moving_contour=bool(contours.any())),
      landmarks,
      visibility,
      np.arange(len(rows)),
      options=FitOptions(),
      visible_contour=contours if contours.any() else None,
    )
    return fits.identity_coefficients
