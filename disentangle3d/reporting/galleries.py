"""Galleries: pictures in rows and columns with titles, boxes and one scale.

Pictures are uint8 RGB, `[H, W, 3]`, and come out pixel by pixel where they are
as large as a cell; smaller ones (photos) are enlarged into their cell.
"""

from collections.abc import Sequence
import dataclasses
import textwrap

from jaxtyping import UInt8
import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import numpy as np

from disentangle3d.reporting.charts import FIGURE_DPI
from disentangle3d.reporting.figures import ERROR_COLORS
from disentangle3d.reporting.pictures import check_photo

Cell = UInt8[np.ndarray, "H W 3"] | None

_GAP_PX, _LABEL_PX, _TITLE_PX, _BAR_PX = 10, 64, 64, 210
_FONT, _SCALE_BAR_MM = 15, 50


@dataclasses.dataclass(frozen=True)
class Box:
  """A frame around neighbouring columns.

  Attributes:
    columns: The first, and the one after the last.
    label: What they have in common; above the frame.
    color: Of frame and label, for matplotlib.
  """

  columns: tuple[int, int]
  label: str
  color: str


@dataclasses.dataclass(frozen=True)
class ColorBar:
  """The scale of pictures coloured by `error_views`.

  Attributes:
    maximum: Its end.
    label: What it shows, with the unit.
  """

  maximum: float
  label: str


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where cells stand; pixels from the figure's upper left corner."""

  rows: int
  columns: int
  cell_px: int
  left: int
  top: int
  width: int
  height: int

  def cell(self, row: int, column: int) -> tuple[int, int]:
    """Upper left corner."""
    step = self.cell_px + _GAP_PX
    return self.left + column * step, self.top + row * step

  def box(
    self, x: float, y: float, width: float, height: float
  ) -> tuple[float, float, float, float]:
    """As matplotlib wants it: fractions, from the lower left."""
    return (
      x / self.width,
      1 - (y + height) / self.height,
      width / self.width,
      height / self.height,
    )


def gallery(
  rows: Sequence[Sequence[Cell]],
  *,
  row_labels: Sequence[str] = (),
  column_labels: Sequence[str] = (),
  boxes: Sequence[Box] = (),
  cell_px: int = 512,
  extent_mm: float | None = None,
  color_bar: ColorBar | None = None,
) -> Figure:
  """Pictures in rows and columns.

  Args:
    rows: As many cells each; None is a dash (nothing was made).
    row_labels: One a row, or none at all.
    column_labels: One a column, or none at all.
    boxes: Frames around columns.
    cell_px: Side of a cell.
    extent_mm: What a cell's side shows; draws a bar of 50 mm.
    color_bar: Of the pictures, drawn at the right.

  Returns:
    A matplotlib figure.

  Raises:
    ValueError: There is no picture, a row has another number of cells, there
      is not one label each, or a box leaves the columns.
    TypeError: A picture is not uint8.
  """
  layout = _layout(rows, row_labels, column_labels, boxes, cell_px, color_bar)
  figure = Figure(
    figsize=(layout.width / FIGURE_DPI, layout.height / FIGURE_DPI),
    facecolor="white",
  )
  for number, cells in enumerate(rows):
    for column, cell in enumerate(cells):
      _draw_cell(figure, layout, cell, *layout.cell(number, column))
  for number, label in enumerate(row_labels):
    _, y = layout.cell(number, 0)
    _text(figure, layout, label, _LABEL_PX / 2, y + cell_px / 2, rotation=90)
  for number, label in enumerate(column_labels):
    x, _ = layout.cell(0, number)
    wrapped = "\n".join(textwrap.wrap(label, max(cell_px // 17, 8)))
    _text(
      figure, layout, wrapped, x + cell_px / 2, layout.top - _TITLE_PX / 2 - 4
    )
  for box in boxes:
    _draw_box(figure, layout, box)
  bottom = layout.cell(layout.rows, 0)[1]
  if extent_mm is not None:
    _draw_scale(figure, layout, bottom, extent_mm)
  if color_bar is not None:
    x = layout.cell(0, layout.columns)[0] + 14
    axes = figure.add_axes(
      layout.box(x, layout.top, 28, bottom - _GAP_PX - layout.top)
    )
    scale = matplotlib.cm.ScalarMappable(
      matplotlib.colors.Normalize(0, color_bar.maximum),
      matplotlib.colormaps[ERROR_COLORS],
    )
    bar = figure.colorbar(scale, cax=axes, extend="max")
    bar.set_label(color_bar.label, fontsize=_FONT)
    bar.ax.tick_params(labelsize=_FONT)
  return figure


def _layout(
  rows: Sequence[Sequence[Cell]],
  row_labels: Sequence[str],
  column_labels: Sequence[str],
  boxes: Sequence[Box],
  cell_px: int,
  color_bar: ColorBar | None,
) -> _Layout:
  columns = len(rows[0]) if rows else 0
  if not columns or cell_px < 1:
    raise ValueError(
      f"rows, cell_px: expected at least one picture and pixel, got {len(rows)}"
      f" rows of {columns} in {cell_px} px"
    )
  for number, cells in enumerate(rows):
    if len(cells) != columns:
      raise ValueError(
        f"rows[{number}]: expected {columns} cells, got {len(cells)}"
      )
    for column, cell in enumerate(cells):
      if cell is not None:
        check_photo(f"rows[{number}][{column}]", cell)
  for name, labels, count in (
    ("row_labels", row_labels, len(rows)),
    ("column_labels", column_labels, columns),
  ):
    if labels and len(labels) != count:
      raise ValueError(f"{name}: expected {count}, got {len(labels)}")
  for box in boxes:
    first, end = box.columns
    if not 0 <= first < end <= columns:
      raise ValueError(
        f"boxes: expected columns within 0 to {columns}, got {first} to {end}"
      )
  left = _GAP_PX + (_LABEL_PX if row_labels else 0)
  top = _GAP_PX + (_TITLE_PX if column_labels else 0)
  top += 34 if boxes else 0
  step = cell_px + _GAP_PX
  return _Layout(
    rows=len(rows),
    columns=columns,
    cell_px=cell_px,
    left=left,
    top=top,
    width=left + columns * step + (_BAR_PX if color_bar else 0),
    height=top + len(rows) * step + 44,
  )


def _draw_cell(
  figure: Figure, layout: _Layout, cell: Cell, x: int, y: int
) -> None:
  size = layout.cell_px
  if cell is None:
    _text(figure, layout, "–", x + size / 2, y + size / 2)
    return
  height, width = cell.shape[:2]
  factor = size / max(height, width)
  shown = (width * factor, height * factor)
  axes = figure.add_axes(
    layout.box(x + (size - shown[0]) / 2, y + (size - shown[1]) / 2, *shown)
  )
  axes.imshow(cell, interpolation="nearest" if factor == 1 else "lanczos")
  axes.set_axis_off()


def _draw_box(figure: Figure, layout: _Layout, box: Box) -> None:
  x, _ = layout.cell(0, box.columns[0])
  end, bottom = layout.cell(layout.rows, box.columns[1])
  y = layout.top - _TITLE_PX - 6
  figure.add_artist(
    Rectangle(
      layout.box(x - 1, y, 0, bottom - y - 4)[:2],
      (end - x - _GAP_PX + 2) / layout.width,
      (bottom - y - 4) / layout.height,
      fill=False,
      edgecolor=box.color,
      linewidth=2,
    )
  )
  middle = (x + end - _GAP_PX) / 2
  _text(figure, layout, box.label, middle, y - 16, color=box.color)


def _draw_scale(
  figure: Figure, layout: _Layout, bottom: int, extent_mm: float
) -> None:
  length = _SCALE_BAR_MM / extent_mm * layout.cell_px
  middle = layout.cell(0, layout.columns - 1)[0] + layout.cell_px / 2
  figure.add_artist(
    Rectangle(
      layout.box(middle - length / 2, bottom + 4, 0, 6)[:2],
      length / layout.width,
      6 / layout.height,
      color="black",
      linewidth=0,
    )
  )
  _text(figure, layout, f"{_SCALE_BAR_MM} mm", middle, bottom + 24)


def _text(
  figure: Figure,
  layout: _Layout,
  text: str,
  x: float,
  y: float,
  *,
  rotation: float = 0,
  color: str = "black",
) -> None:
  figure.text(
    x / layout.width,
    1 - y / layout.height,
    text,
    ha="center",
    va="center",
    fontsize=_FONT,
    rotation=rotation,
    color=color,
    linespacing=1.05,
  )
