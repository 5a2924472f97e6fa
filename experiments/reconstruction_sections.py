"""The paper's reconstruction tables and figures, from measured results."""

from collections.abc import Sequence

import numpy as np

from disentangle3d.evaluation.bootstrap import (
  mean_and_interval,
  paired_bootstrap,
)
from disentangle3d.evaluation.side_by_side import COLUMNS, SideBySide
from disentangle3d.faces.synthetic_world import EXPRESSION_CLASSES
from disentangle3d.reporting.charts import Series, bar_chart, line_chart
from disentangle3d.reporting.figures import heat_map
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Paragraph,
  Picture,
  Section,
  Table,
  format_number,
  interval,
)
from experiments.paper_figures import EXPRESSIONS, TABLE_1, TABLE_2, YAW_DEG
from experiments.reconstruction_results import SetResults
from experiments.synthetic_sets import EXPRESSION, OUTDOOR, YAW

EXPRESSION_NAMES = (
  "neutral",
  *(f"expression {number}" for number in range(1, EXPRESSION_CLASSES)),
)
_MAPS_SHOWN = 6


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
    blocks += [yaw_table(results), _yaw_chart(results)]
  elif results.name == EXPRESSION:
    blocks += _expression_charts(results)
  elif results.name == OUTDOOR:
    blocks.append(_printed("Table 2, printed (MICC)", TABLE_2))
  blocks.append(_cumulative(results))
  if results.error_map_mm:
    blocks.append(_maps(results))
  sections = [Section(f"3D error: {results.name}", blocks)]
  if results.table is not None:
    title = f"All protocols side by side: {results.name}"
    sections.append(Section(title, [protocol_table(results.table)]))
  return sections


def yaw_table(results: SetResults) -> Table:
  """Table 1: RMSE by |yaw|, both sides together, and the paper's rows."""
  steps = np.abs(10 * np.round(results.yaw_deg / 10)).astype(int)
  rows: list[tuple[str | float | None, ...]] = []
  for name, scores in results.scores.items():
    means = [float(scores.within[steps == one].mean()) for one in YAW_DEG]
    rows.append((name, *means, float(np.mean(means))))
  rows += [(f"{n}, printed (BU-3DFE)", *v) for n, v in TABLE_1.items()]
  header = ("", *(f"±{yaw}°" if yaw else "0°" for yaw in YAW_DEG), "Avg.")
  return Table(
    header,
    rows,
    caption=(
      "Table 1: RMSE in mm by yaw, protocol liu2018; the average is over the"
      " angles. The printed rows are of other people, and of scans."
    ),
  )


def protocol_table(table: SideBySide) -> Table:
  """Rows of protocols, columns of methods, with 95 % intervals."""
  methods = list(table.scores)
  rows: list[tuple[str, ...]] = []
  for column in COLUMNS:
    cells = [table.interval(method, column) for method in methods]
    digits = 4 if "printed" in column else 2
    rows.append(
      (column, *(interval(c.mean, c.low, c.high, digits=digits) for c in cells))
    )
  for reading in ("median", "mean", "std"):
    numbers = [getattr(table.now[method], reading) for method in methods]
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
    found = [mean_and_interval(c, groups=results.people) for c in columns]
    rows.append((name, *(interval(f.mean, f.low, f.high) for f in found)))
  header = (
    "",
    "full shape",
    "full shape, rigid",
    "identity shape",
    "identity shape, rigid",
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
      shown = interval(found.mean, found.low, found.high)
      parts.append(f"{first} − {second}, {what} shape: {shown} mm")
  return Paragraph("Paired differences, 95 %: " + "; ".join(parts) + ".")


def _yaw_chart(results: SetResults) -> Picture:
  steps = (10 * np.round(results.yaw_deg / 10)).astype(int)
  places = np.unique(steps)
  series = {
    name: Series(
      places, [float(scores.within[steps == one].mean()) for one in places]
    )
    for name, scores in results.scores.items()
  }
  chart = line_chart(
    series, x_label="yaw (degrees)", y_label="RMSE within 95 mm (mm)"
  )
  return Picture(chart, "3D error against yaw")


def _expression_charts(results: SetResults) -> list[Block]:
  kinds = results.heldout.photos.expression_class
  pictures = []
  for figure, what, field in (
    ("Fig. 6", "full shape", "within"),
    ("Fig. 7", "identity shape", "identity_within"),
  ):
    series, errors = {}, {}
    for name, scores in results.scores.items():
      values = getattr(scores, field)
      found = [
        mean_and_interval(values[kinds == k], groups=results.people[kinds == k])
        for k in range(EXPRESSION_CLASSES)
      ]
      series[name] = [f.mean for f in found]
      errors[name] = [(f.high - f.low) / 2 for f in found]
    chart = bar_chart(
      EXPRESSION_NAMES,
      series,
      y_label=f"RMSE of the {what} (mm)",
      errors=errors,
    )
    chart.set_size_inches(11, 4.2)
    text = f"{figure}: {what} by expression; bars are 95 % intervals"
    pictures.append(Picture(chart, text))
  return [
    Grid(pictures),
    _printed("Fig. 6 and 7, printed means (BU-3DFE)", EXPRESSIONS),
  ]


def _printed(caption: str, figures: dict[str, float]) -> Table:
  return Table(("", "RMSE (mm)"), list(figures.items()), caption=caption)


def _cumulative(results: SetResults) -> Picture:
  series = {}
  for name, scores in results.scores.items():
    ordered = np.sort(scores.within)
    share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
    series[name] = Series(ordered, share)
  chart = line_chart(
    series,
    x_label="RMSE within 95 mm (mm)",
    y_label="photos with at most that error (%)",
    marks=False,
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
