"""The landmark fitter's speed and accuracy: rows, tables, figures."""

from collections.abc import Mapping, Sequence
import dataclasses
import datetime
from typing import Any

import numpy as np

from disentangle3d.evaluation.bootstrap import Interval
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
  truncate_modes,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.synthetic_world import synthetic_world
from disentangle3d.fitting.batched_fitting import fit_model
from disentangle3d.machine import machine_name, package_versions
from disentangle3d.reporting.charts import Series, figure_png, line_chart
from disentangle3d.types import CASIA_NUM_IMAGES, IDENTITY_DIM, RESIDUAL_DIM
from experiments.benchmarks import fitting_trials
from experiments.benchmarks.fitting_trials import SEVEN

_IMAGE_COUNTS = (1, 2, 4, 8, 16, 46)


def _settings() -> dict[str, tuple[Any, bool]]:
  huber = dataclasses.replace(SEVEN, robust="huber")
  geman = dataclasses.replace(SEVEN, robust="geman_mcclure")
  plain = dataclasses.replace(SEVEN, extrapolated_rounds=0)
  return {
    "7 alternations": (SEVEN, False),
    "7, without extrapolation": (plain, False),
    "7, Huber": (huber, False),
    "7, Geman-McClure": (geman, False),
    "7, moving contour": (SEVEN, True),
  }


def _about() -> dict[str, str]:
  return {
    "machine": machine_name(),
    **package_versions(("jax", "scipy")),
    "date": datetime.date.today().isoformat(),
  }


def _speed_rows(speeds: Sequence[fitting_trials.Speed]) -> list[list[str]]:
  return [
    [
      speed.name,
      f"{speed.images_per_s:,.0f}",
      f"{speed.slowest:,.0f}",
      f"{CASIA_NUM_IMAGES / speed.images_per_s:.0f}",
      f"{speed.compile_s:.1f}",
    ]
    for speed in speeds
  ]


def _gap_rows(gaps: Mapping[str, np.ndarray]) -> list[list[str]]:
  return [
    [
      name,
      f"{100 * np.median(gap):.4f}",
      f"{100 * np.percentile(gap, 95):.4f}",
      f"{100 * gap.max():.4f}",
    ]
    for name, gap in gaps.items()
  ]


def _interval(found: Interval) -> str:
  return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table; all columns but the first to the right."""
  lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _images_figure(errors: Mapping[str, Interval]) -> bytes:
  ours = [errors[f"ours, {n} image{'s' * (n > 1)}"] for n in _IMAGE_COUNTS]
  series = {
    "ours": Series(
      _IMAGE_COUNTS,
      [e.mean for e in ours],
      [e.low for e in ours],
      [e.high for e in ours],
    )
  }
  for name, found in errors.items():
    if not name.startswith("ours"):
      ends = [_IMAGE_COUNTS[0], _IMAGE_COUNTS[-1]]
      series[name] = Series(ends, [found.mean] * 2)
  figure = line_chart(
    series,
    x_label="images of a person",
    y_label="identity shape, rmse (mm)",
  )
  figure.axes[0].set_xscale("log", base=2)
  figure.axes[0].set_xticks(_IMAGE_COUNTS, [str(n) for n in _IMAGE_COUNTS])
  figure.axes[0].set_ylim(bottom=0)
  return figure_png(figure)


def _yaw_figure(found: fitting_trials.YawErrors) -> bytes:
  series = {
    name: Series(
      found.yaw_deg,
      [e.mean for e in errors],
      [e.low for e in errors],
      [e.high for e in errors],
    )
    for name, errors in found.errors_mm.items()
  }
  figure = line_chart(
    series, x_label="|yaw| (degrees)", y_label="full shape, rmse (mm)"
  )
  figure.axes[0].set_ylim(bottom=0)
  return figure_png(figure)


def _models(path: str | None) -> tuple[MorphableModel, MorphableModel]:
  """The world's model, and the fitter's: its first modes."""
  if path is not None:
    model = load_morphable_model(path)
    return model, truncate_modes(
      model, (3 * model.identity_dim) // 4, model.expression_dim
    )
  world = procedural_face_model(
    identity_dim=IDENTITY_DIM + 61, expression_dim=RESIDUAL_DIM + 15
  )
  return world, truncate_modes(world, IDENTITY_DIM, RESIDUAL_DIM)


def speed(
  fitter: MorphableModel, *, num_images: int, with_eos: bool
) -> tuple[str, dict[str, Any]]:
  """How many images a second are fitted: a table, and numbers."""
  moving = fit_model(fitter, moving_contour=True)
  speeds = fitting_trials.speed(moving, _settings(), num_images=num_images)
  rows = _speed_rows(speeds)
  if with_eos:
    rate = fitting_trials.eos_speed(fitter, num_images=40)
    rows.append(
      [
        "eos-py, one image a fit, one thread",
        f"{rate:,.0f}",
        "–",
        f"{CASIA_NUM_IMAGES / rate:,.0f}",
        "–",
      ]
    )
  tables = [
    f"Speed, {fitter.identity_dim} + {fitter.expression_dim} modes, 46 images"
    f" a subject, {speeds[0].images:,} images:",
    _markdown(
      ["", "images/s, median", "slowest batch", "CASIA (s)", "compiling (s)"],
      rows,
    ),
  ]
  numbers = {"speed": [dataclasses.asdict(found) for found in speeds]}
  return "\n\n".join(tables), numbers


def accuracy(
  world: MorphableModel,
  fitter: MorphableModel,
  *,
  num_problems: int,
  num_subjects: int,
  num_photos: int,
  with_eos: bool,
) -> tuple[str, dict[str, Any], dict[str, bytes]]:
  """All other trials: tables, numbers, and figures by file name."""
  gaps = fitting_trials.gaps_to_scipy(
    fit_model(fitter, moving_contour=False).model,
    num_problems=num_problems,
    num_images=4,
  )
  errors = fitting_trials.identity_errors(
    world,
    fitter,
    num_subjects=num_subjects,
    image_counts=_IMAGE_COUNTS,
    eos_priors=(30.0, 3.0, 0.3) if with_eos else (),
  )
  yaw = fitting_trials.yaw_errors(
    synthetic_world(world, yaw_distribution="uniform", photos_per_person=1),
    fitter,
    num_photos=num_photos,
  )
  tables = [
    f"Objective above SciPy's minimum, percent, {num_problems} subjects with"
    " 4 images:",
    _markdown(["", "median", "95 %", "worst"], _gap_rows(gaps)),
    f"Identity shape against the truth, mm, {num_subjects} people:",
    _markdown(
      ["", "rmse within 95 mm"],
      [[name, _interval(error)] for name, error in errors.items()],
    ),
    "Full shape of one rendered photo, mm, by |yaw|:",
    _markdown(
      ["degrees", "photos", *yaw.errors_mm],
      [
        [
          f"{middle:.0f}",
          str(yaw.photos[k]),
          *(_interval(each[k]) for each in yaw.errors_mm.values()),
        ]
        for k, middle in enumerate(yaw.yaw_deg)
      ],
    ),
  ]
  numbers = {
    "gap_to_scipy": {name: gap.tolist() for name, gap in gaps.items()},
    "identity_error_mm": {
      name: dataclasses.asdict(error) for name, error in errors.items()
    },
    "yaw_deg": yaw.yaw_deg.tolist(),
    "yaw_error_mm": {
      name: [dataclasses.asdict(e) for e in each]
      for name, each in yaw.errors_mm.items()
    },
  }
  figures = {
    "fitting_images.png": _images_figure(errors),
    "fitting_yaw.png": _yaw_figure(yaw),
  }
  return "\n\n".join(tables), numbers, figures
