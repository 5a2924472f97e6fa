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
from disentangle3d.reporting.html_page import (
  write_page,
)
from disentangle3d.training.dataset import load_dataset_model, open_dataset
from disentangle3d.training.export import load_export
from disentangle3d.training.input_pipeline import RecordReader
from experiments.pages.photo_report import build_page, photographs_of


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
  """Reads the flags, writes the page, prints the table's AUCs."""
  values = flags.FLAGS
  split = open_dataset(values.dataset, "heldout")
  model = load_dataset_model(split)
  reader = RecordReader(split)
  photos = photographs_of(reader.read_records(range(len(reader))), model)
  networks = {
    "before": load_export(values.before),
    "after": load_export(values.after),
  }
  for name, network in networks.items():
    if network.model.num_vertices != model.num_vertices:
      raise ValueError(
        f"--{name}: expected a network of {model.num_vertices} vertices as the"
        f" dataset's 3DMM has, got {network.model.num_vertices}"
      )
  runs = {"after": pathlib.Path(values.after)}
  output = pathlib.Path(values.output)
  output.parent.mkdir(parents=True, exist_ok=True)
  write_page(output, build_page(photos, model, networks, runs))
  print(f"photo_report: open {output}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
