"""The figures that the paper prints, to stand beside what is measured here."""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from disentangle3d.reporting.html_page import (
  Row,
  Table,
  format_number,
  mean_std,
)

# A number, one with its standard deviation, or nothing.
Cell = float | tuple[float, float] | None
# By key of a paper's table: what a run measured, row by row.
Measured = Mapping[str, Mapping[str, Sequence[Cell]]]

TABLE_1, TABLE_2 = "Table 1", "Table 2"
FIGURE_6, FIGURE_7 = "Fig. 6", "Fig. 7"
LFW, YTF = "Table 3, LFW", "Table 3, YTF"
FUSION, TABLE_4 = "4.2, fusion on YTF", "Table 4"

# |yaw| of Table 1's columns.
YAW_DEG = (90, 80, 70, 60, 50, 40, 30, 20, 10, 0)
EXPRESSIONS = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")
_VERIFICATION = ("Accuracy", "100%-EER", "AUC", "TAR@FAR10%", "TAR@FAR1%")


@dataclasses.dataclass(frozen=True)
class PaperTable:
  """A table of the paper, or the means that the text under a figure gives.

  Attributes:
    what: What its numbers are, with their unit.
    columns: Their names.
    rows: As printed; None is a dash in the paper.
  """

  what: str
  columns: tuple[str, ...]
  rows: Mapping[str, Sequence[Cell]]


_SHAPE, _TEXTURE, _BOTH = "shape", "texture", "shape + texture"

PAPER_TABLES = {
  TABLE_1: PaperTable(
    "RMSE in mm on BU-3DFE by yaw",
    (*(f"±{yaw}°" if yaw else "0°" for yaw in YAW_DEG), "Avg."),
    {
      "VRN": (6.96, 6.20, 6.14, 6.01, 5.91, 5.50, 4.93, 3.86, 3.70, 3.66, 5.29),
      "3DDFA": (
        *(2.90, 2.88, 2.81, 2.82, 2.77, 2.79, 2.76, 2.73, 2.55, 2.48),
        2.75,
      ),
      "3DMM-CNN": (
        *(None, None, None, None, 2.30, 2.26, 2.23, 2.22, 2.19, 2.17),
        2.23,
      ),
      "3DSR": (
        *(2.11, 2.11, 2.12, 2.13, 2.16, 2.14, 2.12, 2.10, 2.10, 2.09),
        2.12,
      ),
      "Proposed": (
        *(2.09, 2.04, 2.03, 2.03, 2.00, 1.99, 2.03, 2.01, 1.97, 1.93),
        2.01,
      ),
    },
  ),
  TABLE_2: PaperTable(
    "RMSE in mm on MICC's outdoor videos",
    ("RMSE",),
    {
      "VRN": (5.34,),
      "3DDFA": (2.73,),
      "3DMM-CNN": (2.20,),
      "3DSR": (2.07,),
      "Proposed": (2.00,),
    },
  ),
  FIGURE_6: PaperTable(
    "RMSE in mm of the full shape on BU-3DFE, mean over the expressions",
    ("RMSE",),
    {"VRN": (4.68,), "3DDFA": (2.56,), "Proposed": (2.19,)},
  ),
  FIGURE_7: PaperTable(
    "RMSE in mm of the identity shape on BU-3DFE, mean over the expressions",
    ("RMSE",),
    {"3DMM-CNN": (2.21,), "3DSR": (2.10,), "Proposed": (2.00,)},
  ),
  LFW: PaperTable(
    "LFW, percent, mean ± std over the folds",
    _VERIFICATION,
    {
      f"3DMM, {_SHAPE}": (
        *((66.13, 2.79), (65.70, 2.81), (72.24, 2.75)),
        *((35.90, 3.74), (12.37, 4.81)),
      ),
      f"3DMM, {_TEXTURE}": (
        *((74.93, 1.14), (74.50, 1.21), (82.94, 1.14)),
        *((60.40, 3.15), (28.73, 7.17)),
      ),
      f"3DMM, {_BOTH}": (
        *((75.25, 2.12), (74.73, 2.56), (83.21, 1.93)),
        *((59.40, 4.64), (29.67, 4.73)),
      ),
      f"3DDFA, {_SHAPE}": (
        *((66.98, 2.56), (67.13, 1.90), (73.30, 2.49)),
        *((36.76, 6.27), (10.00, 3.22)),
      ),
      f"3DMM-CNN, {_SHAPE}": (
        *((90.53, 1.34), (90.63, 1.61), (96.60, 0.79)),
        *((91.13, 2.62), (58.20, 12.14)),
      ),
      f"3DMM-CNN, {_TEXTURE}": (
        *((90.60, 1.07), (90.70, 1.17), (96.75, 0.59)),
        *((91.23, 2.42), (52.60, 8.14)),
      ),
      f"3DMM-CNN, {_BOTH}": (
        *((92.35, 1.29), (92.33, 1.33), (97.71, 0.64)),
        *((94.20, 2.00), (65.57, 6.93)),
      ),
      f"Proposed, {_SHAPE}": (
        *((94.43, 1.47), (94.40, 1.52), (98.12, 0.90)),
        *((95.07, 2.39), (74.54, 4.33)),
      ),
    },
  ),
  YTF: PaperTable(
    "YTF, percent, mean ± std over the folds",
    _VERIFICATION,
    {
      f"3DMM, {_SHAPE}": (
        *((73.26, 2.51), (73.08, 2.65), (80.41, 2.60)),
        *((51.36, 5.11), (24.04, 4.56)),
      ),
      f"3DMM, {_TEXTURE}": (
        *((77.34, 2.54), (76.96, 2.64), (85.32, 2.63)),
        *((63.16, 5.07), (31.36, 5.21)),
      ),
      f"3DMM, {_BOTH}": (
        *((79.56, 2.08), (79.20, 2.07), (87.35, 1.92)),
        *((69.08, 5.00), (34.56, 6.89)),
      ),
      f"3DDFA, {_SHAPE}": (
        *((68.10, 2.93), (67.96, 3.12), (74.95, 3.04)),
        *((40.52, 3.65), (12.20, 2.67)),
      ),
      f"3DMM-CNN, {_SHAPE}": (
        *((88.28, 1.84), (88.32, 2.16), (95.95, 1.38)),
        *((86.60, 3.95), (51.12, 8.86)),
      ),
      f"3DMM-CNN, {_TEXTURE}": (
        *((87.56, 2.56), (87.68, 2.25), (94.44, 1.38)),
        *((84.80, 4.89), (40.92, 8.26)),
      ),
      f"3DMM-CNN, {_BOTH}": (
        *((88.80, 2.21), (88.84, 2.40), (95.37, 1.43)),
        *((87.92, 4.18), (46.56, 6.20)),
      ),
      f"Proposed, {_SHAPE}": (
        *((88.74, 1.03), (88.70, 1.15), (96.28, 0.63)),
        *((89.00, 2.40), (53.44, 4.51)),
      ),
    },
  ),
  FUSION: PaperTable(
    "Accuracy in percent on YTF; the fusion is a sum of scores",
    ("Accuracy",),
    {"SphereFace": (94.78,), "SphereFace + Proposed": (95.18,)},
  ),
  TABLE_4: PaperTable(
    "Milliseconds an image, 700 images on a GTX 1080 and an i7-5930K",
    ("ms",),
    {
      "VRN": (55.68,),
      "3DDFA": (39.17,),
      "3DMM-CNN": (30.12,),
      "3DSR": (29.80,),
      "Proposed": (4.79,),
    },
  ),
}


def paper_table(key: str, measured: Mapping[str, Sequence[Cell]]) -> Table:
  """The printed rows, and under them the measured ones.

  Args:
    key: In `PAPER_TABLES`.
    measured: Row by row, with as many cells; none at all makes a row of
      dashes.

  Returns:
    A table for a page.
  """
  printed = PAPER_TABLES[key]
  here = dict(measured) or {"this run": (None,) * len(printed.columns)}
  rows = printed_rows(key)
  rows += [(name, *map(_text, cells)) for name, cells in here.items()]
  caption = (
    f"{key}: {printed.what}. Printed rows are the paper's; the others were"
    " measured here, on what their names say."
  )
  return Table(("", *printed.columns), rows, caption=caption)


def printed_rows(key: str) -> list[Row]:
  """The paper's own rows of one of `PAPER_TABLES`, as cells of a table."""
  return [
    (f"{name} (printed)", *map(_text, cells))
    for name, cells in PAPER_TABLES[key].rows.items()
  ]


def number_or_none(value: float) -> float | None:
  """For a measured cell: None where there is no number."""
  return float(value) if np.isfinite(value) else None


def _text(cell: Cell) -> str:
  if isinstance(cell, tuple | list):
    mean, std = cell
    return mean_std(mean, float("nan") if std is None else std)
  return format_number(cell)
