r"""One page of all tables and figures of a run, beside the paper's.

    python -m experiments.report --workdir=runs/demo

Joins what the evaluations wrote under <workdir>/evaluation, and the losses of
the trainings in the workdir, to <workdir>/evaluation.html: one file that needs
no other. What nobody measured is a dash.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from disentangle3d.reporting.html_page import (
  Section,
  page,
  write_page,
)
from disentangle3d.training.run_files import METRICS
from experiments.configs.default import PHASES
from experiments.pages.faces import loss_figures
from experiments.pages.report import read_parts, report_sections


def _define_flags() -> None:
  flags.DEFINE_string("workdir", None, "Of a run.", required=True)


def main() -> None:
  """Reads the flag, writes the page."""
  workdir = pathlib.Path(flags.FLAGS.workdir)
  sections = report_sections(read_parts(workdir))
  runs = {
    path.parent.name: path.parent
    for path in sorted(workdir.glob(f"*/{METRICS}"))
  }
  losses = loss_figures(runs, PHASES)
  if losses:
    sections.append(Section("Losses", losses))
  output = workdir / "evaluation.html"
  write_page(output, page("disentangle3d: measured beside printed", sections))
  print(f"report: open {output}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
