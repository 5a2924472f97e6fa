"""The paper's reconstruction tables and figures, from measured results."""

from collections.abc import Iterable, Sequence

import numpy as np

from disentangle3d.evaluation.bootstrap import (
  Interval,
  mean_and_interval,
  paired_bootstrap,
)
from disentangle3d.evaluation.side_by_side import COLUMNS, SideBySide
from disentangle3d.faces.synthetic_world import EXPRESSION_CLASSES
from disentangle3d.reporting.charts import Series, bar_chart, line_chart
from disentangle3d.reporting.figures import heat_map
from disentangle3d.reporting.html_page import (
  DASH,
  Block,
  Grid,
  Paragraph,
  Picture,
  Section,
  Table,
  format_number,
  interval,
)
from experiments.paper_figures import (
  FIGURE_6,
  FIGURE_7,
  TABLE_1,
  TABLE_2,
  YAW_DEG,
  Cell,
  Measured,
  number_or_none,
  paper_table,
)
from experiments.reconstruction_results import SetResults
from experiments.synthetic_sets import EXPRESSION, OUTDOOR, YAW

EXPRESSION_NAMES = (
  "neutral",
  *(f"expression {number}" for number in range(1, EXPRESSION_CLASSES)),
)
_MAPS_SHOWN = 6
_FIGURES = (
  (FIGURE_6, "full shape", "within"),
  (FIGURE_7, "identity shape", "identity_within"),
)
Rows = dict[str, Sequence[Cell]]


def set_sections(
  results: SetResults, differences: Sequence[tuple[str, str]]
) -> list[Section]:
  """Everything about one set.

  Args:
    results: What was measured.
    differences: Pairs of methods to subtract, photo by photo.

  Returns:
    Sections.
  """
  blocks: list[Block] = [_summary(results)]
  if differences:
    blocks.append(_differences(results, differences))
  if results.name == YAW:
    blocks.append(_yaw_chart(results))
  elif results.name == EXPRESSION:
    blocks.append(_expression_charts(results))
  blocks += [paper_table(k, rows) for k, rows in paper_rows(results).items()]
  blocks.append(_cumulative(results))
  if results.error_map_mm:
    blocks.append(_maps(results))
  sections = [Section(f"3D error: {results.name}", blocks)]
  if results.table is not None:
    title = f"All protocols side by side: {results.name}"
    sections.append(Section(title, [protocol_table(results.table)]))
  return sections


def paper_rows(results: SetResults) -> Measured:
  """The set's rows of the paper's tables: RMSE in mm, protocol liu2018."""
  if results.name == YAW:
    return {TABLE_1: _yaw_rows(results)}
  if results.name == OUTDOOR:
    rows: Rows = {
      _named(name, results): (_mean(scores.within),)
      for name, scores in results.scores.items()
    }
    return {TABLE_2: rows}
  kinds = results.heldout.photos.expression_class
  measured: dict[str, Rows] = {}
  for key, _, field in _FIGURES:
    measured[key] = {}
    for name, scores in results.scores.items():
      values = getattr(scores, field)
      means = [_mean(values[kinds == k]) for k in range(EXPRESSION_CLASSES)]
      # As in the paper, the mean over expressions, each counting the same.
      whole = None if None in means else float(np.mean(means))
      measured[key][_named(name, results)] = (whole,)
  return measured


def _yaw_rows(results: SetResults) -> Rows:
  """By |yaw|, both sides together; the average is over the angles."""
  steps = np.abs(10 * np.round(results.yaw_deg / 10)).astype(int)
  rows: Rows = {}
  for name, scores in results.scores.items():
    means = [_mean(scores.within[steps == one]) for one in YAW_DEG]
    known = [mean for mean in means if mean is not None]
    average = float(np.mean(known)) if known else None
    rows[_named(name, results)] = (*means, average)
  return rows


def _named(name: str, results: SetResults) -> str:
  return f"{name}, {results.name}"


def _mean(values: np.ndarray) -> float | None:
  """Over the photos that a method has a number for."""
  known = values[np.isfinite(values)]
  return number_or_none(known.mean()) if known.size else None


def _interval(values: np.ndarray, people: np.ndarray) -> Interval | None:
  known = np.isfinite(values)
  if not known.any():
    return None
  return mean_and_interval(values[known], groups=people[known])


def shown_interval(found: Interval | None, *, digits: int = 2) -> str:
  """`2.41 [2.30, 2.52]`, or a dash."""
  if found is None:
    return DASH
  return interval(found.mean, found.low, found.high, digits=digits)


def protocol_table(table: SideBySide) -> Table:
  """Rows of protocols, columns of methods, with 95 % intervals."""
  methods = list(table.scores)
  rows: list[tuple[str, ...]] = []
  for column in COLUMNS:
    if column not in table.scores[methods[0]]:
      continue
    cells = [table.interval(method, column) for method in methods]
    digits = 4 if "printed" in column else 2
    rows.append((column, *(shown_interval(c, digits=digits) for c in cells)))
  for reading in ("median", "mean", "std"):
    numbers = [getattr(table.now[method], reading, None) for method in methods]
    rows.append(
      (f"now, all distances: {reading}", *map(format_number, numbers))
    )
  photos = len(next(iter(table.scores[methods[0]].values())))
  stuck = sum(table.unconverged.values())
  return Table(
    ("", *methods),
    rows,
    caption=(
      f"The same {photos} reconstructions a method under every protocol, mm,"
      " mean over the photos with 95 % intervals (people drawn). ICP runs that"
      f" did not converge: {stuck}."
    ),
  )


def _summary(results: SetResults) -> Table:
  rows = []
  for name, scores in results.scores.items():
    columns = (
      scores.within,
      scores.within_rigid,
      scores.identity_within,
      scores.identity_within_rigid,
    )
    found = [_interval(column, results.people) for column in columns]
    photos = int(np.isfinite(scores.within).sum())
    rows.append((name, *map(shown_interval, found), photos))
  header = (
    "",
    "full shape",
    "full shape, rigid",
    "identity shape",
    "identity shape, rigid",
    "photos",
  )
  return Table(
    header,
    rows,
    caption=(
      "RMSE in mm within 95 mm of the nose tip (liu2018), mean over"
      f" {results.heldout.num_photos} photos of"
      f" {len(np.unique(results.people))} people never trained on; 95 %"
      " intervals draw people. The full shape against the photo's own truth,"
      " the identity shape against the person's true neutral shape."
    ),
  )


def _differences(
  results: SetResults, pairs: Sequence[tuple[str, str]]
) -> Paragraph:
  parts = []
  for first, second in pairs:
    for what, field in (("full", "within"), ("identity", "identity_within")):
      found = paired_bootstrap(
        getattr(results.scores[first], field),
        getattr(results.scores[second], field),
        groups=results.people,
      )
      shown = shown_interval(found)
      parts.append(f"{first} − {second}, {what} shape: {shown} mm")
  return Paragraph("Paired differences, 95 %: " + "; ".join(parts) + ".")


def _yaw_chart(results: SetResults) -> Picture:
  steps = (10 * np.round(results.yaw_deg / 10)).astype(int)
  places = np.unique(steps)
  series = {
    name: Series(
      places, _gaps(_mean(scores.within[steps == one]) for one in places)
    )
    for name, scores in results.scores.items()
  }
  chart = line_chart(
    series,
    x_label="yaw (degrees)",
    y_label="RMSE within 95 mm (mm)",
    legend_below=True,
  )
  return Picture(chart, "3D error against yaw")


def _gaps(values: Iterable[float | None]) -> list[float]:
  return [np.nan if value is None else value for value in values]


def _expression_charts(results: SetResults) -> Grid:
  kinds = results.heldout.photos.expression_class
  pictures = []
  for figure, what, field in _FIGURES:
    series, errors = {}, {}
    for name, scores in results.scores.items():
      values = getattr(scores, field)
      found = [
        _interval(values[kinds == k], results.people[kinds == k])
        for k in range(EXPRESSION_CLASSES)
      ]
      series[name] = _gaps(f and f.mean for f in found)
      errors[name] = _gaps(f and (f.high - f.low) / 2 for f in found)
    chart = bar_chart(
      EXPRESSION_NAMES,
      series,
      y_label=f"RMSE of the {what} (mm)",
      errors=errors,
    )
    chart.set_size_inches(11, 4.2)
    text = f"{figure}: {what} by expression; bars are 95 % intervals"
    pictures.append(Picture(chart, text))
  return Grid(pictures)


def _cumulative(results: SetResults) -> Picture:
  series = {}
  for name, scores in results.scores.items():
    ordered = np.sort(scores.within[np.isfinite(scores.within)])
    share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
    series[name] = Series(ordered, share)
  chart = line_chart(
    series,
    x_label="RMSE within 95 mm (mm)",
    y_label="photos with at most that error (%)",
    marks=False,
    legend_below=True,
  )
  return Picture(chart, "Cumulative error")


def _maps(results: SetResults) -> Picture:
  names = list(results.error_map_mm)[:_MAPS_SHOWN]
  fitter = results.heldout.fitter
  mean = np.asarray(fitter.mean_shape)
  chart = heat_map(
    np.broadcast_to(mean, (len(names), *mean.shape)),
    np.asarray(fitter.triangles),
    np.stack([results.error_map_mm[name] for name in names]),
    labels=names,
    title="mean distance to the truth (mm)",
  )
  text = "Where the error is: mean over the photos, drawn on the mean shape"
  return Picture(chart, text)
