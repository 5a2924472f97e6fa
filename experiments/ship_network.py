"""Writes a trained network in half precision, as one ships in the package.

    python -m experiments.ship_network --network=runs/start --output=start

The folder is loaded as any export is; params are float32 once loaded.
"""

import pathlib

from absl import flags, logging

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_network, define_output
from disentangle3d.output_files import new_folder
from disentangle3d.training.export import load_network, save_network


def define_flags() -> None:
  """Defines --network and --output."""
  define_network(required=True)
  define_output("The folder to write, new or empty.")


def main() -> None:
  """Rounds one network."""
  values = flags.FLAGS
  output = pathlib.Path(values.output)
  network = load_network(values.network)
  with new_folder(output) as folder:
    save_network(
      folder,
      network.model,
      network.params,
      network.mean_face(),
      phase=network.phase,
      half=True,
    )
  size = sum(path.stat().st_size for path in output.iterdir())
  logging.info("Wrote %s, %.1f MB.", output, size / 1e6)


if __name__ == "__main__":
  command_line.run(main, define_flags)
