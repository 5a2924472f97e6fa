r"""One page of all tables and figures of a run, beside the paper's.

    python -m experiments.report --workdir=runs/demo

Joins what the evaluations wrote under <workdir>/evaluation, and the losses of
the trainings in the workdir, to <workdir>/evaluation.html: one file that needs
no other. What nobody measured is a dash.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_path
from experiments.pages.report import write_evaluation_page


def define_flags() -> None:
  """Defines --workdir."""
  define_path("workdir", "The folder of a run.", required=True)


def main() -> None:
  """Reads the flag, writes the page."""
  page = write_evaluation_page(pathlib.Path(flags.FLAGS.workdir))
  print(f"report: open {page}")


if __name__ == "__main__":
  command_line.run(main, define_flags)
