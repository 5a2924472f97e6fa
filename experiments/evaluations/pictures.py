"""Draws the paper's figures of faces, and writes the findings."""

from collections.abc import Mapping, Sequence
import pathlib

from data_prep.datasets.synthetic_set import is_synthetic, settings_of
from data_prep.stages.rows import PhotoRow
from disentangle3d.fitting.calibration_choice import AUTO
from disentangle3d.reporting.html_page import Section
from disentangle3d.training.dataset import read_manifest
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.pages.bases import bases_section, read_bases
from experiments.pages.findings import PAGE, Findings, save_findings
from experiments.pages.pair_gallery import pair_section
from experiments.pages.visual_sections import (
  STRIP_PHOTOS,
  dataset_photos,
  expressions_section,
  people_section,
  synthetic_photos,
)
from experiments.sets.meshes import MeshFolder, read_mesh_folders
from experiments.sets.synthetic import EXPRESSION, OUTDOOR

TITLE = "Pictures"


def draw_pictures(
  output: str,
  networks: Mapping[str, Network],
  *,
  datasets: Sequence[str],
  meshes: Sequence[str],
  pairs: Sequence[tuple[PhotoRow, PhotoRow]] = (),
  landmark_calibration: str = AUTO,
  bases: int,
  people: int,
  size_px: int,
) -> pathlib.Path:
  """Draws the bases of all networks, and what the last makes of people.

  Args:
    output: The folder to write, new or an earlier evaluation's.
    networks: By the names that pictures print, in the order of training.
    datasets: Whose held-out people to show, synthetic or photographs.
    meshes: Other methods' meshes, as NAME=FOLDER.
    pairs: Two photographs of each of some people to show, or none.
    landmark_calibration: Of the overlays on those, as `calibrated_model`
      takes it.
    bases: Basis vectors of each decoder.
    people: People in Fig. 5.
    size_px: Side of every picture.

  Returns:
    The page in that folder.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is damaged, a decoder has fewer basis vectors, or the
      networks are not of one mesh.
  """
  _check(networks, datasets, bases)
  name, network = list(networks.items())[-1]
  folders = read_mesh_folders(
    meshes,
    network.landmark_vertices,
    network.triangles,
    network.model.num_vertices,
  )
  sections: list[Section] = []
  for dataset in datasets:
    if is_synthetic(read_manifest(dataset)):
      sections += _synthetic(
        dataset, name, network, folders, people=people, size_px=size_px
      )
      continue
    photographs = dataset_photos(
      dataset, {name: network}, folders, people=max(people, STRIP_PHOTOS)
    )
    sections.append(
      people_section(
        "photographs",
        network,
        name,
        photographs,
        people=people,
        size_px=size_px,
      )
    )
  if pairs:
    sections.append(
      pair_section(
        network,
        name,
        pairs,
        landmark_calibration=landmark_calibration,
        size_px=size_px,
      )
    )
  print("visualize: galleries drawn", flush=True)
  sections.insert(0, bases_section(networks, count=bases, size_px=size_px))
  save_findings(output, Findings(TITLE, sections, {}))
  return pathlib.Path(output) / PAGE


def _synthetic(
  dataset: str,
  name: str,
  network: Network,
  folders: Sequence[MeshFolder],
  *,
  people: int,
  size_px: int,
) -> list[Section]:
  settings = settings_of(read_manifest(dataset), dataset)
  most = max(people, min(STRIP_PHOTOS, settings.heldout_people))
  outdoor, expressions = (
    synthetic_photos(which, settings, {name: network}, folders, people=count)
    for which, count in ((OUTDOOR, most), (EXPRESSION, 1))
  )
  return [
    people_section(
      "people never trained on",
      network,
      name,
      outdoor,
      people=people,
      size_px=size_px,
    ),
    expressions_section(network, expressions, size_px),
  ]


def _check(
  networks: Mapping[str, Network], datasets: Sequence[str], bases: int
) -> None:
  """Looks at what can be wrong before anything is drawn."""
  for dataset in datasets:
    read_manifest(dataset)
  for network in networks.values():
    read_bases(network, bases)
  sizes = {name: one.model.num_vertices for name, one in networks.items()}
  if len(set(sizes.values())) > 1:
    raise UserError(
      f"--network: expected networks of one mesh, got {sizes} vertices"
    )
