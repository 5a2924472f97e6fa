r"""The paper's reconstruction tables on people never trained on.

    python -m experiments.evaluate_reconstruction --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --network="control: III without L_C=runs/demo/control" \
      --output=runs/demo/evaluation/reconstruction

Renders the synthetic counterparts of MICC and BU-3DFE (`synthetic_sets`),
scores networks, landmark fits, mean shape and the best 3DMM projection of the
truth, and writes a folder for `experiments.report`, with a page of its own.
"""

import itertools
import pathlib

from absl import flags

from data_prep import command_line
from data_prep.output_files import replace_file
from data_prep.render_synthetic import world_of
from disentangle3d.reporting.html_page import Section, page
from disentangle3d.training.dataset import read_manifest
from experiments.evaluated_networks import (
  NETWORK_HELP,
  read_networks,
  settings_of,
)
from experiments.host_memory import keep_freed_memory
from experiments.reconstruction_results import measure_set
from experiments.reconstruction_sections import set_sections
from experiments.saved_sections import save_sections
from experiments.synthetic_sets import TEST_SETS


def _define_flags() -> None:
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic.", required=True
  )
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_multi_enum(
    "set", list(TEST_SETS), list(TEST_SETS), "Which sets."
  )
  flags.DEFINE_integer("people", 0, "Held-out people a set; 0 takes all.")
  flags.DEFINE_bool("lower_bound", True, "Project the truth (slow).")
  flags.DEFINE_integer(
    "protocol_photos",
    10,
    "Photos of the first set to compare by every protocol (slow).",
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the means."""
  values = flags.FLAGS
  keep_freed_memory()
  settings = settings_of(read_manifest(values.dataset), values.dataset)
  world, fitter = world_of(settings)
  networks = read_networks(values.network, fitter)
  pairs = list(itertools.combinations(reversed(networks), 2))
  sections: list[Section] = []
  for place, name in enumerate(values.set):
    results = measure_set(
      name,
      settings,
      world,
      fitter,
      networks,
      people=values.people,
      with_bound=values.lower_bound,
      protocol_photos=values.protocol_photos if place == 0 else 0,
    )
    sections += set_sections(results, pairs)
    for method, scores in results.scores.items():
      print(f"{name}: {method}: {scores.within.mean():.2f} mm", flush=True)
  output = pathlib.Path(values.output)
  save_sections(output, sections)
  replace_file(output / "page.html", page("Reconstruction", sections).encode())
  print(f"evaluate_reconstruction: open {output / 'page.html'}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
