"""What was measured on the University of York's scans, in the paper's forms."""

from collections.abc import Mapping

import numpy as np

from data_prep.evaluation_sets.york import EXPRESSIONS
from disentangle3d.evaluation.bootstrap import (
  Interval,
  mean_and_interval,
  paired_bootstrap,
)
from disentangle3d.evaluation.reconstruction import RADIUS_MM
from disentangle3d.evaluation.scans import around_nose, now_mask, within_outline
from disentangle3d.evaluation.shape_scores import ShapeScores
from disentangle3d.evaluation.side_by_side import (
  OUTLINE_MEDIAN,
  OUTLINE_RMSE,
  SPHERE_RMSE,
  SideBySide,
)
from disentangle3d.reporting.charts import Series, line_chart
from disentangle3d.reporting.figures import heat_map
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Paragraph,
  Picture,
  Row,
  Section,
  Table,
  interval,
)
from experiments.measures.york import NEARER, YorkResults
from experiments.pages.paper_tables import (
  FIGURE_6,
  FIGURE_7,
  TABLE_1,
  TABLE_2,
  Measured,
  paper_table,
)
from experiments.pages.reconstruction import (
  YAW_STEPS,
  cumulative_chart,
  expression_charts,
  expression_rows,
  mean_rows,
  named_sections,
  yaw_chart,
  yaw_rows,
)
from experiments.sets.heldout import MEAN_SHAPE, SINGLE_FIT

_MAPS_SHOWN, _METHODS_SHOWN, _MAP_END_MM = 3, 6, 6.0
# A scan's sizes are rounded up to these, so that one program draws them all.
_VERTICES, _TRIANGLES = 8192, 16384


def york_sections(results: YorkResults) -> list[Section]:
  """Everything about the scans."""
  faces, name = results.set, results.set.title
  scores = _scores(results)
  rejected = ", ".join(f"{n} {why}" for why, n in faces.rejected.items())
  blocks: list[Block] = [
    outline_table(results.table),
    Paragraph(
      f"Scans left out: {rejected or 'none'}. Measured are {len(faces.photos)}"
      f" scans of {len(np.unique(faces.people))} people."
    ),
    expression_charts(
      scores, faces.people, _kinds(results), list(EXPRESSIONS.values())
    ),
    Paragraph(
      "There is no neutral scan: the identity shape is laid over the same scan"
      " as the full shape."
    ),
    consistency_table(results.nearer, faces.people),
    *(paper_table(key, rows) for key, rows in york_rows(results).items()),
    cumulative_chart(scores, "RMSE within the outline"),
    *_maps(results),
  ]
  if results.bounds:
    blocks += [_convergence(results), sensitivity_table(results.table)]
  blocks.append(_regions(results))
  return named_sections(name, blocks, results.table)


def york_rows(results: YorkResults) -> Measured:
  """Rows of Table 2 under two protocols, of Fig. 6 and 7 under `outline`."""
  name = results.set.title
  scores = _scores(results)
  within = f"{name} within the outline"
  figures = expression_rows(
    scores, _kinds(results), range(len(EXPRESSIONS)), within
  )
  return {
    TABLE_2: mean_rows(scores, within)
    | mean_rows(_sphere_scores(results), f"{name} within 95 mm"),
    FIGURE_6: figures[FIGURE_6],
    FIGURE_7: figures[FIGURE_7],
  }


def york_yaw_sections(results: YorkResults) -> list[Section]:
  """Everything about the photos rendered from the scans."""
  title = results.set.title
  blocks: list[Block] = [
    outline_table(results.table),
    yaw_chart(
      _scores(results), _yaw_deg(results), YAW_STEPS, within="the outline"
    ),
  ]
  blocks += [
    paper_table(key, rows) for key, rows in york_yaw_rows(results).items()
  ]
  return named_sections(title, blocks, None)


def york_yaw_rows(results: YorkResults) -> Measured:
  """Rows of Table 1 under two protocols."""
  title, yaw_deg = results.set.title, _yaw_deg(results)
  return {
    TABLE_1: yaw_rows(_scores(results), yaw_deg, f"{title} within the outline")
    | yaw_rows(_sphere_scores(results), yaw_deg, f"{title} within 95 mm")
  }


def _yaw_deg(results: YorkResults) -> np.ndarray:
  return np.array([float(photo.condition) for photo in results.set.photos])


def _sphere_scores(results: YorkResults) -> dict[str, ShapeScores]:
  """Root mean squares within 95 mm of the nose tip, as the paper's."""
  return {
    method: ShapeScores.only_within(_four(columns[SPHERE_RMSE]))
    for method, columns in results.table.scores.items()
  }


def fit_parts_section(title: str, table: SideBySide) -> Section:
  """What each part of a landmark calibration adds to the fits."""
  return Section(
    f"{title}: parts of the landmark calibration", [outline_table(table)]
  )


def outline_table(table: SideBySide) -> Table:
  """Each method under `outline`, and its difference to the mean shape."""
  against = [
    (OUTLINE_MEDIAN, MEAN_SHAPE),
    (OUTLINE_RMSE, MEAN_SHAPE),
    (OUTLINE_MEDIAN, SINGLE_FIT),
  ]
  rows: list[Row] = []
  for name, columns in table.scores.items():
    cells = [table.interval(name, c) for c in (OUTLINE_MEDIAN, OUTLINE_RMSE)]
    cells += [
      _difference(table, name, column, other) for column, other in against
    ]
    photos = int(np.isfinite(columns[OUTLINE_MEDIAN]).sum())
    rows.append((name, *map(interval, cells), photos))
  return Table(
    (
      "",
      "median",
      "RMSE",
      f"median − {MEAN_SHAPE}",
      f"RMSE − {MEAN_SHAPE}",
      "median − landmark fit",
      "scans",
    ),
    rows,
    caption=(
      "Distance in mm of the scan's vertices inside the face's outline in its"
      " photograph to the reconstruction, laid over them with scale on the"
      " nearest 90 % (protocol outline): median and root mean square a scan,"
      " mean over scans, 95 % intervals (people drawn); then photo by photo"
      f" minus the {MEAN_SHAPE} or the {SINGLE_FIT}."
    ),
  )


def consistency_table(
  nearer: Mapping[str, np.ndarray], people: np.ndarray
) -> Table:
  """How often identity shapes of one person are the nearer ones.

  Args:
    nearer: By method, of `nearer_than_strangers`.
    people: Who is in each photo.
  """
  rows: list[Row] = []
  for name, shares in nearer.items():
    known = np.isfinite(shares)
    found = None
    if known.any():
      found = mean_and_interval(100 * shares[known], groups=people[known])
    rows.append((name, interval(found), int(known.sum())))
  return Table(
    ("", "nearer than 20 strangers", "photos"),
    rows,
    caption=(
      "How often, in percent, the identity shape of a photo is nearer to that"
      " of the same person's other expression than to any of 20 strangers'"
      " photos (mean over all draws; RMS within 95 mm of the nose tip, laid"
      " over the mean shape with scale)."
    ),
  )


def sensitivity_table(table: SideBySide) -> Table:
  """How much of a step towards the scans each protocol sees."""
  rows: list[Row] = []
  for column in table.scores[NEARER]:
    nearer, mean = (table.scores[name][column] for name in (NEARER, MEAN_SHAPE))
    rows.append(
      (
        column,
        100 * float(np.mean(nearer < mean)),
        interval(_difference(table, NEARER, column, MEAN_SHAPE)),
        100 * float(1 - nearer.mean() / mean.mean()),
      )
    )
  return Table(
    ("", "better, % of scans", "difference in mm", "fall of the mean, %"),
    rows,
    caption=(
      "What each protocol says of a shape that is nearer to the scan:"
      f" {NEARER}, against the {MEAN_SHAPE}. One that saw nothing but the shape"
      " would fall by nearly a fifth."
    ),
    digits=1,
  )


def _difference(
  table: SideBySide, name: str, column: str, other: str
) -> Interval | None:
  """One method's errors minus another's, photo by photo."""
  if name == other or other not in table.scores:
    return None
  both = table.scores[name][column], table.scores[other][column]
  known = np.isfinite(both).all(0)
  if not known.any():
    return None
  groups = None if table.groups is None else table.groups[known]
  return paired_bootstrap(both[0][known], both[1][known], groups=groups)


def _scores(results: YorkResults) -> dict[str, ShapeScores]:
  """Root mean squares within the outline, in the form of the other sets."""
  missing = np.full(len(results.set.photos), np.nan)
  return {
    name: ShapeScores.only_within(
      _four(columns[OUTLINE_RMSE], results.identity_rmse_mm.get(name, missing))
    )
    for name, columns in results.table.scores.items()
  }


def _four(full: np.ndarray, identity: np.ndarray | None = None) -> np.ndarray:
  """With NaN for what is not measured."""
  missing = np.full(len(full), np.nan)
  return np.stack(
    [full, missing, missing if identity is None else identity, missing]
  )


def _kinds(results: YorkResults) -> np.ndarray:
  names = list(EXPRESSIONS)
  return np.array([names.index(p.condition) for p in results.set.photos])


def _maps(results: YorkResults) -> list[Block]:
  """Where the error is, on the first scans of some people."""
  people = results.set.people
  rows = [int(np.argmax(people == one)) for one in np.unique(people)]
  pictures = []
  for row in rows[:: max(1, len(rows) // _MAPS_SHOWN)][:_MAPS_SHOWN]:
    errors = {
      name: distances[row]
      for name, distances in results.table.outline_mm.items()
      if distances[row] is not None
    }
    names = list(errors)
    shown = names if len(names) <= _METHODS_SHOWN else names[-_METHODS_SHOWN:]
    pictures.append(_map(results, row, {name: errors[name] for name in shown}))
  return [Grid(pictures, columns=1)] if pictures else []


def _map(
  results: YorkResults, row: int, errors: Mapping[str, np.ndarray | None]
) -> Picture:
  photo = results.set.photos[row]
  surface = photo.scan.surface
  size = max(_VERTICES, len(surface.vertices))
  vertices = np.zeros((size, 3), np.float32)
  centred = surface.vertices - surface.vertices.mean(0)
  vertices[: len(centred)] = centred
  triangles = np.zeros((max(_TRIANGLES, len(surface.triangles)), 3), np.int32)
  triangles[: len(surface.triangles)] = surface.triangles
  shown = np.full((len(errors), size), np.nan)
  for place, distance in enumerate(errors.values()):
    if distance is not None:
      shown[place, : len(distance)] = distance
  chart = heat_map(
    np.broadcast_to(vertices, (len(errors), *vertices.shape)),
    triangles,
    shown,
    maximum_mm=_MAP_END_MM,
    labels=list(errors),
    title="distance (mm)",
  )
  text = f"Where the error is: {photo.name}, grey outside the outline"
  return Picture(chart, text)


def _regions(results: YorkResults) -> Table:
  """What the protocols' spheres take in beside the face, and leave out."""
  rows: list[Row] = []
  for name, region in (
    (f"within {RADIUS_MM:.0f} mm of the nose tip", around_nose),
    ("NoW's mask", now_mask),
  ):
    beside, missing = [], []
    for photo in results.set.photos:
      taken = region(photo.scan, RADIUS_MM)
      face = within_outline(photo.scan, RADIUS_MM)
      beside.append(100 * float((~face)[taken].mean()))
      missing.append(100 * float((~taken)[face].mean()))
    rows.append((name, float(np.mean(beside)), float(np.mean(missing))))
  return Table(
    ("", "beside the face, %", "of the face left out, %"),
    rows,
    caption=(
      "How much of what a protocol measures is beside the face's outline (hair,"
      " ears, neck), and how much of what is inside it is left out: vertices,"
      " mean over the scans."
    ),
    digits=1,
  )


def _convergence(results: YorkResults) -> Picture:
  """How the nearest shapes of the 3DMM were come to."""
  histories = [bound.rms_mm for bound in results.bounds]
  steps = range(max(map(len, histories)))
  # A finished one stays where it is.
  table = np.array(
    [[h[min(step, len(h) - 1)] for step in steps] for h in histories]
  )
  low, middle, high = np.quantile(table, [0.1, 0.5, 0.9], axis=0)
  chart = line_chart(
    {"median of the scans": Series(list(steps), middle, low, high)},
    x_label="iteration",
    y_label="RMS of the nearest 90 % (mm)",
    log_y=True,
  )
  stuck = sum(not bound.converged for bound in results.bounds)
  return Picture(
    chart,
    "The lower bound: the 3DMM fitted to each scan, with landmarks first; the"
    f" band holds 80 % of the scans. Not converged: {stuck} of"
    f" {len(histories)}.",
  )
