"""All evaluations of a workdir on one page."""

from collections.abc import Mapping
import pathlib

from disentangle3d.input_files import existing_folder
from disentangle3d.reporting.html_page import (
  Paragraph,
  Section,
  Table,
  page,
  write_page,
)
from disentangle3d.training.run_files import METRICS
from disentangle3d.types import UserError
from experiments.configs.default import PHASES
from experiments.pages.faces import loss_figures
from experiments.pages.findings import (
  FILE,
  Findings,
  join_findings,
  load_findings,
)
from experiments.pages.paper_tables import PAPER_TABLES, paper_table

# What makes each part; the page says so where a part is missing.
PARTS = {
  "reconstruction": "evaluate_reconstruction",
  "verification": "evaluate_verification",
  "disentanglement": "evaluate_disentanglement",
  "timing": "benchmark_speed",
  "pictures": "visualize",
}


def write_evaluation_page(workdir: pathlib.Path) -> pathlib.Path:
  """Writes <workdir>/evaluation.html: all parts, and the trainings' losses.

  Returns:
    The page.

  Raises:
    UserFileNotFoundError: There is no such workdir, or a picture is missing.
    UserError: It is no folder of a run, or one of its is damaged; names it.
  """
  found = read_all_findings(workdir)
  runs = {
    path.parent.name: path.parent
    for pattern in (METRICS, f"*/{METRICS}")
    for path in sorted(workdir.glob(pattern))
  }
  if not found and not runs:
    raise UserError(
      f"{workdir}: expected the folder of a run, with evaluation/ or with"
      f" {METRICS} of a training, got one with neither"
    )
  sections = report_sections(found)
  losses = loss_figures(runs, PHASES)
  if losses:
    sections.append(Section("Losses", losses))
  path = workdir / "evaluation.html"
  write_page(path, page("disentangle3d: measured beside printed", sections))
  return path


def read_all_findings(workdir: pathlib.Path) -> dict[str, Findings]:
  """What was measured, by the names of the folders under evaluation/.

  Raises:
    UserFileNotFoundError: There is no such workdir, or a picture is missing.
    UserError: A folder is damaged; names it.
  """
  existing_folder(workdir)
  folder = workdir / "evaluation"
  found = sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))
  known = [name for name in PARTS if name in found]
  others = [name for name in found if name not in PARTS]
  return {name: load_findings(folder / name) for name in (*known, *others)}


def report_sections(parts: Mapping[str, Findings]) -> list[Section]:
  """The paper's tables first, then each part's own sections."""
  joined = join_findings(
    "", [(found.sections, found.measured) for found in parts.values()]
  )
  tables = [
    paper_table(key, joined.measured.get(key, {})) for key in PAPER_TABLES
  ]
  sections = [Section("The paper's tables", tables), *joined.sections]
  missing = {k: v for k, v in PARTS.items() if k not in parts}
  if missing:
    table = Table(
      ("part", "what measures it"),
      [(name, f"experiments.{command}") for name, command in missing.items()],
      text_columns=(0, 1),
    )
    sections.append(
      Section("Not measured", [Paragraph("Dashes above:"), table])
    )
  return sections
