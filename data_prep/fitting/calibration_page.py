"""What a landmark calibration looks like: numbers, and a page of pictures."""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from data_prep.fitting.calibration import Calibrating
from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  calibrated_points,
)
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  identity_calibration,
)
from disentangle3d.fitting.linear_faces import SLIDING_YAW_RAD
from disentangle3d.geometry import project
from disentangle3d.reporting.charts import Series, line_chart
from disentangle3d.reporting.figures import portrait_camera, render_shape
from disentangle3d.reporting.html_page import (
  Grid,
  Paragraph,
  Picture,
  Section,
  Table,
  page,
)
from disentangle3d.types import NUM_CONTOUR, NUM_LANDMARKS

_SIZE_PX = 420
_SIDE_RAD = np.deg2rad(-75.0)
_GROUPS = {
  "jaw": range(NUM_CONTOUR),
  "brows": range(17, 27),
  "nose": range(27, 36),
  "eyes": range(36, 48),
  "mouth": range(48, 68),
  "all": range(NUM_LANDMARKS),
}
_UNOBSERVABLE = (
  "Set to nothing, as photographs do not show it: a common scale, translation"
  " and turn about x of all offsets, a common stretch or slant of their depth,"
  " and what the mean face of these people differs from the model's in."
)


def calibration_summary(
  found: Calibrating,
  model: MorphableModel,
  other: LandmarkCalibration | None = None,
) -> dict[str, Any]:
  """All numbers of a calibration that are not in it; JSON values.

  Args:
    found: The calibration.
    model: Of it.
    other: Another one of the same model, to be compared with.
  """
  calibration = found.calibration
  faces = found.noise.faces
  trusted = faces.trusted
  edges = np.asarray(calibration.yaw_edges_rad)
  ranges = np.digitize(np.abs(faces.yaw_rad[trusted]), edges)
  turned = np.abs(found.offsets.faces.yaw_rad) > SLIDING_YAW_RAD
  by_landmark = {
    "moved": np.linalg.norm(found.moved_mm, axis=1),
    "before": found.before_mm,
    "after": found.offsets.after_mm,
    "halves": found.halves_mm,
  }
  if other is not None:
    mean = np.asarray(model.mean_shape)
    apart = np.asarray(
      calibrated_points(calibration, mean) - calibrated_points(other, mean)
    )
    by_landmark["from the other, across"] = np.linalg.norm(apart[:, :2], axis=1)
    by_landmark["from the other, in depth"] = np.abs(apart[:, 2])
  return {
    **calibration.provenance,
    "photos": {
      "given": found.given,
      "drawn": found.drawn,
      "used for noise": int(trusted.sum()),
      "of people": len(np.unique(faces.subjects[trusted])),
      "at rest": found.at_rest,
      "used for offsets": int(found.offsets.faces.trusted.sum()),
      "of them turned by over 15 degrees": int(
        (turned & found.offsets.faces.trusted).sum()
      ),
    },
    "yaw_edges_deg": np.rad2deg(edges).round(3).tolist(),
    "photos_by_yaw": np.bincount(ranges, minlength=len(edges) + 1).tolist(),
    "other": None if other is None else other.source,
    "offsets_mm": found.moved_mm.round(3).tolist(),
    "by_landmark_mm": {
      kind: values.round(3).tolist() for kind, values in by_landmark.items()
    },
    "by_group_mm": {
      group: {
        kind: round(float(values[list(members)].mean()), 3)
        for kind, values in by_landmark.items()
      }
      for group, members in _GROUPS.items()
    },
    "noise_std_mm": _noise_std_mm(found).round(3).tolist(),
    "unobservable": _UNOBSERVABLE,
  }


def calibration_page(
  found: Calibrating, model: MorphableModel, summary: Mapping[str, Any]
) -> str:
  """The page: offsets on the mean face, distances, repeatability, counts."""
  calibration = found.calibration
  photos = [[kind, count] for kind, count in summary["photos"].items()]
  sections = [
    _places(found, model, summary),
    _distances(summary["by_landmark_mm"]),
    _noise(found, summary),
    Section("Photographs", [Table(["photos", "count"], photos)]),
  ]
  return page(
    "Landmark calibration",
    sections,
    subtitle=f"{calibration.detector} on {calibration.model}:"
    f" {calibration.source}",
  )


def _places(
  found: Calibrating, model: MorphableModel, summary: Mapping[str, Any]
) -> Section:
  pictures = [
    Picture(_drawn(found, model, yaw), caption)
    for yaw, caption in ((0.0, "From the front."), (_SIDE_RAD, "Side."))
  ]
  table = Table(
    ["", *summary["by_landmark_mm"]],
    [
      [group, *values.values()]
      for group, values in summary["by_group_mm"].items()
    ],
    "Means over landmarks, mm: how far they moved; the root mean square"
    " distance that camera, expression and identity leave, before and"
    " after; the distance of what two halves of the people give"
    + (f"; {summary['other']}." if summary["other"] else "."),
  )
  legend = Paragraph(
    "On the mean face: circles are the model's landmarks, lines lead to where"
    " the detector's are. " + _UNOBSERVABLE
  )
  return Section(
    "Where the detector marks the landmarks", [Grid(pictures), legend, table]
  )


def _distances(kinds: Mapping[str, Sequence[float]]) -> Section:
  marks = np.arange(NUM_LANDMARKS)
  left = ("before", "after")
  return Section(
    "Distances",
    [
      _lines(
        {kind: Series(marks, kinds[kind]) for kind in left},
        "left of a distance (mm rms)",
      ),
      _lines(
        {
          kind: Series(marks, values)
          for kind, values in kinds.items()
          if kind not in ("moved", *left)
        },
        "distance of the points (mm)",
      ),
    ],
  )


def _noise(found: Calibrating, summary: Mapping[str, Any]) -> Section:
  names = _range_names(summary["yaw_edges_deg"])
  marks = np.arange(NUM_LANDMARKS)
  by_range = zip(names, _noise_std_mm(found), strict=True)
  photos = list(zip(names, summary["photos_by_yaw"], strict=True))
  return Section(
    "Noise",
    [
      _lines(
        {name: Series(marks, std) for name, std in by_range},
        "standard deviation (mm)",
      ),
      Table(["|yaw|", "photos"], photos),
    ],
  )


def _noise_std_mm(found: Calibrating) -> np.ndarray:
  """Root of the mean variance over x and y, `[Y, 68]`."""
  return np.sqrt(np.trace(found.noise.covariance_mm2, axis1=-2, axis2=-1) / 2)


def _range_names(edges_deg: Sequence[float]) -> list[str]:
  edges = [0, *edges_deg]
  between = [f"{low:g} to {high:g}°" for low, high in itertools.pairwise(edges)]
  return [*between, f"from {edges[-1]:g}°"]


def _lines(series: Mapping[str, Series], label: str) -> Picture:
  return Picture(
    line_chart(series, x_label="landmark", y_label=label, marks=False), label
  )


def _drawn(found: Calibrating, model: MorphableModel, yaw_rad: float) -> Figure:
  mean = np.asarray(model.mean_shape)
  camera = portrait_camera(mean[None], yaw_rad=yaw_rad, size_px=_SIZE_PX)
  plain = identity_calibration(model)
  start, stop = (
    np.asarray(project(camera, points))
    for points in (
      calibrated_points(plain, mean),
      calibrated_points(found.calibration, mean),
    )
  )
  figure = Figure(figsize=(4.2, 4.2), layout="constrained")
  axes = figure.add_subplot()
  axes.imshow(
    render_shape(mean, model.triangles, yaw_rad=yaw_rad, size_px=_SIZE_PX)
  )
  axes.set_axis_off()
  lines = np.stack([start, stop], 1)
  axes.plot(*lines.transpose(2, 1, 0), color="tab:red", linewidth=1.2)
  axes.plot(*start.T, "o", markersize=2.5, color="tab:blue", fillstyle="none")
  return figure
