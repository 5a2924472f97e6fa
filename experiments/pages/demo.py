"""The demo's page: what was measured on people never seen, and pictures."""

from collections.abc import Mapping, Sequence
import importlib.metadata
import pathlib
import platform
import shlex

import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet
from disentangle3d.evaluation.bootstrap import mean_and_interval
from disentangle3d.machine import machine_name
from disentangle3d.reporting.charts import Series, line_chart
from disentangle3d.reporting.figures import heat_map
from disentangle3d.reporting.html_page import (
  Block,
  Paragraph,
  Picture,
  Section,
  Table,
  interval,
  page,
  write_page,
)
from disentangle3d.reporting.pictures import contact_sheet, enlarge
from experiments.configs.default import PHASES
from experiments.measures.demo import (
  AFTER_JOINT,
  AFTER_PRETRAINING,
  ALBEDOS,
  CONTROL,
  Results,
)
from experiments.pages.faces import (
  FacePictures,
  face_row,
  loss_figures,
  roc_figure,
)
from experiments.pages.verification import verification_table
from experiments.sets.heldout import MEAN_SHAPE, MULTI_FIT, SINGLE_FIT

_YAW_EDGES_DEG = (0, 10, 20, 30, 40, 60, 90)
_PHOTOS_SHOWN = 40


def write_report(
  path: pathlib.Path,
  results: Results,
  pictures: Sequence[FacePictures],
  *,
  runs: Mapping[str, pathlib.Path],
  seconds: Mapping[str, float],
) -> None:
  """Writes the page.

  Args:
    path: Where to.
    results: What was measured.
    pictures: Of the faces to show.
    runs: Workdirs whose losses are drawn, by name.
    seconds: Wall-clock time of each stage so far.
  """
  model = results.heldout.fitter
  sections = [
    Section("Gates", _gates(results)),
    Section("Faces never seen", [face_row(p) for p in pictures]),
    Section("Where the error is", _heat_maps(results)),
    Section("3D error", _shape_blocks(results)),
    Section("Verification", _verification_blocks(results)),
    Section("Losses", loss_figures(runs, PHASES)),
    Section("The people", _photos(results)),
    Section("This run", _about(results, seconds)),
  ]
  subtitle = (
    f"{model.name}, {model.num_vertices:,} vertices,"
    f" {model.identity_dim} + {model.expression_dim} coefficients"
  )
  write_page(path, page("disentangle3d demo", sections, subtitle=subtitle))


def _gates(results: Results) -> list[Block]:
  rows = [
    (gate.text, "passed" if gate.passed else "FAILED")
    for gate in results.gates()
  ]
  return [Table(("gate", ""), rows, text_columns=(0, 1))]


def _shape_blocks(results: Results) -> list[Block]:
  header = (
    "",
    "within 95 mm",
    "within 95 mm, rigid",
    "all vertices",
    "all vertices, rigid",
    "identity shape within 95 mm",
    "identity shape, rigid",
  )
  rows = []
  people = results.heldout.photos.person
  for name, scores in results.shapes.items():
    within = mean_and_interval(scores.within, groups=people)
    rest = (
      scores.within_rigid,
      scores.everywhere,
      scores.everywhere_rigid,
      scores.identity_within,
      scores.identity_within_rigid,
    )
    first = interval(within.mean, within.low, within.high)
    rows.append((name, first, *(float(errors.mean()) for errors in rest)))
  table = Table(
    header,
    rows,
    caption=(
      "RMSE in mm against the true shape of each photo (protocol liu2018:"
      " similarity on the 68 landmarks, or rigid where so named), mean over"
      f" {results.heldout.num_photos} photos of {len(np.unique(people))}"
      " people; 95 % intervals draw people. Identity shapes are measured"
      " against the person's true neutral shape."
    ),
  )
  return [table, Paragraph(_differences(results)), _yaw_chart(results)]


def _differences(results: Results) -> str:
  parts = []
  for first, second in (
    (AFTER_JOINT, AFTER_PRETRAINING),
    (AFTER_JOINT, CONTROL),
    (AFTER_PRETRAINING, MEAN_SHAPE),
    (AFTER_PRETRAINING, SINGLE_FIT),
  ):
    found = results.rmse_difference(first, second)
    shown = interval(found.mean, found.low, found.high)
    parts.append(f"{first} − {second}: {shown} mm")
  return "Paired differences within 95 mm, 95 % intervals: " + "; ".join(parts)


def _yaw_chart(results: Results) -> Picture:
  yaw_deg = np.degrees(np.abs(results.heldout.photos.yaw_rad))
  series = {}
  for name in (AFTER_PRETRAINING, AFTER_JOINT, SINGLE_FIT, MULTI_FIT):
    centres, means = [], []
    for low, high in zip(_YAW_EDGES_DEG, _YAW_EDGES_DEG[1:], strict=False):
      inside = (yaw_deg >= low) & (yaw_deg < high)
      if inside.any():
        centres.append(float(yaw_deg[inside].mean()))
        means.append(float(results.shapes[name].within[inside].mean()))
    series[name] = Series(centres, means)
  chart = line_chart(
    series, x_label="|yaw| (degrees)", y_label="RMSE within 95 mm (mm)"
  )
  return Picture(chart, "3D error against yaw")


def _verification_blocks(results: Results) -> list[Block]:
  blocks: list[Block] = []
  for albedo in ALBEDOS:
    rows = {
      f"identity code, {name}": scored
      for name, scored in results.identity[albedo].items()
      if name != SINGLE_FIT
    }
    rows[f"identity coefficients, {SINGLE_FIT}"] = results.identity[albedo][
      SINGLE_FIT
    ]
    for name, scored in results.residual[albedo].items():
      rows[f"residual code, {name}"] = scored
    pairs = len(next(iter(rows.values())).pairs.same)
    caption = (
      f"Albedo {albedo}: percent, mean ± std over 10 person-disjoint folds,"
      f" {pairs:,} pairs, half of them genuine; the residual code should not"
      " tell people apart (AUC 50)."
    )
    blocks.append(
      verification_table(
        {name: scored.result for name, scored in rows.items()}, caption=caption
      )
    )
    for other in (AFTER_PRETRAINING, CONTROL):
      found = results.auc_difference(AFTER_JOINT, other, albedo)
      shown = interval(found.mean, found.low, found.high)
      blocks.append(
        Paragraph(
          f"AUC of the identity code, {AFTER_JOINT} − {other}: {shown}"
          " points over all pairs (95 %, people drawn again)."
        )
      )
    identity_rows = {k: v for k, v in rows.items() if "identity" in k}
    blocks.append(roc_figure(identity_rows, title=f"ROC, albedo {albedo}"))
  return blocks


def _heat_maps(results: Results) -> list[Block]:
  chart = heat_map(
    results.truths,
    np.asarray(results.heldout.fitter.triangles),
    results.errors_mm,
    labels=[face.title for face in results.faces],
  )
  text = (
    f"{AFTER_JOINT}: distance to the truth, drawn on the true shapes; grey is"
    " beyond 95 mm from the nose tip"
  )
  return [Picture(chart, text)]


def _photos(results: Results) -> list[Block]:
  photos = results.heldout.photos.image[:_PHOTOS_SHOWN]
  sheet = contact_sheet([enlarge(photo, 2) for photo in photos], columns=10)
  text = "Held-out people, ten photos each; the network never saw them"
  return [Picture(sheet, text, width_px=1000)]


def _command(settings: SyntheticSet) -> str:
  words = ["python", "-m", "experiments.demo", f"--seed={settings.seed}"]
  if settings.morphable_model is not None:
    words.append(f"--morphable_model={settings.morphable_model}")
  return shlex.join(words)


def _about(results: Results, seconds: Mapping[str, float]) -> Sequence[Block]:
  versions = {
    name: importlib.metadata.version(name)
    for name in ("disentangle3d", "jax", "jaxlib", "flax", "numpy")
  }
  model = results.heldout.fitter
  facts = [
    ("machine", machine_name()),
    ("Python", platform.python_version()),
    *versions.items(),
    ("3DMM", f"{model.name}; {model.source}; licence {model.licence}"),
    ("command", _command(results.settings)),
  ]
  times = [(stage, f"{took:.0f}") for stage, took in seconds.items()]
  return [
    Table(("", ""), facts, text_columns=(0, 1)),
    Table(("stage", "seconds"), times, caption="Wall clock, this run"),
  ]
