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

from absl import flags

from data_prep.stages import command_line
from experiments.evaluations.disentanglement import evaluate_disentanglement
from experiments.pages.findings import check_output
from experiments.sets.networks import NETWORK_HELP, read_networks
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
  page = evaluate_disentanglement(
    values.output,
    read_networks(values.network),
    values.dataset,
    people=values.people,
    swaps=values.swaps,
  )
  print(f"evaluate_disentanglement: open {page}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
