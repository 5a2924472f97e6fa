r"""One page of all tables and figures of a run, beside the paper's.

    python -m experiments.report --workdir=runs/demo

Joins what the evaluations wrote under <workdir>/evaluation, and the losses of
the trainings in the workdir, to <workdir>/evaluation.html: one file that needs
no other. What nobody measured is a dash.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from experiments.pages.report import write_evaluation_page


def _define_flags() -> None:
  flags.DEFINE_string("workdir", None, "Of a run.", required=True)


def main() -> None:
  """Reads the flag, writes the page."""
  page = write_evaluation_page(pathlib.Path(flags.FLAGS.workdir))
  print(f"report: open {page}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
