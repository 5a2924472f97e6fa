r"""Writes a trained network for use without this project.

    python -m experiments.export --network=runs/demo/training --output=exported

The folder gets the program as StableHLO (`jax.export`, any batch size, CPU,
CUDA and TPU), its params as safetensors, and about.json, which says what goes
in and comes out. JAX alone runs it:

    import jax, safetensors.numpy
    program = jax.export.deserialize(open("reconstruct.stablehlo", "rb").read())
    params = safetensors.numpy.load_file("params.safetensors")
    faces = program.call(params, crops)  # faces["shape"]: [B, V, 3], mm

With --onnx (extra `onnx`) reconstruct.onnx as well, its params inside.
"""

import pathlib

from absl import flags, logging

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_network, define_output, was
from disentangle3d.training.export import load_network
from experiments.exports.programs import PLATFORMS, export_network


def define_flags() -> None:
  """Defines --network, --output and the formats."""
  define_network(required=True)
  define_output("The folder to write, new or empty.")
  flags.DEFINE_list(
    "platforms", list(PLATFORMS), "What the StableHLO program may run on."
  )
  flags.DEFINE_bool("onnx", False, "Writes an ONNX model as well.")
  was(params="network")


def main() -> None:
  """Exports one network."""
  values = flags.FLAGS
  output = pathlib.Path(values.output)
  names = export_network(
    load_network(values.network),
    output,
    platforms=values.platforms,
    with_onnx=values.onnx,
  )
  logging.info("Wrote %s to %s.", ", ".join(names), output)


if __name__ == "__main__":
  command_line.run(main, define_flags)
