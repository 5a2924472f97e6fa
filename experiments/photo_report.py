r"""A page on real photographs: overlays, fits, and verification.

    python -m experiments.photo_report --dataset=runs/orl/dataset \
      --before=runs/demo/training --after=runs/orl/training \
      --output=runs/orl/report.html

Shows the people of the split `heldout`, before and after training on the
split `train`. Photographs have no 3D truth: every RMSE is a dash.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from experiments.evaluations.photographs import report_photographs


def _define_flags() -> None:
  flags.DEFINE_string("dataset", None, "From build_dataset.", required=True)
  flags.DEFINE_string(
    "before", None, "Export or workdir to start from.", required=True
  )
  flags.DEFINE_string(
    "after", None, "Workdir of the training on it.", required=True
  )
  flags.DEFINE_string("output", None, "The .html to write.", required=True)


def main() -> None:
  """Reads the flags, writes the page."""
  values = flags.FLAGS
  output = pathlib.Path(values.output)
  report_photographs(
    output, values.dataset, before=values.before, after=values.after
  )
  print(f"photo_report: open {output}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
