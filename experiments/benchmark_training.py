r"""How fast training steps are: on 1 to n devices, and against PyTorch.

    python -m experiments.benchmark_training --devices=1,2,4,8 \
      --batch_sizes=256,1024 --precision=float32,bfloat16 --output=runs/scaling

Runs the real step of phase III (SphereFace-20 with decoders and head, the
paper's sizes) on noise: every combination is compiled (its time apart), warmed
up, timed step by step (median, quartiles, 95 %) and then without waiting in
between, as the training loop does (images/s). The matrix peak is measured by
products of square matrices on the same devices at once. --profile traces two
more steps and lists the costliest operations. Beside the measured efficiency
stands the predicted one: of the step on one device and what the compiled step
moves over --link_gb_s, nothing hidden (`predict_scaling` goes on to 1,024
devices). Writes `scaling.json`,
`scaling.md` and `scaling.png`.

`--against_pytorch=16` measures the same step of the same network in PyTorch
instead, in turn on one CPU (extra `compare`).
"""

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.extras import require
from data_prep.stages.flag_values import numbers_of
from data_prep.stages.flag_words import define_batch_sizes
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.trunks import TRUNKS
from experiments.benchmarks.machine import (
  define_cpu_devices,
  define_link,
  use_cpu_devices,
)
from experiments.benchmarks.results import define_figures_output, publish
from experiments.benchmarks.scaling import Link
from experiments.benchmarks.steps import INPUTS
from experiments.benchmarks.training import chart_of, study, table_of


def define_flags() -> None:
  """Defines what is timed, and on how many devices."""
  flags.DEFINE_list(
    "devices", ["1"], "How many devices share a step; a list measures each."
  )
  define_batch_sizes((64,), "The batch sizes, over all devices.")
  flags.DEFINE_bool(
    "weak", False, "Whether a batch size is that of one device."
  )
  flags.DEFINE_list(
    "precision",
    ["float32"],
    "The precisions of the computation, float32, bfloat16 or both.",
  )
  flags.DEFINE_enum(
    "trunk", "sphere20", sorted(TRUNKS), "The trunk of the encoder."
  )
  flags.DEFINE_enum(
    "input",
    "device_resident",
    INPUTS,
    "Noise that lies on the devices and is gathered in the step, or noise that"
    " is drawn in the step (fake).",
  )
  flags.DEFINE_integer(
    "crops", 4096, "How many crops the device-resident set has.", lower_bound=1
  )
  flags.DEFINE_integer(
    "steps", 20, "How many steps are timed, of each.", lower_bound=2
  )
  flags.DEFINE_integer(
    "matrix",
    0,
    "The side of the matrices of the matrix peak; 0 chooses by the backend.",
  )
  flags.DEFINE_bool(
    "profile", False, "Whether to trace as well, and list what costs most."
  )
  define_cpu_devices()
  define_link()
  flags.DEFINE_integer(
    "against_pytorch",
    0,
    "The batch size of a comparison with PyTorch in place of the study; 0"
    " makes none.",
  )
  define_figures_output()


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  use_cpu_devices(values.cpu_devices)
  if values.against_pytorch:
    _against_pytorch(values)
    return
  rows = study(
    FaceModel(trunk=values.trunk),
    precisions=values.precision,
    device_counts=numbers_of("devices", values.devices),
    batch_sizes=numbers_of("batch_sizes", values.batch_sizes),
    weak=values.weak,
    link=Link(values.link_gb_s, values.link_latency_us),
    input=values.input,
    num_crops=values.crops,
    steps=values.steps,
    matrix=values.matrix,
    profile=values.profile,
  )
  settings = ("trunk", "input", "weak", "steps", "crops", "link_gb_s")
  publish(
    f"Training steps, {values.trunk}",
    [table_of(rows)],
    {
      "settings": {name: getattr(values, name) for name in settings},
      "rows": rows,
    },
    output=values.output,
    name="scaling",
    charts={"scaling.png": chart_of(rows, weak=values.weak)},
  )


def _against_pytorch(values: flags.FlagValues) -> None:
  require("compare", "for --against_pytorch", "torch")
  from experiments.benchmarks.torch_training import (
    compare_steps,
    comparison_table,
  )

  times = compare_steps(
    FaceModel(trunk=values.trunk),
    batch_size=values.against_pytorch,
    rounds=values.steps,
  )
  publish(
    f"A training step in JAX and in PyTorch, {values.trunk}",
    [comparison_table(times)],
    times,
    output=values.output,
    name="pytorch",
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
