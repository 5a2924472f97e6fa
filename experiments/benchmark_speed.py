r"""The paper's Table 4: milliseconds an image, on this device.

    python -m experiments.benchmark_speed --network=runs/demo/training \
      --output=runs/demo/evaluation/timing

700 images from memory to 3D faces in memory, as the paper measured, one at a
time and in batches, with the encoder and the decoders by themselves. Without
`--network` a network of the paper's sizes with random params, which is as
fast as a trained one.
"""

import pathlib

from absl import flags
import jax

from data_prep.stages import command_line
from data_prep.stages.flag_values import numbers_of
from data_prep.stages.flag_words import (
  define_batch_sizes,
  define_network,
  define_output,
  was,
)
from disentangle3d.inference import load_params
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.trunks import TRUNKS
from experiments.benchmarks.speed import TITLE, timing_findings
from experiments.pages.findings import PAGE, output_of, save_findings


def define_flags() -> None:
  """Defines the network and how often it is timed."""
  define_network(
    "A trained network, a training workdir or an exported folder; without it,"
    " one with random params."
  )
  flags.DEFINE_enum(
    "trunk", "sphere20", sorted(TRUNKS), "The trunk of the random network."
  )
  define_output()
  flags.DEFINE_integer(
    "num_images", 700, "How many images are timed at least.", lower_bound=1
  )
  define_batch_sizes((1, 8, 32), "The batch sizes, one after the other.")
  was(images="num_images", batch="batch_sizes")


def main() -> None:
  """Reads the flags, times, writes the folder, prints the table."""
  values = flags.FLAGS
  with output_of(values.output, TITLE):
    page = _timed(values)
  print(f"benchmark_speed: open {page}")


def _timed(values: flags.FlagValues) -> pathlib.Path:
  if values.network is not None:
    model, params = load_params(values.network)
  else:
    model = FaceModel(trunk=values.trunk)
    params = init_params(jax.random.key(0), model)
  findings = timing_findings(
    model,
    params,
    batches=numbers_of("batch_sizes", values.batch_sizes),
    images=values.num_images,
  )
  output = pathlib.Path(values.output)
  save_findings(output, findings)
  return output / PAGE


if __name__ == "__main__":
  command_line.run(main, define_flags)
