"""The landmark fitter's speed and accuracy: rows, tables, figures."""

from collections.abc import Mapping
import dataclasses
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
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.reporting.charts import Series, figure_png, line_chart
from disentangle3d.reporting.html_page import Block, Row, Table, interval
from disentangle3d.types import CASIA_NUM_IMAGES, IDENTITY_DIM, RESIDUAL_DIM
from experiments.benchmarks import fitting_trials
from experiments.benchmarks.fitting_trials import SEVEN

_IMAGE_COUNTS = (1, 2, 4, 8, 16, 46)


def settings() -> dict[str, tuple[FitOptions, bool]]:
  """What is timed, by name: options, and whether contours move."""
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
    series, x_label="images of a person", y_label="identity shape, rmse (mm)"
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


def models_of(path: str | None) -> tuple[MorphableModel, MorphableModel]:
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
) -> tuple[list[Block], dict[str, Any]]:
  """How many images a second are fitted: a table, and figures."""
  moving = fit_model(fitter, moving_contour=True)
  speeds = fitting_trials.speed(moving, settings(), num_images=num_images)
  rows: list[Row] = [
    (
      one.name,
      *(
        f"{rate:,.0f}"
        for rate in (one.images_per_s, *one.quartiles, one.slowest)
      ),
      f"{CASIA_NUM_IMAGES / one.images_per_s:.0f}",
      f"{one.compile_s:.1f}",
    )
    for one in speeds
  ]
  if with_eos:
    rate = fitting_trials.eos_speed(fitter, num_images=40)
    rows.append(
      (
        "eos-py, one image a fit, one thread",
        *(f"{rate:,.0f}", None, None, None),
        *(f"{CASIA_NUM_IMAGES / rate:,.0f}", None),
      )
    )
  table = Table(
    (
      *("", "images/s, median", "quarter", "three quarters"),
      *("slowest batch", "CASIA (s)", "compiling (s)"),
    ),
    rows,
    caption=(
      f"Speed, {fitter.identity_dim} + {fitter.expression_dim} modes, 46 images"
      f" a subject, {speeds[0].images:,} images."
    ),
  )
  return [table], {"speed": speeds}


def accuracy(
  world: MorphableModel,
  fitter: MorphableModel,
  *,
  num_problems: int,
  num_subjects: int,
  num_photos: int,
  with_eos: bool,
) -> tuple[list[Block], dict[str, Any], dict[str, bytes]]:
  """All other trials: tables, figures, and charts by file name."""
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
  tables: list[Block] = [
    _gap_table(gaps, num_problems),
    Table(
      ("", "rmse within 95 mm"),
      [(name, interval(error)) for name, error in errors.items()],
      caption=f"Identity shape against the truth, mm, {num_subjects} people.",
    ),
    _yaw_table(yaw),
  ]
  figures = {
    "gap_to_scipy": gaps,
    "identity_error_mm": errors,
    "yaw_deg": yaw.yaw_deg,
    "yaw_error_mm": yaw.errors_mm,
  }
  charts = {
    "fitting_images.png": _images_figure(errors),
    "fitting_yaw.png": _yaw_figure(yaw),
  }
  return tables, figures, charts


def _gap_table(gaps: Mapping[str, np.ndarray], num_problems: int) -> Table:
  return Table(
    ("", "median", "95 %", "worst"),
    [
      (name, *np.percentile(100 * gap, (50, 95, 100)).tolist())
      for name, gap in gaps.items()
    ],
    digits=4,
    caption=(
      f"Objective above SciPy's minimum, percent, {num_problems} subjects"
      " with 4 images."
    ),
  )


def _yaw_table(found: fitting_trials.YawErrors) -> Table:
  return Table(
    ("degrees", "photos", *found.errors_mm),
    [
      (
        f"{middle:.0f}",
        int(found.photos[k]),
        *(interval(each[k]) for each in found.errors_mm.values()),
      )
      for k, middle in enumerate(found.yaw_deg)
    ],
    caption="Full shape of one rendered photo, mm, by |yaw|.",
  )
