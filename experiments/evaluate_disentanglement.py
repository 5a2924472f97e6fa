r"""How well networks keep who it is apart from what it is doing now.

    python -m experiments.evaluate_disentanglement \
      --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --network="control: III without L_C=runs/demo/control" \
      --output=runs/demo/evaluation/disentanglement

On people of the synthetic world never trained on. The paper shows this in
pictures only.
"""

import pathlib

from absl import flags

from data_prep.datasets.synthetic_set import settings_of, world_of
from data_prep.stages import command_line
from disentangle3d.reporting.html_page import (
  Section,
)
from disentangle3d.training.dataset import read_manifest
from experiments.measures.disentanglement import (
  CODES,
  measure_disentanglement,
)
from experiments.pages.disentanglement import disentanglement_blocks
from experiments.pages.findings import (
  PAGE,
  Findings,
  check_output,
  save_findings,
)
from experiments.sets.heldout import heldout_people
from experiments.sets.networks import NETWORK_HELP, read_networks
from experiments.sets.synthetic import EXPRESSION, OUTDOOR, YAW, world_of_set
from experiments.training.host import keep_freed_memory


def _define_flags() -> None:
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic.", required=True
  )
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_integer("people", 0, "Held-out people a set; 0 takes all.")
  flags.DEFINE_integer("swaps", 100, "Photos whose residuals are swapped.")


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the table."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  settings = settings_of(read_manifest(values.dataset), values.dataset)
  world, fitter = world_of(settings)
  networks = read_networks(values.network, fitter)
  outdoor, yaw, expression = (
    heldout_people(*world_of_set(name, settings, world, values.people), fitter)
    for name in (OUTDOOR, YAW, EXPRESSION)
  )
  found = {}
  for name, network in networks.items():
    found[name] = measure_disentanglement(
      network, outdoor, yaw, expression, swaps=values.swaps
    )
    for code in CODES:
      auc = found[name].codes[code].verification.result.auc
      print(
        f"{name}: {code} code: AUC {auc.mean:.2f} ± {auc.std:.2f}", flush=True
      )
  section = Section("Disentanglement", disentanglement_blocks(found, outdoor))
  output = pathlib.Path(values.output)
  save_findings(output, Findings("Disentanglement", [section], {}))
  print(f"evaluate_disentanglement: open {output / PAGE}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
