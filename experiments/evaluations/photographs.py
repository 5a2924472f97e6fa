"""Shows photographs before and after training on them, on one page."""

import pathlib

from disentangle3d.reporting.html_page import write_page
from disentangle3d.training.dataset import load_dataset_model, open_dataset
from disentangle3d.training.export import load_network
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.types import UserError
from experiments.pages.photo_report import build_page, photographs_of


def report_photographs(
  output: pathlib.Path, dataset: str, *, before: str, after: str
) -> None:
  """Writes the page of a dataset's people of the split `heldout`.

  Args:
    output: The .html to write.
    dataset: Of build_dataset.
    before: Network or workdir to start from.
    after: Workdir of the training on the split `train`.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is damaged, or a network is of another mesh than the
      dataset's 3DMM.
  """
  split = open_dataset(dataset, "heldout")
  model = load_dataset_model(split)
  reader = RecordReader(split)
  photos = photographs_of(reader.read_records(range(len(reader))), model)
  networks = {"before": load_network(before), "after": load_network(after)}
  for name, network in networks.items():
    if network.model.num_vertices != model.num_vertices:
      raise UserError(
        f"--{name}: expected a network of {model.num_vertices} vertices as the"
        f" dataset's 3DMM has, got {network.model.num_vertices}"
      )
  runs = {"after": pathlib.Path(after)}
  output.parent.mkdir(parents=True, exist_ok=True)
  write_page(output, build_page(photos, model, networks, runs))
