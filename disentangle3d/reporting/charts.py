"""Charts for reports: matplotlib figures, each axis with its unit.

Only `matplotlib.figure.Figure` objects are used, never pyplot: nothing is
global and no display is needed. Series differ by colour and by line or mark,
so that charts survive black-and-white print and colour-blind readers.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import itertools

from jaxtyping import Array, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
import numpy as np

from disentangle3d.output_files import readable

# Okabe and Ito's palette without its yellow, which print loses.
_COLORS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#56B4E9",
  "#E69F00",
  "#000000",
)
_LINES = ("-", "--", "-.", ":")
# Of bars whose colour has come before.
_HATCHES = ("", "///", "...", "xxx")
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_SIZE_INCHES = (5.4, 3.4)
FIGURE_DPI = 150


@dataclasses.dataclass(frozen=True)
class Series:
  """One line of a chart.

  Attributes:
    x: Positions, `[P]`.
    y: Values, `[P]`; NaN leaves a gap.
    low: Lower ends of an interval, `[P]`, or None.
    high: Upper ends, `[P]`, or None.
  """

  x: Float[Array | np.ndarray, "P"] | Sequence[float]
  y: Float[Array | np.ndarray, "P"] | Sequence[float]
  low: Float[Array | np.ndarray, "P"] | Sequence[float] | None = None
  high: Float[Array | np.ndarray, "P"] | Sequence[float] | None = None


def line_chart(
  series: Mapping[str, Series],
  *,
  x_label: str,
  y_label: str,
  title: str = "",
  log_y: bool = False,
  marks: bool = True,
  legend_below: bool = False,
) -> Figure:
  """Lines with optional bands, e.g. rmse_mm against yaw.

  Args:
    series: Name to line, at least one.
    x_label: Horizontal axis, with its unit.
    y_label: Vertical axis, with its unit.
    title: Above the chart.
    log_y: A logarithmic vertical axis.
    marks: A mark at each point.
    legend_below: Below the axes, for lines that leave no room in them.

  Returns:
    A matplotlib figure.

  Raises:
    ValueError: There is no series, or the lengths in one disagree.
  """
  figure, axes = new_chart(series, title, x_label, y_label)
  for (name, line), (color, dash, mark) in zip(
    series.items(), styles(), strict=False
  ):
    x, y = _numbers(name, "x", line.x), _numbers(name, "y", line.y)
    _check_length(name, "y", y, x)
    axes.plot(
      x,
      y,
      dash,
      color=color,
      marker=mark if marks else None,
      markersize=4,
      linewidth=1.6,
      label=name,
    )
    if line.low is not None and line.high is not None:
      low = _numbers(name, "low", line.low)
      high = _numbers(name, "high", line.high)
      _check_length(name, "low", low, x)
      _check_length(name, "high", high, x)
      axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
  if log_y:
    axes.set_yscale("log")
  if legend_below:
    add_legend_below(figure, len(series))
  else:
    _add_legend(axes, len(series))
  return figure


def loss_curves(
  series: Mapping[str, Series],
  *,
  unit: str,
  title: str = "",
  log_y: bool = True,
  smooth_points: int = 0,
) -> Figure:
  """Training losses against the step: faint as logged, bold smoothed.

  Args:
    series: Name to losses, x the step; at least one.
    unit: Unit of the loss, e.g. `mm²` or `nats`.
    title: Above the chart.
    log_y: A logarithmic vertical axis.
    smooth_points: Width of the running mean, in points; 0 takes a fortieth
      of the points.

  Returns:
    A matplotlib figure.

  Raises:
    ValueError: There is no series, or the lengths in one disagree.
  """
  figure, axes = new_chart(series, title, "step", f"loss ({unit})")
  for (name, line), (color, dash, _) in zip(
    series.items(), styles(), strict=False
  ):
    x, y = _numbers(name, "x", line.x), _numbers(name, "y", line.y)
    _check_length(name, "y", y, x)
    width = smooth_points or max(len(y) // 40, 1)
    if width > 1:
      axes.plot(x, y, color=color, alpha=0.25, linewidth=0.8)
    mean = running_mean(y, width)
    axes.plot(x, mean, dash, color=color, linewidth=1.6, label=name)
  if log_y:
    axes.set_yscale("log")
  _add_legend(axes, len(series))
  return figure


def bar_chart(
  groups: Sequence[str],
  series: Mapping[str, Sequence[float]],
  *,
  y_label: str,
  title: str = "",
  errors: Mapping[str, Sequence[float]] | None = None,
  digits: int = 2,
) -> Figure:
  """Groups of bars with their values on top, e.g. rmse_mm by expression.

  Args:
    groups: A name for each group, G of them.
    series: Name to G heights, at least one; NaN draws a dash instead.
    y_label: Vertical axis, with its unit.
    title: Above the chart.
    errors: Half-lengths of error bars, G for each name that has them.
    digits: Decimals of the values on top.

  Returns:
    A matplotlib figure.

  Raises:
    ValueError: There is no series, or one does not have G values.
  """
  figure, axes = new_chart(series, title, "", y_label)
  errors = errors or {}
  width = 0.8 / len(series)
  place = np.arange(len(groups), dtype=np.float64)
  for i, (name, values) in enumerate(series.items()):
    repeat, own = divmod(i, len(_COLORS))
    heights = _numbers(name, "heights", values)
    _check_length(name, "heights", heights, place)
    half = None
    if name in errors:
      half = _numbers(name, "errors", errors[name])
      _check_length(name, "errors", half, place)
      half = np.where(np.isfinite(heights), half, np.nan)
    bars = axes.bar(
      place + (i - (len(series) - 1) / 2) * width,
      np.nan_to_num(heights),
      0.9 * width,
      yerr=half,
      capsize=2,
      color=_COLORS[own],
      edgecolor="white",
      linewidth=0,
      hatch=_HATCHES[repeat % len(_HATCHES)],
      label=name,
      error_kw={"lw": 0.9},
    )
    texts = [f"{h:.{digits}f}" if np.isfinite(h) else "–" for h in heights]
    # Many bars are too narrow for their values side by side.
    turn = 90 if len(series) > 4 else 0
    axes.bar_label(bars, texts, padding=2, fontsize=7, rotation=turn)
  axes.set_xticks(place, [readable(group) for group in groups])
  axes.grid(False, axis="x")
  axes.margins(y=0.12)
  if all(np.nanmin(np.append(0.0, v)) >= 0 for v in series.values()):
    axes.set_ylim(bottom=0)
  if len(series) > 1:
    # Bars fill the axes: the legend goes below them.
    inches = 0.6 + 0.06 * max(map(len, series))
    columns = int(np.clip(figure.get_figwidth() / inches, 1, 4))
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8)
  return figure


def histogram(
  values: Float[Array | np.ndarray, "P"],
  *,
  x_label: str,
  y_label: str = "photos",
  title: str = "",
  bins: int = 50,
) -> Figure:
  """How often values come up, with their median marked.

  Args:
    values: `[P]`, finite, at least one.
    x_label: Horizontal axis, with its unit.
    y_label: What is counted.
    title: Above the chart.
    bins: Bars up to the 99.5th percentile; what lies beyond is in the last.

  Returns:
    A matplotlib figure.

  Raises:
    ValueError: There is no value, or one is not finite.
  """
  found = np.asarray(values, np.float64).ravel()
  if not found.size or not np.isfinite(found).all():
    raise ValueError("values: expected finite numbers, at least one")
  figure, axes = new_chart({"": values}, title, x_label, y_label)
  low, high = float(found.min()), float(np.percentile(found, 99.5))
  if not high > low:
    high = low + 1e-3
  axes.hist(
    np.minimum(found, high), bins=bins, range=(low, high), color=_COLORS[0]
  )
  median = float(np.median(found))
  axes.axvline(median, color="black", linewidth=1.0, linestyle="--")
  axes.annotate(
    f"median {median:.3g}",
    (median, 0.97),
    xycoords=("data", "axes fraction"),
    xytext=(4, 0),
    textcoords="offset points",
    va="top",
    fontsize=8,
  )
  return figure


def running_mean(
  values: Float[np.ndarray, "P"], width: int
) -> Float[np.ndarray, "P"]:
  """Mean of the `width` points around each; fewer at the ends."""
  reach = np.arange(len(values))
  start = np.maximum(reach - width // 2, 0)
  stop = np.minimum(reach + (width + 1) // 2, len(values))
  total = np.append(0.0, np.cumsum(values))
  return (total[stop] - total[start]) / (stop - start)


def figure_png(figure: Figure, *, dots_per_inch: int = FIGURE_DPI) -> bytes:
  """The figure as a PNG file."""
  FigureCanvasAgg(figure)
  _make_readable(figure)
  content = io.BytesIO()
  figure.savefig(content, format="png", dpi=dots_per_inch, facecolor="white")
  return content.getvalue()


def figure_image(
  figure: Figure, *, dots_per_inch: int = FIGURE_DPI
) -> UInt8[np.ndarray, "H W 3"]:
  """The figure as a picture."""
  canvas = FigureCanvasAgg(figure)
  _make_readable(figure)
  figure.set_dpi(dots_per_inch)
  canvas.draw()
  return np.array(canvas.buffer_rgba())[..., :3]


def _make_readable(figure: Figure) -> None:
  """Writes out bytes of files' names that are no text, which none can draw."""
  for text in figure.findobj(Text):
    text.set_text(readable(text.get_text()))


def new_chart(
  series: Mapping[str, object], title: str, x_label: str, y_label: str
) -> tuple[Figure, Axes]:
  """A figure of the usual size with one set of axes; no series is an error."""
  if not series:
    raise ValueError("series: expected at least one, got none")
  figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
  axes = figure.add_subplot()
  axes.set_title(title, fontsize=10)
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  axes.grid(True, color="0.9", linewidth=0.7)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)
  return figure, axes


def styles() -> itertools.cycle:
  """Colour, line and mark of one series after the other."""
  # 7 colours against 4 dashes: 28 combinations before one comes twice.
  return itertools.cycle(
    (_COLORS[i % 7], _LINES[i % 4], _MARKS[i % 7]) for i in range(28)
  )


def _add_legend(axes: Axes, count: int) -> None:
  """A legend in the axes, where there are several series."""
  if count > 1:
    axes.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="0.8")


def add_legend_below(figure: Figure, count: int) -> None:
  """A legend in two columns under the axes, which keep their height."""
  lines = -(-count // 2)
  figure.set_size_inches(7.0, _SIZE_INCHES[1] + 0.4 + 0.2 * lines)
  figure.legend(loc="outside lower center", ncols=2, fontsize=8)


def _numbers(name: str, part: str, values: object) -> np.ndarray:
  numbers = np.asarray(values, np.float64)
  if numbers.ndim != 1:
    raise ValueError(
      f"series {name!r}: expected {part} of shape [P], got"
      f" {list(numbers.shape)}"
    )
  return numbers


def _check_length(
  name: str, part: str, values: np.ndarray, like: np.ndarray
) -> None:
  if len(values) != len(like):
    raise ValueError(
      f"series {name!r}: expected {len(like)} {part}, got {len(values)}"
    )
