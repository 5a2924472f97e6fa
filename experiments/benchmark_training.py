r"""How fast training steps are: on 1 to n devices, and against PyTorch.

    python -m experiments.benchmark_training --devices=1,2,4,8 \
      --batch_sizes=256,1024 --precision=float32,bfloat16 --output=runs/scaling

Runs the real step of phase III (SphereFace-20 with decoders and head, the
paper's sizes) on noise: every combination is compiled (its time apart), warmed
up, timed step by step (p50, p95) and then without waiting in between, as the
training loop does (images/s). The matrix peak is measured by products of square
matrices on the same devices at once. --profile traces two more steps and lists
the costliest operations. Writes `scaling.json`, `scaling.md` and `scaling.png`.

`--against_pytorch=16` measures the same step of the same network in PyTorch
instead, in turn on one CPU (extra `compare`).
"""

import dataclasses
import pathlib

from absl import flags
import jax

from data_prep.stages import command_line
from disentangle3d.machine import machine_name
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.sphereface import PRESETS
from disentangle3d.output_files import replace_file
from experiments.benchmarks.steps import INPUTS
from experiments.benchmarks.training import _study, _write, chart_of, table_of


def _define_flags() -> None:
  flags.DEFINE_list("devices", ["1"], "How many devices, one study each.")
  flags.DEFINE_list("batch_sizes", ["64"], "Over all devices.")
  flags.DEFINE_bool("weak", False, "Batch sizes are those of one device.")
  flags.DEFINE_list("precision", ["float32"], "float32, bfloat16 or both.")
  flags.DEFINE_enum("trunk", "sphere20", sorted(PRESETS), "The encoder's.")
  flags.DEFINE_enum(
    "input",
    "device_resident",
    INPUTS,
    "Noise that lies on the devices and is gathered in the step, or noise"
    " drawn in the step (fake).",
  )
  flags.DEFINE_integer(
    "crops", 4096, "Of the device-resident set.", lower_bound=1
  )
  flags.DEFINE_integer("steps", 20, "Timed, of each.", lower_bound=2)
  flags.DEFINE_integer(
    "matrix", 0, "Side of the matrices of the peak; 0: by the backend."
  )
  flags.DEFINE_bool("profile", False, "Also trace, and list what costs most.")
  flags.DEFINE_integer(
    "cpu_devices", 0, "Run on so many fake CPU devices; 0: on what is there."
  )
  flags.DEFINE_integer(
    "against_pytorch", 0, "Compare with PyTorch at this batch size instead."
  )
  flags.DEFINE_string("output", None, "A folder for JSON, table and plot.")


def main() -> None:
  """Measures, prints a table, writes it."""
  values = flags.FLAGS
  if values.cpu_devices:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", values.cpu_devices)
  output = pathlib.Path(values.output) if values.output else None
  if values.against_pytorch:
    # PyTorch is not installed for anything else.
    from experiments.benchmarks.torch_training import (
      compare_steps,
      comparison_table,
    )

    times = compare_steps(
      FaceModel(trunk=values.trunk),
      batch_size=values.against_pytorch,
      rounds=values.steps,
    )
    print(comparison_table(times))
    if output:
      _write(output, "pytorch", {"results": times}, comparison_table(times))
    return
  print(table_of([]))
  rows = _study(values)
  print(f"\n{values.trunk} on {machine_name()}\n{table_of(rows)}")
  if output:
    results = [dataclasses.asdict(row) for row in rows]
    settings = {
      name: getattr(values, name)
      for name in ("trunk", "input", "weak", "steps", "crops")
    }
    about = {"settings": settings, "results": results}
    _write(output, "scaling", about, table_of(rows))
    replace_file(output / "scaling.png", chart_of(rows, weak=values.weak))


if __name__ == "__main__":
  command_line.run(main, _define_flags)
