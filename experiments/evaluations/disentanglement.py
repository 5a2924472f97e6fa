"""Tells who it is from what it is doing now, and writes the findings."""

from collections.abc import Mapping
import pathlib

from data_prep.datasets.synthetic_set import settings_of, world_of
from disentangle3d.reporting.html_page import Section
from disentangle3d.training.dataset import read_manifest
from disentangle3d.training.export import Network
from experiments.measures.disentanglement import CODES, measure_disentanglement
from experiments.pages.disentanglement import disentanglement_blocks
from experiments.pages.findings import PAGE, Findings, save_findings
from experiments.sets.heldout import heldout_people
from experiments.sets.networks import check_vertices
from experiments.sets.synthetic import EXPRESSION, OUTDOOR, YAW, world_of_set

TITLE = "Disentanglement"


def evaluate_disentanglement(
  output: str,
  networks: Mapping[str, Network],
  dataset: str,
  *,
  people: int,
  swaps: int,
) -> pathlib.Path:
  """Measures both codes on people never trained on; prints their AUCs.

  Args:
    output: The folder to write, new or an earlier evaluation's.
    networks: By the names that tables print, in the order of training.
    dataset: Of data_prep.render_synthetic.
    people: Held-out people a set; 0 takes all.
    swaps: Photos whose residuals are swapped.

  Returns:
    The page in that folder.

  Raises:
    FileNotFoundError: A file of the dataset is missing.
    ValueError: It has fewer people, or a network is of another mesh.
  """
  settings = settings_of(read_manifest(dataset), dataset)
  world, fitter = world_of(settings)
  check_vertices(networks, fitter.num_vertices, "dataset's 3DMM")
  outdoor, yaw, expression = (
    heldout_people(*world_of_set(name, settings, world, people), fitter)
    for name in (OUTDOOR, YAW, EXPRESSION)
  )
  found = {}
  for name, network in networks.items():
    found[name] = measure_disentanglement(
      network, outdoor, yaw, expression, swaps=swaps
    )
    for code in CODES:
      auc = found[name].codes[code].verification.result.auc
      print(
        f"{name}: {code} code: AUC {auc.mean:.2f} ± {auc.std:.2f}", flush=True
      )
  section = Section("Disentanglement", disentanglement_blocks(found, outdoor))
  save_findings(output, Findings(TITLE, [section], {}))
  return pathlib.Path(output) / PAGE
