"""The paper's tables of real scans, from measured results."""

from collections.abc import Sequence

import numpy as np

from disentangle3d.reporting.figures import heat_map
from disentangle3d.reporting.html_page import Block, Paragraph, Picture, Section
from experiments.measures.scans import ScanResults
from experiments.pages.paper_tables import (
  EXPRESSIONS,
  TABLE_1,
  TABLE_2,
  Measured,
  paper_table,
)
from experiments.pages.reconstruction import (
  YAW_STEPS,
  cumulative_chart,
  difference_table,
  expression_charts,
  expression_rows,
  mean_rows,
  named_sections,
  summary_table,
  yaw_chart,
  yaw_rows,
)
from experiments.sets.scans import BU3DFE, BU3DFE_YAW, MICC, load_scan

_SCANS_SHOWN = 6


def scan_sections(
  results: ScanResults, differences: Sequence[tuple[str, str]]
) -> list[Section]:
  """Everything about one set.

  Args:
    results: What was measured.
    differences: Pairs of methods to subtract, photo by photo.
  """
  faces, scores = results.set, results.scores
  blocks: list[Block] = [
    summary_table(
      scores,
      faces.people,
      "people. From the scan's vertices to the nearest points of the"
      " reconstruction, laid over it by common landmarks; the identity shape"
      " against the person's neutral scan.",
    ),
    Paragraph(f"Photos: {faces.remarks}."),
  ]
  if differences:
    blocks.append(difference_table(scores, faces.people, differences))
  if faces.name == BU3DFE_YAW:
    blocks.append(yaw_chart(scores, _yaw_deg(results), YAW_STEPS))
  elif faces.name == BU3DFE:
    kinds = _kinds(results)
    present = np.unique(kinds)
    blocks.append(
      expression_charts(
        scores,
        faces.people,
        np.searchsorted(present, kinds),
        [EXPRESSIONS[k] for k in present],
      )
    )
  blocks += [paper_table(k, rows) for k, rows in scan_rows(results).items()]
  blocks.append(cumulative_chart(scores))
  if results.first_errors_mm:
    blocks.append(_first_scan(results))
  return named_sections(faces.name, blocks, results.table)


def scan_rows(results: ScanResults) -> Measured:
  """The set's rows of the paper's tables: RMSE in mm, protocol liu2018."""
  scores, name = results.scores, results.set.name
  if name == BU3DFE_YAW:
    return {TABLE_1: yaw_rows(scores, _yaw_deg(results), name)}
  if name == MICC:
    return {TABLE_2: mean_rows(scores, name)}
  kinds = _kinds(results)
  return expression_rows(scores, kinds, np.unique(kinds).tolist(), name)


def _first_scan(results: ScanResults) -> Picture:
  """Where the error is, on the first scan."""
  photo = results.set.photos[0]
  surface = load_scan(photo.scan).surface
  names = list(results.first_errors_mm)[:_SCANS_SHOWN]
  chart = heat_map(
    np.broadcast_to(
      surface.vertices.astype(np.float32), (len(names), *surface.vertices.shape)
    ),
    surface.triangles,
    np.stack([results.first_errors_mm[name] for name in names]),
    labels=names,
    title="distance to the reconstruction (mm)",
  )
  text = f"Where the error is: the scan of {photo.name}, grey beyond 95 mm"
  return Picture(chart, text)


def _yaw_deg(results: ScanResults) -> np.ndarray:
  return np.array([float(photo.condition) for photo in results.set.photos])


def _kinds(results: ScanResults) -> np.ndarray:
  return np.array(
    [EXPRESSIONS.index(photo.condition) for photo in results.set.photos]
  )
