"""What a run was and how it goes: a warning, `SUMMARY.md` and its curves."""

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
from typing import Any

from disentangle3d.output_files import replace_file
from disentangle3d.reporting.charts import Series, figure_png, loss_curves
from disentangle3d.training.run_files import METRICS, RUN, read_metrics

SUMMARY = "SUMMARY.md"
# Shares of the codes where tanh hardly learns.
SATURATED = ("saturated_identity", "saturated_residual")
# Trained networks stay far below, codes that ran away come near 1.
_MUCH_SATURATED = 0.5
# Of the last line of a phase, in this order, where they are.
_SHOWN = (
  "loss",
  *SATURATED,
  "images_per_s",
  "input_wait_share",
  "flops_per_step",
)


def write_summary(workdir: str | os.PathLike[str]) -> None:
  """Writes `SUMMARY.md` and a picture of the loss of each phase.

  Args:
    workdir: Of a run that has logged something; without, nothing is written.

  Raises:
    ValueError: `run.json` or `metrics.jsonl` is damaged.
  """
  workdir = pathlib.Path(workdir)
  if not (workdir / METRICS).is_file():
    return
  info = json.loads((workdir / RUN).read_text())
  phases: dict[str, list[dict[str, Any]]] = {}
  for line in read_metrics(workdir):
    # Evaluations stand between the lines of the losses too.
    if "loss" in line:
      phases.setdefault(line["phase"], []).append(line)
  for name, lines in phases.items():
    series = Series([x["step"] for x in lines], [x["loss"] for x in lines])
    low, high = min(series.y), max(series.y)
    figure = loss_curves(
      {"loss": series},
      unit="weighted sum",
      title=name,
      log_y=0 < 10 * low < high,
    )
    replace_file(workdir / f"loss_{name}.png", figure_png(figure))
  replace_file(workdir / SUMMARY, summary_of(info, phases))


def summary_of(
  info: Mapping[str, Any], phases: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
  """The page as Markdown.

  Args:
    info: What is in `run.json`.
    phases: The metrics of each phase, in the order of the steps.

  Returns:
    The text.
  """
  model = info["morphable_model"]
  sections = [
    "# Training run",
    f"Commit {info['git_commit']}. 3DMM: {model['name']}"
    f" ({model['num_vertices']:,} vertices, {model['source']}). Licence of the"
    f" 3DMM, and so of the params: {model['licence']}.",
    "## Phases",
    _table(
      ("phase", "steps", *_SHOWN),
      [
        (name, lines[-1]["step"], *(lines[-1].get(key) for key in _SHOWN))
        for name, lines in phases.items()
      ],
    ),
    "\n".join(f"![Loss of {name}](loss_{name}.png)" for name in phases),
    "## Parameters",
    _table(("module", "parameters"), list(info["params"].items())),
    "## Devices and versions",
    ", ".join(info["devices"]),
    _table(("package", "version"), list(info["versions"].items())),
    "## Config",
    "```json\n" + json.dumps(info["config"], indent=2) + "\n```",
  ]
  return "\n\n".join(section for section in sections if section) + "\n"


def saturation_warning(values: Mapping[str, float]) -> str:
  """What to say of a step whose encoder has stopped to learn; else nothing.

  Args:
    values: Metrics of the step.
  """
  share = max(values.get(name, 0.0) for name in SATURATED)
  if share < _MUCH_SATURATED:
    return ""
  return (
    f"{share:.0%} of a code is saturated, where tanh hardly learns; a lower"
    " rate of the encoder may help"
  )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  lines = [head, ["---"] * len(head), *rows]
  return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
  if value is None:
    return "–"
  if isinstance(value, float):
    return f"{value:.4g}"
  return f"{value:,}" if isinstance(value, int) else str(value)
