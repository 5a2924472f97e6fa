r"""A page on real photographs: overlays, fits, and verification.

    python -m experiments.photo_report --dataset=runs/orl/dataset \
      --network=before=runs/demo/training --network=after=runs/orl/training \
      --output_file=runs/orl/report.html

Shows the people of the split `heldout` as networks see them, named in the order
of training, e.g. before and after training on the split `train`; faces and
losses are the last one's. Photographs have no 3D truth: every RMSE is a dash.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_values import parse_all_named
from data_prep.stages.flag_words import (
  define_dataset,
  define_networks,
  define_output_file,
  was,
)
from experiments.evaluations.photographs import report_photographs


def define_flags() -> None:
  """Defines --dataset, --network and --output_file."""
  define_dataset("The folder of build_dataset.")
  define_networks()
  define_output_file("The .html to write.")
  was(before="network=before", after="network=after", output="output_file")


def main() -> None:
  """Reads the flags, writes the page."""
  values = flags.FLAGS
  output = pathlib.Path(values.output_file)
  report_photographs(
    output, values.dataset, parse_all_named("network", values.network)
  )
  print(f"photo_report: open {output}")


if __name__ == "__main__":
  command_line.run(main, define_flags)
