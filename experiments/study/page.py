"""What a study found, as folders for `experiments.report` and as Markdown."""

from collections.abc import Mapping
import dataclasses
import datetime
import itertools
import json
import pathlib
import re
from typing import Any

import jax

from disentangle3d.machine import machine_name
from disentangle3d.output_files import (
  drop_half_line,
  named_errors,
  replace_file,
)
from disentangle3d.reporting.html_page import Paragraph, Section, Table
from disentangle3d.reporting.markdown import markdown
from disentangle3d.training.run_files import METRICS, read_metrics
from experiments.pages.disentanglement import disentanglement_blocks
from experiments.pages.findings import Findings, join_findings, save_findings
from experiments.pages.paper_tables import paper_table
from experiments.pages.reconstruction import paper_rows, set_sections
from experiments.pages.verification import face_rows, face_sections
from experiments.study.answers import answers, figures_table, key_figures
from experiments.study.plan import plan_text
from experiments.study.results import PaperResults
from experiments.study.runs import Study
from experiments.study.variants import VARIANTS
from experiments.training.summary import SATURATED

STAGES = "stages.jsonl"
_EVALUATED = "evaluated.json"
_EVALUATION = re.compile(r"evaluation, (\d+) of \w+, seed \d+")


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """What a seed's evaluation was of.

  Attributes:
    people: On how many.
    networks: By the names that tables print.
  """

  people: int
  networks: tuple[str, ...]


def results_folder(study: Study, people: str, seed: int) -> pathlib.Path:
  """Where an evaluation goes; `people` is `test` or `validation`."""
  return study.workdir / f"{people}-{seed}"


def keep_evaluated(folder: pathlib.Path, what: Evaluated) -> None:
  """Writes last that an evaluation is done."""
  replace_file(folder / _EVALUATED, json.dumps(dataclasses.asdict(what)))


def evaluated(study: Study, people: str, seed: int) -> Evaluated | None:
  """What was evaluated; None for nothing."""
  path = results_folder(study, people, seed) / _EVALUATED
  if not path.is_file():
    return None
  values = json.loads(path.read_text())
  return Evaluated(values["people"], tuple(values["networks"]))


def evaluation_of(line: Mapping[str, Any]) -> int | None:
  """On how many people a stage evaluated; None if it is no whole evaluation."""
  found = _EVALUATION.fullmatch(line["stage"])
  return int(found[1]) if found else None


def read_stage_log(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """What `log_stage` wrote, in order."""
  path = workdir / STAGES
  if not path.is_file():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]


def log_stage(workdir: pathlib.Path, stage: str, seconds: float) -> None:
  """Adds a line to the workdir's list of stages and their times."""
  line = {
    "stage": stage,
    "seconds": round(seconds, 1),
    "date": datetime.date.today().isoformat(),
    "machine": machine_name(),
    "jax": jax.__version__,
  }
  path = workdir / STAGES
  drop_half_line(path)
  with named_errors(path), path.open("a") as file:
    file.write(json.dumps(line) + "\n")


def save_results(
  study: Study,
  results: PaperResults,
  people: str,
  seed: int,
  more: Mapping[str, Findings],
) -> pathlib.Path:
  """Writes all that one seed's networks were measured to be.

  Args:
    study: Whose.
    results: What was measured.
    people: `test` or `validation`.
    seed: Of the training.
    more: Findings by the folders they go to.

  Returns:
    The folder that has `evaluation/` in it, for `experiments.report`.
  """
  folder = results_folder(study, people, seed)
  pairs = list(itertools.combinations(reversed(list(results.decoders)), 2))[:6]
  parts: dict[str, Findings] = {}
  parts["reconstruction"] = join_findings(
    "Reconstruction",
    [
      (set_sections(found, pairs), paper_rows(found))
      for found in results.sets.values()
    ],
  )
  parts["verification"] = join_findings(
    "Verification",
    [(face_sections(one), face_rows(one)) for one in results.faces.values()],
  )
  parts["disentanglement"] = Findings(
    "Disentanglement",
    [
      Section(
        "Disentanglement",
        disentanglement_blocks(results.disentanglement, results.outdoor),
      ),
      *answers(results),
    ],
    {},
  )
  parts |= more
  for name, findings in parts.items():
    save_findings(folder / "evaluation" / name, findings)
  text = json.dumps(key_figures(results), indent=1)
  replace_file(folder / "figures.json", text)
  tables = [
    paper_table(key, rows)
    for findings in parts.values()
    for key, rows in findings.measured.items()
  ]
  replace_file(
    folder / "answers.md",
    markdown(
      [*answers(results), Section("The paper's tables", tables)], level=3
    ).encode(),
  )
  return folder


def write_study_page(study: Study, people: str) -> pathlib.Path:
  """Joins all that was done to one Markdown page, whatever there is of it."""
  found = {
    int(path.parent.name.rpartition("-")[2]): path.parent
    for path in sorted(study.workdir.glob(f"{people}-*/{_EVALUATED}"))
  }
  sections = [
    Section(
      f"The paper at scale {study.scale:g}, on synthetic people",
      [Paragraph(_about(study, people)), _stages(study)],
    )
  ]
  if trainings := _trainings(study):
    sections.append(Section("Training", [trainings]))
  if found:
    figures = {
      seed: json.loads((folder / "figures.json").read_text())
      for seed, folder in found.items()
    }
    sections.append(Section("All networks", [figures_table(figures)]))
  answered = [
    f"## Training seed {seed}\n\n{_measured_on(study, people, seed)}\n\n"
    + (folder / "answers.md").read_text()
    for seed, folder in found.items()
  ]
  path = study.workdir / f"paper_scale-{people}.md"
  nothing = [] if found else ["Nothing was measured yet.\n"]
  replace_file(path, "\n".join([markdown(sections), *answered, *nothing]))
  return path


def _about(study: Study, people: str) -> str:
  settings, config = study.settings, study.config
  plan = f" Planned: {plan_text(study.plan)}." if study.plan else ""
  return (
    f"`python -m experiments.paper_scale --scale={study.scale:g}`:"
    f" {len(study.people.counts):,} people, {study.people.num_photos:,}"
    f" photographs; trunk {config.model.trunk}, {study.fitter.num_vertices:,}"
    f" vertices, {study.fitter.identity_dim} + {study.fitter.expression_dim}"
    f" latents, 3DMM {study.fitter.name} ({study.fitter.licence}), world seed"
    f" {settings.seed}; batch {config.batch_size}, epochs"
    f" {dict(config.epochs)}, {config.model.dtype}. {settings.heldout_people}"
    f" people of {people} were never trained on.{plan}"
  )


def _measured_on(study: Study, people: str, seed: int) -> str:
  done = evaluated(study, people, seed)
  return f"Measured on {done.people if done else 0} people of {people}."


def _stages(study: Study) -> Table:
  expected = study.plan.expected if study.plan else {}

  def plan_for(stage: str) -> float | None:
    return next(
      (s for name, s in expected.items() if stage.startswith(name)), None
    )

  return Table(
    ("stage", "seconds", "planned", "date", "machine", "JAX"),
    [
      (
        line["stage"],
        line["seconds"],
        plan_for(line["stage"]),
        line["date"],
        line["machine"],
        line["jax"],
      )
      for line in read_stage_log(study.workdir)
    ],
    text_columns=(0, 3, 4, 5),
    digits=1,
  )


def _trainings(study: Study) -> Table | None:
  """How far each run's phases are, and whether their codes saturate."""
  rows = []
  for name, path in itertools.product(
    VARIANTS, sorted(study.workdir.glob(f"*-*/{METRICS}"))
  ):
    run = path.parent
    if run.name.rpartition("-")[0] != name:
      continue
    phases: dict[str, list[dict[str, Any]]] = {}
    for line in read_metrics(run):
      if "loss" in line:
        phases.setdefault(line["phase"], []).append(line)
    for phase, lines in phases.items():
      worst = [
        max((100 * x[code] for x in lines if code in x), default=None)
        for code in SATURATED
      ]
      last = lines[-1]
      steps = f"{last['step']:,} of {study.config.phases[phase].steps:,}"
      rows.append(
        (run.name, phase, steps, last["loss"], *worst, last.get("images_per_s"))
      )
  if not rows:
    return None
  return Table(
    (
      "run",
      "phase",
      "steps",
      "loss",
      "identity saturated, %",
      "residual saturated, %",
      "images/s",
    ),
    rows,
    text_columns=(0, 1),
    caption=(
      "The loss at the last step that was logged; the largest share of a code"
      " beyond 0.99, where tanh hardly learns, at any of them."
    ),
  )
