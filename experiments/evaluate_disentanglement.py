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

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_dataset, define_networks
from disentangle3d.machine import keep_freed_memory
from experiments.evaluations.disentanglement import (
  TITLE,
  evaluate_disentanglement,
)
from experiments.evaluations.flags import define_findings, define_people
from experiments.pages.findings import output_of
from experiments.sets.networks import read_networks


def define_flags() -> None:
  """Defines networks, dataset, --output and how much to measure."""
  define_dataset("The folder of render_synthetic.")
  define_networks()
  define_findings()
  define_people()
  flags.DEFINE_integer(
    "swaps",
    100,
    "How many photographs have their residuals swapped.",
    lower_bound=1,
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the table."""
  values = flags.FLAGS
  keep_freed_memory()
  with output_of(values.output, TITLE):
    page = _evaluate(values)
  print(f"evaluate_disentanglement: open {page}")


def _evaluate(values: flags.FlagValues) -> pathlib.Path:
  return evaluate_disentanglement(
    values.output,
    read_networks(values.network, datasets=(values.dataset,)),
    values.dataset,
    people=values.people,
    swaps=values.swaps,
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
