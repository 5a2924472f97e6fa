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
from disentangle3d.inference import load_params
from disentangle3d.network.face_model import FaceModel, init_params
from experiments.benchmarks.speed import timing_findings
from experiments.pages.findings import (
  PAGE,
  check_output,
  save_findings,
)


def _define_flags() -> None:
  flags.DEFINE_string("network", None, "A workdir or an export; else random.")
  flags.DEFINE_string("trunk", "sphere20", "Of the random network.")
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_integer("images", 700, "To time, at least.")
  flags.DEFINE_multi_integer("batch", [1, 8, 32], "Batch sizes to try.")


def main() -> None:
  """Reads the flags, times, writes the folder, prints the table."""
  values = flags.FLAGS
  check_output(values.output)
  if values.network is not None:
    model, params = load_params(values.network)
  else:
    model = FaceModel(trunk=values.trunk)
    params = init_params(jax.random.key(0), model)
  findings = timing_findings(
    model, params, batches=values.batch, images=values.images
  )
  output = pathlib.Path(values.output)
  save_findings(output, findings)
  print(f"benchmark_speed: open {output / PAGE}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
