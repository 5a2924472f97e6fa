"""Charts of verification: ROC and DET curves."""

from collections.abc import Mapping

from matplotlib.figure import Figure
import numpy as np

from disentangle3d.evaluation.roc import RocCurve
from disentangle3d.reporting.charts import add_legend_below, new_chart, styles


def roc_curves(
  curves: Mapping[str, RocCurve], *, title: str = "", log_far: bool = True
) -> Figure:
  """ROC curves in percent, with marks at a far of 1 % and 10 %.

  Args:
    curves: Name to curve, at least one.
    title: Above the chart.
    log_far: A logarithmic axis from one impostor pair to 100 %.

  Returns:
    A matplotlib figure.

  Raises:
    ValueError: There is no curve.
  """
  figure, axes = new_chart(
    curves,
    title,
    "false acceptance rate, FAR (%)",
    "true acceptance rate, TAR (%)",
  )
  least = min(float(c.far[c.far > 0].min()) for c in curves.values())
  for (name, curve), (color, dash, _) in zip(
    curves.items(), styles(), strict=False
  ):
    axes.plot(
      100 * curve.far, 100 * curve.tar, dash, color=color, label=name, lw=1.6
    )
  chance = np.geomspace(least, 1, 50)
  axes.plot(100 * chance, 100 * chance, color="0.6", lw=0.8, label="chance")
  for far in (1, 10):
    axes.axvline(far, color="0.75", lw=0.8, zorder=0)
  if log_far:
    axes.set_xscale("log")
    axes.set_xlim(100 * least, 100)
    axes.xaxis.set_major_formatter("{x:g}")
  axes.set_ylim(0, 100)
  add_legend_below(figure, len(curves) + 1)
  return figure


def det_curves(curves: Mapping[str, RocCurve], *, title: str = "") -> Figure:
  """DET curves: what is missed against what is let in, both logarithmic.

  Args:
    curves: Name to curve, at least one.
    title: Above the chart.

  Returns:
    A matplotlib figure; the equal error rate is where a curve meets the
    diagonal.

  Raises:
    ValueError: There is no curve.
  """
  figure, axes = new_chart(
    curves,
    title,
    "false acceptance rate, FAR (%)",
    "false rejection rate, 100 − TAR (%)",
  )
  shares = [share for c in curves.values() for share in (c.far, 1 - c.tar)]
  least = min(float(s[s > 1e-9].min()) for s in shares if (s > 1e-9).any())
  for (name, curve), (color, dash, _) in zip(
    curves.items(), styles(), strict=False
  ):
    # Rates of 0 have no place on these axes: they end at the frame.
    missed = np.maximum(1 - curve.tar, least / 2)
    axes.plot(
      100 * np.maximum(curve.far, least / 2),
      100 * missed,
      dash,
      color=color,
      label=name,
      lw=1.6,
    )
  ends = [100 * least, 100]
  axes.plot(ends, ends, color="0.6", lw=0.8, label="equal error rate")
  for axis, scale, limit in (
    (axes.xaxis, axes.set_xscale, axes.set_xlim),
    (axes.yaxis, axes.set_yscale, axes.set_ylim),
  ):
    scale("log")
    limit(*ends)
    axis.set_major_formatter("{x:g}")
  add_legend_below(figure, len(curves) + 1)
  return figure
