"""Memory and time of the identity head by devices: dense against sharded.

    python -m experiments.benchmark_head --num_classes=200000 --cpu_devices=8

The real train step, with a tiny encoder that is frozen, on images of noise.
"computed" adds up what has to be there: kernel, momentum, gradient and logits;
"measured" is what lies on the fullest device, and what XLA's compiled program
takes beside it for temporaries.
"""

import dataclasses
import json
import pathlib

from absl import flags
import jax

from data_prep.stages import command_line
from disentangle3d.network.margins import MARGINS, HeadSetting
from disentangle3d.output_files import replace_file
from disentangle3d.types import UserError
from experiments.benchmarks.head import measure_head, table_of


def _define_flags() -> None:
  flags.DEFINE_integer("num_classes", 200_000, "K.", lower_bound=1)
  flags.DEFINE_integer("batch_size", 64, "Over all devices.", lower_bound=1)
  flags.DEFINE_integer(
    "cpu_devices", 0, "Run on so many fake CPU devices; 0: on what is there."
  )
  flags.DEFINE_string("output", None, "Also write the figures there, as JSON.")


def main() -> None:
  """Measures, prints a table."""
  values = flags.FLAGS
  if values.cpu_devices:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", values.cpu_devices)
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
  print(table_of(costs))
  if values.output:
    text = json.dumps([dataclasses.asdict(cost) for cost in costs], indent=2)
    replace_file(pathlib.Path(values.output), text)


if __name__ == "__main__":
  command_line.run(main, _define_flags)
