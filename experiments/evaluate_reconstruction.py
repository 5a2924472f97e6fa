r"""The paper's reconstruction tables on people never trained on.

    python -m experiments.evaluate_reconstruction --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --network="control: III without L_C=runs/demo/control" \
      --output=runs/demo/evaluation/reconstruction

Renders the synthetic counterparts of MICC and BU-3DFE (`synthetic_sets`),
scores networks, landmark fits, mean shape, other methods' meshes and the best
3DMM projection of the truth, and writes a folder for `experiments.report`.
`--write_photos` writes the photos, for other methods to work on.
"""

import itertools
import pathlib

from absl import flags
import numpy as np

from data_prep import command_line
from data_prep.output_files import new_folder
from data_prep.synthetic_set import world_of
from disentangle3d.reporting.html_page import Section
from disentangle3d.reporting.pictures import picture_png
from disentangle3d.training.dataset import read_manifest
from experiments.evaluated_networks import (
  NETWORK_HELP,
  read_networks,
  settings_of,
)
from experiments.heldout import HeldOut, photo_names
from experiments.host_memory import keep_freed_memory
from experiments.mesh_folders import MESHES_HELP, read_mesh_folders
from experiments.paper_figures import Measured
from experiments.reconstruction_results import measure_set
from experiments.reconstruction_sections import paper_rows, set_sections
from experiments.saved_sections import PAGE, Findings, save_findings
from experiments.synthetic_sets import TEST_SETS


def _define_flags() -> None:
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic.", required=True
  )
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_multi_string("meshes", [], MESHES_HELP)
  flags.DEFINE_multi_enum(
    "set", list(TEST_SETS), list(TEST_SETS), "Which sets."
  )
  flags.DEFINE_integer("people", 0, "Held-out people a set; 0 takes all.")
  flags.DEFINE_integer(
    "bound_people", 4, "People whose true shapes are projected (slow)."
  )
  flags.DEFINE_integer(
    "protocol_photos",
    10,
    "Photos of the first set to compare by every protocol (slow).",
  )
  flags.DEFINE_string(
    "write_photos", None, "A new folder for the photos of the sets, PNG."
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the means."""
  values = flags.FLAGS
  keep_freed_memory()
  settings = settings_of(read_manifest(values.dataset), values.dataset)
  world, fitter = world_of(settings)
  networks = read_networks(values.network, fitter)
  meshes = read_mesh_folders(
    values.meshes,
    np.asarray(fitter.landmark_vertices),
    np.asarray(fitter.triangles),
    fitter.num_vertices,
  )
  pairs = list(itertools.combinations(reversed(networks), 2))
  sections: list[Section] = []
  measured: dict[str, Measured] = {}
  for place, name in enumerate(values.set):
    results = measure_set(
      name,
      settings,
      world,
      fitter,
      networks,
      meshes=meshes,
      people=values.people,
      bound_people=values.bound_people,
      protocol_photos=values.protocol_photos if place == 0 else 0,
    )
    sections += set_sections(results, pairs)
    measured |= paper_rows(results)
    for method, scores in results.scores.items():
      print(f"{name}: {method}: {np.nanmean(scores.within):.2f} mm", flush=True)
    if values.write_photos:
      _write_photos(pathlib.Path(values.write_photos) / name, results.heldout)
  output = pathlib.Path(values.output)
  save_findings(output, Findings("Reconstruction", sections, measured))
  print(f"evaluate_reconstruction: open {output / PAGE}")


def _write_photos(folder: pathlib.Path, heldout: HeldOut) -> None:
  with new_folder(folder) as partial:
    for name, image in zip(
      photo_names(heldout), heldout.photos.image, strict=True
    ):
      path = partial / f"{name}.png"
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(picture_png(image))


if __name__ == "__main__":
  command_line.run(main, _define_flags)
