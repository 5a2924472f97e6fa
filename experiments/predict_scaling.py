r"""What training on up to 1,024 devices is predicted to reach.

    python -m experiments.predict_scaling --step_ms=26.9 --batch_size=1024 \
      --link_gb_s=50 --output=runs/prediction

Compiles the step of phase III on 2, 4 and 8 fake CPU devices, which run
nothing, and reads off what it moves between them: gradients of each module,
and codes where the identity head is cut over the devices. What grows with the
devices and what does not is continued to 1,024 of them. --step_ms is the step
that `benchmark_training` measures on one device at the same batch and
precision; without it a step is measured here, on the CPU.

Writes `prediction.json`, `prediction.md` and `prediction.png`: with every head
and every type of gradient, what a device moves, how long that takes over
--link_gb_s, and the efficiency between nothing of it hidden behind computation
and all that fits.
"""

import itertools

from absl import flags
import jax

from data_prep.stages import command_line
from data_prep.stages.progress import progress
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.trunks import TRUNKS
from disentangle3d.training.phases import GRADIENT_DTYPES
from disentangle3d.types import CASIA_NUM_CLASSES
from experiments.benchmarks.machine import define_link, use_cpu_devices
from experiments.benchmarks.results import define_figures_output, publish
from experiments.benchmarks.scaling import (
  HEADS,
  Link,
  count_payloads,
  device_counts,
  predict,
  prediction_chart,
  prediction_table,
)
from experiments.benchmarks.steps import prepare_step
from experiments.benchmarks.timing import time_calls

_FAKE_DEVICES = 8
_TIMED_STEPS = 5


def define_flags() -> None:
  """Defines the step, the link and where to write."""
  flags.DEFINE_float(
    "step_ms",
    None,
    "What a step takes on one device; without it one is measured here.",
    lower_bound=1e-6,
  )
  flags.DEFINE_integer(
    "batch_size", 1024, "The batch size of one device.", lower_bound=1
  )
  flags.DEFINE_integer(
    "num_classes",
    CASIA_NUM_CLASSES,
    "How many people the identity head tells apart.",
    lower_bound=_FAKE_DEVICES,
  )
  flags.DEFINE_enum(
    "trunk", "sphere20", sorted(TRUNKS), "The trunk of the encoder."
  )
  flags.DEFINE_enum(
    "precision",
    "float32",
    ("float32", "bfloat16"),
    "The precision of the computation, in which codes are gathered.",
  )
  flags.DEFINE_multi_enum(
    "head", list(HEADS), list(HEADS), "The identity heads."
  )
  flags.DEFINE_multi_enum(
    "gradient_dtype",
    list(GRADIENT_DTYPES),
    GRADIENT_DTYPES,
    "What gradients are averaged in.",
  )
  define_link()
  flags.DEFINE_integer(
    "most_devices", 1024, "Up to how many devices.", lower_bound=2
  )
  define_figures_output()


def main() -> None:
  """Counts, predicts, prints and writes."""
  values = flags.FLAGS
  use_cpu_devices(_FAKE_DEVICES)
  model = FaceModel(trunk=values.trunk, dtype=values.precision)
  step_s = (
    _measured(model, values)
    if values.step_ms is None
    else (values.step_ms / 1e3)
  )
  link = Link(values.link_gb_s, values.link_latency_us)
  steps = list(itertools.product(values.head, values.gradient_dtype))
  payloads = {}
  with progress("steps compiled", total=len(steps), unit="step") as update:
    for head, dtype in steps:
      payloads[f"{head}, {dtype}"] = count_payloads(
        model,
        head,
        batch_a_device=values.batch_size,
        num_classes=values.num_classes,
        gradient_dtype=dtype,
      )
      update(1)
  cases = {
    name: [
      predict(counted, devices, step_s=step_s, link=link)
      for devices in device_counts(values.most_devices)
    ]
    for name, counted in payloads.items()
  }
  publish(
    f"Predicted scaling, {values.trunk}",
    [prediction_table(cases)],
    {
      "step_ms": 1e3 * step_s,
      "link": link,
      "payloads": payloads,
      "predicted": cases,
    },
    output=values.output,
    name="prediction",
    charts={"prediction.png": prediction_chart(cases)},
  )


def _measured(model: FaceModel, values: flags.FlagValues) -> float:
  """Seconds of a step on one device of this machine."""
  prepared = prepare_step(
    model, jax.devices()[:1], batch_size=values.batch_size, input="fake"
  )
  state = prepared.state

  def step() -> jax.Array:
    nonlocal state
    state, metrics = prepared.mapped(state, prepared.batch, prepared.key)
    return metrics

  return time_calls(step, rounds=_TIMED_STEPS).median_s


if __name__ == "__main__":
  command_line.run(main, define_flags)
