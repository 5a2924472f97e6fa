"""Shows photographs as networks see them, on one page."""

from collections.abc import Mapping
import pathlib

from disentangle3d.reporting.html_page import write_page
from disentangle3d.training.dataset import load_dataset_model, open_dataset
from disentangle3d.training.export import load_network
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.types import UserError
from experiments.pages.photo_report import build_page, photographs_of
from experiments.sets.networks import check_crops


def report_photographs(
  output: pathlib.Path, dataset: str, paths: Mapping[str, str]
) -> None:
  """Writes the page of a dataset's people of the split `heldout`.

  Args:
    output: The .html to write.
    dataset: Of build_dataset.
    paths: Of networks by name, in the order of training; faces and losses
      are the last one's.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is damaged, or a network is of another mesh than the
      dataset's 3DMM.
  """
  split = open_dataset(dataset, "heldout")
  model = load_dataset_model(split)
  reader = RecordReader(split)
  photos = photographs_of(reader.read_records(range(len(reader))), model)
  networks = {name: load_network(path) for name, path in paths.items()}
  for name, network in networks.items():
    if network.model.num_vertices != model.num_vertices:
      raise UserError(
        f"--network={name}: expected {model.num_vertices} vertices as the"
        f" dataset's 3DMM has, got {network.model.num_vertices}"
      )
  check_crops(networks, dataset)
  name, workdir = list(paths.items())[-1]
  runs = {name: pathlib.Path(workdir)}
  output.parent.mkdir(parents=True, exist_ok=True)
  write_page(output, build_page(photos, model, networks, runs))
