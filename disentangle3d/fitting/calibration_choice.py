"""Which landmark calibration a model is fitted with.

Calibrations that ship with the package are the `.npz` files of the folder
`calibrations`; each says in itself which detector and model it is for.
"""

from collections.abc import Collection
import os
import pathlib

import numpy as np

from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  load_landmark_calibration,
  surface_points,
)
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import UserError, UserFileNotFoundError

AUTO, NONE = "auto", "none"
SHIPPED = pathlib.Path(__file__).parent / "calibrations"
# A detector's point is within millimetres of the model's vertex for it; on a
# mesh with other vertices it would be anywhere.
_FARTHEST_MM = 20.0


def calibrated_model(
  model: MorphableModel,
  asked: str | os.PathLike[str],
  *,
  detectors: Collection[str] = (),
  shipped: pathlib.Path = SHIPPED,
) -> MorphableModel:
  """A model with the landmark calibration that was asked for.

  Args:
    model: Any model, with a calibration of its own or without.
    asked: `"auto"` takes the model's own, else the one that ships for the
      detector and this model, else none; `"none"` takes none; a detector's
      name, as "dlib 68", the one that ships for it and this model; anything
      else is a file of `save_landmark_calibration`.
    detectors: What found the landmarks of the photos, in the words of the
      manifests ("MTCNN + dlib 68"); none ships for several at once.
    shipped: The folder of those that ship.

  Returns:
    The model, `landmark_calibration` replaced.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is none, or for another model.
  """
  if asked == NONE:
    return model.replace(landmark_calibration=None)
  if asked != AUTO:
    named = _shipped(model, (os.fspath(asked),), shipped)
    calibration = named or _load(asked, model)
    if calibration.model != model.name or not _fits(calibration, model):
      raise UserError(
        f"{os.fspath(asked)}: expected a calibration of the landmarks of"
        f" {model.name!r} with {model.num_vertices:,} vertices, got one of"
        f" {calibration.model!r} or of another mesh of it"
      )
    return model.replace(landmark_calibration=calibration)
  if model.landmark_calibration is not None:
    return model
  return model.replace(landmark_calibration=_shipped(model, detectors, shipped))


def licences_of(model: MorphableModel) -> dict[str, str]:
  """Terms of a model and of its landmark calibration, by name."""
  licences = {model.name: model.licence}
  if model.landmark_calibration is not None:
    terms = model.landmark_calibration.licence
    licences[f"landmark calibration of {model.name}"] = terms
  return licences


def calibration_text(model: MorphableModel) -> str:
  """In a line, which calibration a model has; "none" without."""
  calibration = model.landmark_calibration
  if calibration is None:
    return NONE
  return f"{calibration.detector} on {calibration.model}: {calibration.source}"


def _shipped(
  model: MorphableModel, detectors: Collection[str], folder: pathlib.Path
) -> LandmarkCalibration | None:
  marked_by = {_landmark_detector(detector) for detector in detectors}
  if len(marked_by) != 1:
    return None
  for path in sorted(folder.glob("*.npz")):
    calibration = load_landmark_calibration(path)
    if (
      _landmark_detector(calibration.detector) in marked_by
      and calibration.model == model.name
      and _fits(calibration, model)
    ):
      return calibration
  return None


def _load(
  asked: str | os.PathLike[str], model: MorphableModel
) -> LandmarkCalibration:
  try:
    return load_landmark_calibration(asked)
  except UserFileNotFoundError as error:
    raise UserFileNotFoundError(
      f"{error}; none of {model.name!r} ships for a detector of that name"
    ) from error


def _landmark_detector(detector: str) -> str:
  """Of "MTCNN + dlib 68" the part that marks the landmarks."""
  return detector.split(" + ")[-1]


def _fits(calibration: LandmarkCalibration, model: MorphableModel) -> bool:
  """Whether it is for this mesh: its points are near the model's landmarks."""
  corners = np.asarray(calibration.triangle_vertices)
  if corners.max() >= model.num_vertices:
    return False
  marks = np.asarray(model.landmark_vertices)
  both = (corners[:, 0] >= 0) & (marks >= 0)
  mean = np.asarray(model.mean_shape)
  away = surface_points(calibration, mean, axis=0) - mean[np.maximum(marks, 0)]
  distance = np.linalg.norm(np.asarray(away), axis=1)
  return bool(both.any() and distance[both].max() < _FARTHEST_MM)
