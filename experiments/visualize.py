r"""The paper's pictures: Fig. 9 (bases), Fig. 5 and 8 (galleries), Fig. 1.

    python -m experiments.visualize --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --output=runs/demo/evaluation/pictures

Networks are named in the order of training: Fig. 9 shows the bases of all, the
galleries what the last one makes of people it never saw. `--dataset` takes the
synthetic people, with their true shapes; `--photos` the held-out people of a
dataset of photographs. Both may be given, or neither. Writes a folder for
`experiments.report`.
"""

from collections.abc import Mapping
import pathlib

from absl import flags

from data_prep.datasets.synthetic_set import settings_of
from data_prep.stages import command_line
from disentangle3d.reporting.html_page import Section
from disentangle3d.training.dataset import read_manifest
from disentangle3d.training.export import Export
from experiments.pages.bases import bases_section, read_bases
from experiments.pages.findings import (
  PAGE,
  Findings,
  check_output,
  save_findings,
)
from experiments.pages.visual_sections import (
  _STRIP_PHOTOS,
  _expressions,
  _section,
  dataset_photos,
  synthetic_photos,
)
from experiments.sets.meshes import (
  MESHES_HELP,
  read_mesh_folders,
)
from experiments.sets.networks import NETWORK_HELP, read_networks
from experiments.sets.synthetic import EXPRESSION, OUTDOOR
from experiments.training.host import keep_freed_memory


def _define_flags() -> None:
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic."
  )
  flags.DEFINE_string("photos", None, "A dataset of build_dataset.")
  flags.DEFINE_multi_string("meshes", [], MESHES_HELP)
  flags.DEFINE_integer("bases", 5, "Basis vectors of each decoder.")
  flags.DEFINE_integer("people", 3, "People in Fig. 5.")
  flags.DEFINE_integer("size_px", 512, "Side of every picture.")


def main() -> None:
  """Reads the flags, renders, writes the folder."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  networks = read_networks(values.network)
  _check(values, networks)
  size = values.size_px
  name, network = list(networks.items())[-1]
  sections: list[Section] = []
  meshes = read_mesh_folders(
    values.meshes,
    network.landmark_vertices,
    network.triangles,
    network.model.num_vertices,
  )
  if values.dataset is not None:
    settings = settings_of(read_manifest(values.dataset), values.dataset)
    strip_people = min(_STRIP_PHOTOS, settings.heldout_people)
    people = max(values.people, strip_people)
    outdoor = synthetic_photos(
      OUTDOOR, settings, {name: network}, meshes, people=people
    )
    expressions = synthetic_photos(
      EXPRESSION, settings, {name: network}, meshes, people=1
    )
    sections += [
      _section("people never trained on", network, name, outdoor, values),
      _expressions(network, expressions, size),
    ]
  if values.photos is not None:
    photographs = dataset_photos(
      values.photos,
      {name: network},
      meshes,
      people=max(values.people, _STRIP_PHOTOS),
    )
    sections.append(_section("photographs", network, name, photographs, values))
  print("visualize: galleries drawn", flush=True)
  bases = bases_section(networks, count=values.bases, size_px=size)
  sections.insert(0, bases)
  output = pathlib.Path(values.output)
  save_findings(output, Findings("Pictures", sections, {}))
  print(f"visualize: open {output / PAGE}")


def _check(values: flags.FlagValues, networks: Mapping[str, Export]) -> None:
  for flag in ("bases", "people", "size_px"):
    if values[flag].value < 1:
      raise ValueError(
        f"--{flag}: expected at least 1, got {values[flag].value}"
      )
  if values.meshes and not (values.dataset or values.photos):
    raise ValueError("--meshes: expected --dataset or --photos beside it")
  for dataset in (values.dataset, values.photos):
    if dataset is not None:
      read_manifest(dataset)
  for network in networks.values():
    read_bases(network, values.bases)
  sizes = {name: one.model.num_vertices for name, one in networks.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(
      f"--network: expected networks of one mesh, got {sizes} vertices"
    )


if __name__ == "__main__":
  command_line.run(main, _define_flags)
