"""What a study found, as folders for `experiments.report` and as Markdown."""

from collections.abc import Mapping, Sequence
import datetime
import itertools
import json
import pathlib

import jax

from disentangle3d.machine import machine_name
from disentangle3d.output_files import named_errors, replace_file
from disentangle3d.reporting.html_page import Paragraph, Section, Table
from disentangle3d.reporting.markdown import markdown
from disentangle3d.types import UserFileNotFoundError
from experiments.pages.disentanglement import disentanglement_blocks
from experiments.pages.findings import Findings, join_findings, save_findings
from experiments.pages.paper_tables import paper_table
from experiments.pages.reconstruction import paper_rows, set_sections
from experiments.pages.verification import face_rows, face_sections
from experiments.study.answers import answers, figures_table, key_figures
from experiments.study.results import PaperResults
from experiments.study.runs import Study

STAGES = "stages.jsonl"


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
  folder = study.workdir / f"{people}-{seed}"
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
  """Joins the seeds that were measured to one Markdown page.

  Raises:
    UserFileNotFoundError: No seed was measured.
  """
  folders = sorted(
    study.workdir.glob(f"{people}-*"), key=lambda path: path.name
  )
  found = {
    int(folder.name.rpartition("-")[2]): folder
    for folder in folders
    if (folder / "figures.json").is_file()
  }
  if not found:
    raise UserFileNotFoundError(
      f"{study.workdir}: no {people}-*/figures.json; run --stage=evaluate first"
    )
  figures = {
    seed: json.loads((folder / "figures.json").read_text())
    for seed, folder in found.items()
  }
  head = markdown(
    [
      Section(
        f"The paper at scale {study.scale:g}, on synthetic people",
        [Paragraph(_about(study, people)), _stages(study.workdir)],
      ),
      Section("All networks", [figures_table(figures)]),
    ]
  )
  answered = [
    f"## Training seed {seed}\n\n{(folder / 'answers.md').read_text()}"
    for seed, folder in found.items()
  ]
  path = study.workdir / f"paper_scale-{people}.md"
  replace_file(path, "\n".join([head, *answered]))
  return path


def _about(study: Study, people: str) -> str:
  settings, config = study.settings, study.config
  return (
    f"`python -m experiments.paper_scale --scale={study.scale:g}`:"
    f" {len(study.people.counts):,} people, {study.people.num_photos:,}"
    f" photographs; trunk {config.model.trunk}, {study.fitter.num_vertices:,}"
    f" vertices, {study.fitter.identity_dim} + {study.fitter.expression_dim}"
    f" latents, 3DMM {study.fitter.name} ({study.fitter.licence}), world seed"
    f" {settings.seed}; batch {config.batch_size}, epochs"
    f" {dict(config.epochs)}, {config.model.dtype}. Measured on"
    f" {settings.heldout_people} people of {people}, never trained on."
  )


def _stages(workdir: pathlib.Path) -> Table:
  path = workdir / STAGES
  lines: Sequence[Mapping[str, str]] = []
  if path.is_file():
    lines = [json.loads(line) for line in path.read_text().splitlines()]
  return Table(
    ("stage", "seconds", "date", "machine", "JAX"),
    [
      (s["stage"], s["seconds"], s["date"], s["machine"], s["jax"])
      for s in lines
    ],
    text_columns=(0, 2, 3, 4),
    digits=1,
  )
