"""What locators of landmarks do at every yaw: table, curve, worst photos."""

import itertools

import numpy as np

from disentangle3d.evaluation.landmark_scores import (
  CONVENTION_DEG,
  FAILURE_PERCENT,
  YAW_EDGES_DEG,
  by_yaw,
  cumulative_shares,
  errors_without_convention,
  intervals_by_yaw,
  part_errors,
)
from disentangle3d.reporting.charts import Series, line_chart
from disentangle3d.reporting.html_page import (
  Block,
  Paragraph,
  Picture,
  Row,
  Section,
  Table,
  interval,
)
from disentangle3d.reporting.pictures import contact_sheet, draw_landmarks
from experiments.measures.located import LandmarkResults

_WORST, _COLUMNS = 24, 8
_CURVE_TO = 15.0


def landmark_sections(results: LandmarkResults) -> list[Section]:
  """Everything about a set."""
  blocks: list[Block] = [
    landmark_table(results),
    parts_table(results),
    convention_table(results),
    Paragraph(_about(results)),
    _curve(results),
    *(sheet for name in results.errors for sheet in _worst(results, name)),
  ]
  return [Section(f"Landmarks, {results.set.name}", blocks)]


def landmark_table(results: LandmarkResults) -> Table:
  """Mean errors by yaw and balanced, and how many photos failed."""
  rows: list[Row] = []
  for name, errors in results.errors.items():
    bins = by_yaw(errors, results.set.yaw_deg)
    known = errors[np.isfinite(errors)]
    rows.append(
      (
        name,
        *map(interval, intervals_by_yaw(errors, results.set.yaw_deg)),
        100 * float(np.mean(known > FAILURE_PERCENT)) if len(known) else None,
        *(one.failures for one in bins),
        *(f"{one.missing} of {one.photos}" for one in bins),
        round(results.milliseconds[name], 1),
      )
    )
  over = f"above {FAILURE_PERCENT:.0f} %"
  return Table(
    (
      "",
      *_ranges(),
      "balanced",
      over,
      *(f"{over}, {one}" for one in _ranges()),
      *(f"missing, {one}" for one in _ranges()),
      "ms",
    ),
    rows,
    caption=(
      "Mean distance of the 68 landmarks to the truth over the root of the"
      " area of the truth's box, percent, mean over the photos that have"
      " landmarks, with its 95 % interval (photos drawn again); balanced is the"
      " mean of the three ranges of |yaw|. Missing: no face found, another face"
      " taken, or no landmarks in it. The time is one face's, of many at once"
      " where the locator takes many."
    ),
  )


def parts_table(results: LandmarkResults) -> Table:
  """Mean errors of the parts of the face."""
  rows: list[Row] = []
  for name, landmarks in results.landmarks.items():
    for part, errors in part_errors(landmarks, results.set.points).items():
      bins = by_yaw(errors, results.set.yaw_deg)
      rows.append((name, part, *(one.mean for one in bins)))
  return Table(
    ("", "", *_ranges()), rows, caption="The same, by parts of the face."
  )


def convention_table(results: LandmarkResults) -> Table:
  """Mean errors where the locator knows how the truth is annotated."""
  yaw = results.set.yaw_deg
  rows: list[Row] = [
    (name, *map(interval, intervals_by_yaw(errors, yaw)))
    for name, errors in (
      (name, errors_without_convention(found, results.set.points, yaw))
      for name, found in results.landmarks.items()
    )
  ]
  return Table(
    ("", *_ranges(), "balanced"),
    rows,
    caption=(
      "The same without each landmark's median offset by"
      f" {CONVENTION_DEG:.0f} degrees of yaw, which the other half of the"
      " photos gives: annotations mark other places of a face than a locator,"
      " always by as much. No figure to compare with methods that are not"
      " treated so."
    ),
  )


def _ranges() -> list[str]:
  return [
    f"yaw {low:.0f} to {high:.0f}"
    for low, high in itertools.pairwise(YAW_EDGES_DEG)
  ]


def _about(results: LandmarkResults) -> str:
  if not results.set.searched:
    return (
      "The boxes are the truth's: a detector of photographs misses rendered"
      " faces."
    )
  count = len(results.found)
  return (
    f"MTCNN, with a second look at photos without a face, finds none in"
    f" {int((~results.found).sum())} of {count} photos,"
    f" and another than the truth's in {int(results.another.sum())}."
  )


def _curve(results: LandmarkResults) -> Picture:
  at = np.linspace(0, _CURVE_TO, 151)
  return Picture(
    line_chart(
      {
        name: Series(at, 100 * cumulative_shares(errors, at))
        for name, errors in results.errors.items()
      },
      x_label="error (percent of the face's size)",
      y_label="photos located at least as well (percent)",
      marks=False,
    ),
    caption="Cumulative errors; photos without landmarks count as not located.",
  )


def _worst(results: LandmarkResults, name: str) -> list[Picture]:
  """The worst photos of each range of yaw."""
  pictures = []
  errors, yaw = results.errors[name], np.abs(results.set.yaw_deg)
  for low, high in zip(YAW_EDGES_DEG[:-1], YAW_EDGES_DEG[1:], strict=True):
    inside = np.flatnonzero((yaw >= low) & (yaw < high) & np.isfinite(errors))
    places = inside[np.argsort(-errors[inside])][:_WORST].tolist()
    if not places:
      continue
    sheet = contact_sheet(
      [
        draw_landmarks(
          results.set.images[place],
          results.landmarks[name][place],
          upscale=1,
          radius_px=1.0,
        )
        for place in places
      ],
      columns=_COLUMNS,
      labels=[f"{errors[place]:.1f}" for place in places],
    )
    pictures.append(
      Picture(
        sheet,
        caption=f"{name}: the worst at yaw {low:.0f} to {high:.0f} degrees.",
        is_photo=True,
      )
    )
  return pictures
