"""The paper's reconstruction tables and figures, from measured results."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from disentangle3d.evaluation.bootstrap import (
  Interval,
  mean_and_interval,
  paired_bootstrap,
)
from disentangle3d.evaluation.shape_scores import ShapeScores
from disentangle3d.evaluation.side_by_side import COLUMNS, SideBySide
from disentangle3d.faces.synthetic_world import EXPRESSION_CLASSES
from disentangle3d.reporting.charts import Series, bar_chart, line_chart
from disentangle3d.reporting.figures import heat_map
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Picture,
  Row,
  Section,
  Table,
  format_number,
  interval,
)
from experiments.measures.reconstruction import SetResults
from experiments.pages.paper_tables import (
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
from experiments.sets.synthetic import EXPRESSION, OUTDOOR, YAW

EXPRESSION_NAMES = (
  "neutral",
  *(f"expression {number}" for number in range(1, EXPRESSION_CLASSES)),
)
_MAPS_SHOWN = 8
# Degrees: around each angle of a sweep, and of photos taken anyhow.
YAW_STEPS = tuple(range(-95, 96, 10))
_TURNED = (0, 10, 20, 30, 40, 60, 90)
_COLUMNS = {
  "full shape": "within",
  "full shape, rigid": "within_rigid",
  "all vertices": "everywhere",
  "all vertices, rigid": "everywhere_rigid",
  "identity shape": "identity_within",
  "identity shape, rigid": "identity_within_rigid",
}
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
  blocks: list[Block] = [
    summary_table(
      results.scores,
      results.people,
      "people never trained on. The full shape against the photo's own truth,"
      " the identity shape against the person's true neutral shape.",
    )
  ]
  if differences:
    blocks.append(difference_table(results.scores, results.people, differences))
  if results.name == YAW:
    blocks.append(yaw_chart(results.scores, results.yaw_deg, YAW_STEPS))
  elif results.name == OUTDOOR:
    turned = np.abs(results.yaw_deg)
    blocks.append(yaw_chart(results.scores, turned, _TURNED, "|yaw|"))
  elif results.name == EXPRESSION:
    blocks.append(
      expression_charts(
        results.scores,
        results.people,
        np.asarray(results.heldout.photos.expression_class),
        EXPRESSION_NAMES,
      )
    )
  blocks += [paper_table(k, rows) for k, rows in paper_rows(results).items()]
  blocks.append(cumulative_chart(results.scores))
  if results.error_map_mm:
    blocks.append(_maps(results))
  return named_sections(results.name, blocks, results.table)


def named_sections(
  name: str, blocks: Sequence[Block], table: SideBySide | None
) -> list[Section]:
  """A set's blocks, and all protocols side by side where they were tried."""
  sections = [Section(f"3D error: {name}", blocks)]
  if table is not None:
    title = f"All protocols side by side: {name}"
    sections.append(Section(title, [_protocol_table(table)]))
  return sections


def paper_rows(results: SetResults) -> Measured:
  """The set's rows of the paper's tables: RMSE in mm, protocol liu2018."""
  if results.name == YAW:
    return {TABLE_1: yaw_rows(results.scores, results.yaw_deg, YAW)}
  if results.name == OUTDOOR:
    return {TABLE_2: mean_rows(results.scores, OUTDOOR)}
  kinds = np.asarray(results.heldout.photos.expression_class)
  return expression_rows(
    results.scores, kinds, range(EXPRESSION_CLASSES), EXPRESSION
  )


def mean_rows(scores: Mapping[str, ShapeScores], where: str) -> Rows:
  """One mean over all photos."""
  return {
    f"{name}, {where}": (_mean(one.within),) for name, one in scores.items()
  }


def expression_rows(
  scores: Mapping[str, ShapeScores],
  kinds: np.ndarray,
  names: Iterable[int],
  where: str,
) -> Measured:
  """Fig. 6 and 7: the mean over expressions, each counting the same."""
  classes = list(names)
  measured: dict[str, Rows] = {}
  for key, _, field in _FIGURES:
    measured[key] = {}
    for name, one in scores.items():
      values = getattr(one, field)
      means = [_mean(values[kinds == k]) for k in classes]
      known = [mean for mean in means if mean is not None]
      whole = float(np.mean(known)) if len(known) == len(means) else None
      measured[key][f"{name}, {where}"] = (whole,)
  return measured


def yaw_rows(
  scores: Mapping[str, ShapeScores], yaw_deg: np.ndarray, where: str
) -> Rows:
  """By |yaw|, both sides together; the average is over the angles."""
  steps = np.abs(10 * np.round(yaw_deg / 10)).astype(int)
  rows: Rows = {}
  for name, one in scores.items():
    means = [_mean(one.within[steps == angle]) for angle in YAW_DEG]
    known = [mean for mean in means if mean is not None]
    average = float(np.mean(known)) if known else None
    rows[f"{name}, {where}"] = (*means, average)
  return rows


def _mean(values: np.ndarray) -> float | None:
  """Over the photos that a method has a number for."""
  known = values[np.isfinite(values)]
  return number_or_none(known.mean()) if known.size else None


def _interval(values: np.ndarray, people: np.ndarray) -> Interval | None:
  known = np.isfinite(values)
  if not known.any():
    return None
  return mean_and_interval(values[known], groups=people[known])


def _protocol_table(table: SideBySide) -> Table:
  """Rows of protocols, columns of methods, with 95 % intervals."""
  methods = list(table.scores)
  rows: list[tuple[str, ...]] = []
  for column in COLUMNS:
    if column not in table.scores[methods[0]]:
      continue
    cells = [table.interval(method, column) for method in methods]
    digits = 4 if "printed" in column else 2
    rows.append((column, *(interval(c, digits=digits) for c in cells)))
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


def summary_table(
  scores: Mapping[str, ShapeScores], people: np.ndarray, caption: str
) -> Table:
  """Means and intervals of every method.

  Args:
    scores: By method.
    people: Who is in each photo.
    caption: What follows the number of people.
  """
  columns = {
    title: field
    for title, field in _COLUMNS.items()
    if any(np.isfinite(getattr(one, field)).any() for one in scores.values())
  }
  rows: list[Row] = []
  for name, one in scores.items():
    found = [_interval(getattr(one, f), people) for f in columns.values()]
    photos = int(np.isfinite(one.within).sum())
    rows.append((name, *map(interval, found), photos))
  return Table(
    ("", *columns, "photos"),
    rows,
    caption=(
      "RMSE in mm within 95 mm of the nose tip (liu2018) unless over all"
      f" vertices, mean over {len(people)} photos, 95 % intervals draw people:"
      f" {len(np.unique(people))} {caption}"
    ),
  )


def difference_table(
  scores: Mapping[str, ShapeScores],
  people: np.ndarray,
  pairs: Sequence[tuple[str, str]],
) -> Table:
  """Methods subtracted photo by photo, where both have a number."""
  rows = [
    (
      f"{first} − {second}",
      *(
        interval(
          paired_bootstrap(
            getattr(scores[first], field),
            getattr(scores[second], field),
            groups=people,
          )
        )
        for field in ("within", "identity_within")
      ),
    )
    for first, second in pairs
  ]
  return Table(
    ("", "full shape", "identity shape"),
    rows,
    caption="Paired differences in mm, photo by photo, 95 % (people drawn)",
  )


def yaw_chart(
  scores: Mapping[str, ShapeScores],
  yaw_deg: np.ndarray,
  edges_deg: Sequence[float],
  what: str = "yaw",
  within: str = "95 mm",
) -> Picture:
  """Mean error of the full shape in bins of yaw.

  Args:
    scores: By method.
    yaw_deg: Of each photo.
    edges_deg: Where bins begin and end.
    what: The angle's name.
    within: The region's.
  """
  bins = np.digitize(yaw_deg, edges_deg)
  filled = [bins == place for place in np.unique(bins)]
  places = [float(yaw_deg[inside].mean()) for inside in filled]
  series = {
    name: Series(places, _gaps(_mean(one.within[inside]) for inside in filled))
    for name, one in scores.items()
  }
  chart = line_chart(
    series,
    x_label=f"{what} (degrees)",
    y_label=f"RMSE within {within} (mm)",
    legend_below=True,
  )
  return Picture(chart, f"3D error against {what}")


def _gaps(values: Iterable[float | None]) -> list[float]:
  return [np.nan if value is None else value for value in values]


def expression_charts(
  scores: Mapping[str, ShapeScores],
  people: np.ndarray,
  kinds: np.ndarray,
  names: Sequence[str],
) -> Grid:
  """Fig. 6 and 7: bars by expression.

  Args:
    scores: By method.
    people: Who is in each photo.
    kinds: Place in `names` of each photo's expression.
    names: Of the expressions.
  """
  pictures = []
  for figure, what, field in _FIGURES:
    series, errors = {}, {}
    for name, one in scores.items():
      values = getattr(one, field)
      found = [
        _interval(values[kinds == k], people[kinds == k])
        for k in range(len(names))
      ]
      series[name] = _gaps(None if f is None else f.mean for f in found)
      errors[name] = _gaps(
        None if f is None else (f.high - f.low) / 2 for f in found
      )
    chart = bar_chart(
      names, series, y_label=f"RMSE of the {what} (mm)", errors=errors
    )
    chart.set_size_inches(11, 4.2)
    text = f"{figure}: {what} by expression; bars are 95 % intervals"
    pictures.append(Picture(chart, text))
  return Grid(pictures)


def cumulative_chart(
  scores: Mapping[str, ShapeScores], what: str = "RMSE within 95 mm"
) -> Picture:
  """Share of the photos with at most an error, of the full shape."""
  series = {}
  for name, one in scores.items():
    ordered = np.sort(one.within[np.isfinite(one.within)])
    share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
    series[name] = Series(ordered, share)
  chart = line_chart(
    series,
    x_label=f"{what} (mm)",
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
