"""Memory and time of the identity head by devices: dense against sharded.

    python -m experiments.benchmark_head --num_classes=200000 --cpu_devices=8

The real train step, with a tiny encoder that is frozen, on images of noise.
"computed" adds up what has to be there: kernel, momentum, gradient and logits;
"measured" is what the arrays take on the device that holds most, and what
XLA's compiled program takes there for its temporaries.
"""

import dataclasses

from absl import flags
import jax

from data_prep.stages import command_line
from disentangle3d.network.margins import MARGINS, HeadSetting
from disentangle3d.types import UserError
from experiments.benchmarks.head import measure_head, table_of
from experiments.benchmarks.machine import define_cpu_devices, use_cpu_devices
from experiments.benchmarks.results import define_figures_output, publish


def define_flags() -> None:
  """Defines the sizes and the devices."""
  flags.DEFINE_integer(
    "num_classes",
    200_000,
    "How many people the head tells apart.",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "batch_size", 64, "How many images all devices share.", lower_bound=1
  )
  define_cpu_devices()
  define_figures_output()


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  use_cpu_devices(values.cpu_devices)
  devices = jax.devices()
  if values.batch_size % len(devices):
    raise UserError(
      f"--batch_size: expected a multiple of the {len(devices)} devices, got"
      f" {values.batch_size}"
    )
  dense = HeadSetting("cosface", margin=MARGINS["cosface"])
  sharded = dataclasses.replace(dense, sharded=True)
  sampled = dataclasses.replace(sharded, sampled_share=0.1)
  costs = [
    measure_head(
      name,
      setting,
      devices,
      num_classes=values.num_classes,
      batch_size=values.batch_size,
    )
    for name, setting in (
      ("dense", dense),
      ("sharded", sharded),
      ("sharded, 10 % sampled", sampled),
    )
  ]
  publish(
    f"Identity heads of {values.num_classes:,} classes",
    [table_of(costs)],
    costs,
    output=values.output,
    name="head",
  )


if __name__ == "__main__":
  command_line.run(main, define_flags, keeps_programs=False)
