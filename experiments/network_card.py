r"""Measures a network as its model card has it: the gates, and what they say.

    python -m experiments.network_card --output_file=card.md \
      --photographs=people/dataset --lfw_pairs=pairs.txt --lfw_aligned=lfw \
      --york=york_scans --york_aligned=york --morphable_model=ict.npz

What is not given is not measured, and a dash in the table. LFW and York are
for the end: nothing is to be chosen by them. Of York the development people
are scored unless --york_split=test.
"""

import pathlib

from absl import flags

from data_prep.evaluation_sets.york import SPLITS
from data_prep.stages import command_line
from data_prep.stages.flag_values import check_inputs
from data_prep.stages.flag_words import (
  define_morphable_model,
  define_network,
  define_output_file,
  define_path,
  define_path_list,
)
from disentangle3d.output_files import check_output_file, replace_file
from disentangle3d.training.export import SHIPPED, load_network
from disentangle3d.types import UserError
from experiments.pages.network_card import CardInputs, card_table, network_gates

_INPUTS = ("network", "photographs", "lfw_pairs", "lfw_aligned", "york_aligned")


def define_flags() -> None:
  """Defines the network, what to measure it on, and the file."""
  define_network("A trained network; without it, the one that ships.")
  define_output_file("The table to write, .md.")
  define_path(
    "photographs",
    "A dataset of build_dataset, whose held-out people's landmarks are"
    " compared with the network's.",
  )
  define_path("lfw_pairs", "The pairs.txt of LFW.")
  define_path("lfw_aligned", "The folder that align_faces made of LFW.")
  define_path_list("york", "The University of York's scans, and photographs.")
  define_path(
    "york_aligned",
    "The folder that align_faces made of the photographs of --york.",
  )
  flags.DEFINE_enum(
    "york_split", "development", list(SPLITS), "Whose scans are scored."
  )
  define_morphable_model(
    "The 3D morphable model of the landmark fits that scans are compared with."
  )


def main() -> None:
  """Measures, writes the table, prints it."""
  values = flags.FLAGS
  check_output_file(values.output_file)
  check_inputs(values, *_INPUTS)
  for one, other in (
    ("lfw_pairs", "lfw_aligned"),
    ("york", "york_aligned"),
    ("york", "morphable_model"),
  ):
    if bool(values[one].value) and not values[other].value:
      raise UserError(f"--{other}: expected beside --{one}")
  gates = network_gates(
    load_network(values.network or SHIPPED),
    CardInputs(
      photographs=values.photographs,
      lfw_pairs=values.lfw_pairs,
      lfw_aligned=values.lfw_aligned,
      york=values.york or (),
      york_aligned=values.york_aligned,
      york_split=values.york_split,
      morphable_model=values.morphable_model,
    ),
  )
  text = card_table(gates)
  replace_file(pathlib.Path(values.output_file), text)
  print(text)


if __name__ == "__main__":
  command_line.run(main, define_flags)
