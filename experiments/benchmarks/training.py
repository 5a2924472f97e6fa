"""The train step over devices, batches and precisions."""

from collections.abc import Sequence
import dataclasses
import itertools
import math
from typing import Any

import jax
import numpy as np

from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.operations import count_operations
from disentangle3d.reporting.charts import Series, figure_png, line_chart
from disentangle3d.reporting.html_page import Row, Table
from disentangle3d.reporting.markdown import markdown_table
from disentangle3d.types import UserError
from experiments.benchmarks.collectives import Collective, collectives_of
from experiments.benchmarks.machine import check_precisions, matrix_peak
from experiments.benchmarks.profile import costliest_operations
from experiments.benchmarks.scaling import Link
from experiments.benchmarks.steps import PreparedStep, prepare_step
from experiments.benchmarks.timing import time_calls

_WARM_UP = 3


_PROFILED = 2


@dataclasses.dataclass(frozen=True)
class StepSpeed:
  """What was measured of one combination.

  Attributes:
    devices: n.
    batch_size: Over all devices.
    precision: Of the computation.
    compile_s: Compiling.
    p25_ms: Of a step that is waited for.
    p50_ms: Same.
    p75_ms: Same.
    p95_ms: Same.
    images_per_s: Of steps that are not waited for.
    efficiency: images_per_s a device, of the same at the fewest devices.
    peak_mib: Highest memory of a device since the process began, as the
      backend says; NaN where it does not.
    program_mib: Arguments, temporaries and results of the compiled step on a
      device, as XLA counts them.
    flops: Operations of a step on all devices, as `count_operations` does.
    matrix_peak: Operations a second that the devices reach in matrix products
      at this precision, together.
    peak_share: flops a second, of matrix_peak.
    costliest: Operations and their shares of a device's busy time; empty if
      not asked for.
    moved: What the compiled step moves between devices.
    predicted: What efficiency is predicted to be from the same step on one
      device and the link, where nothing is hidden; NaN without such a step.
  """

  devices: int
  batch_size: int
  precision: str
  compile_s: float
  p25_ms: float
  p50_ms: float
  p75_ms: float
  p95_ms: float
  images_per_s: float
  efficiency: float
  peak_mib: float
  program_mib: float
  flops: float
  matrix_peak: float
  peak_share: float
  costliest: Sequence[tuple[str, float]] = ()
  moved: Sequence[Collective] = ()
  predicted: float = math.nan

  @property
  def moved_bytes(self) -> float:
    """What a device sends in a step."""
    return sum(one.moved_bytes(self.devices) for one in self.moved)


def measure_step(
  prepared: PreparedStep,
  *,
  steps: int,
  peak: float,
  precision: str,
  profile: bool = False,
) -> StepSpeed:
  """Compiles a step, runs it and measures it; uses up its state."""
  arguments = prepared.state, prepared.batch, prepared.key
  flops = len(prepared.devices) * count_operations(prepared.mapped, *arguments)
  lowered = prepared.mapped.lower(*arguments)
  options = cpu_compiler_options(backend=prepared.devices[0].platform)
  compiled: Any = None

  def compile_it() -> None:
    nonlocal compiled
    compiled = lowered.compile(compiler_options=options)

  compiling = time_calls(compile_it, rounds=1, warmup=0)
  state = prepared.state

  def some_steps(count: int) -> Any:
    nonlocal state
    for _ in range(count):
      state, metrics = compiled(state, prepared.batch, prepared.key)
    return state, metrics

  each = time_calls(lambda: some_steps(1), rounds=steps, warmup=_WARM_UP)
  through = time_calls(lambda: some_steps(steps), rounds=1, warmup=0)
  a_step = through.median_s / steps
  costliest = []
  if profile:
    costliest = costliest_operations(
      lambda: jax.block_until_ready(some_steps(_PROFILED))
    )
  return StepSpeed(
    devices=len(prepared.devices),
    batch_size=prepared.batch_size,
    precision=precision,
    compile_s=compiling.median_s,
    **each.milliseconds(),
    images_per_s=prepared.batch_size / a_step,
    efficiency=1.0,
    peak_mib=_peak_bytes(prepared.devices) / 2**20,
    program_mib=_program_bytes(compiled) / 2**20,
    flops=flops,
    matrix_peak=peak,
    peak_share=flops / a_step / peak,
    costliest=costliest,
    moved=collectives_of(compiled.as_text(), len(prepared.devices)),
  )


def _peak_bytes(devices: Sequence[jax.Device]) -> float:
  used = [
    (device.memory_stats() or {}).get("peak_bytes_in_use", math.nan)
    for device in devices
  ]
  return float(np.max(used))


def _program_bytes(compiled: Any) -> float:
  memory = compiled.memory_analysis()
  if memory is None:
    return math.nan
  return float(
    memory.argument_size_in_bytes
    + memory.temp_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )


def with_efficiency(
  rows: Sequence[StepSpeed], *, weak: bool, link: Link
) -> list[StepSpeed]:
  """Fills in efficiency, against the fewest devices of the same study.

  Args:
    rows: Measured.
    weak: Whether a batch grows with the devices.
    link: For what is predicted.

  Returns:
    The same rows.
  """

  def study(row: StepSpeed) -> tuple[float, str]:
    a_device = row.batch_size / row.devices if weak else row.batch_size
    return a_device, row.precision

  first: dict[tuple[float, str], StepSpeed] = {}
  for row in sorted(rows, key=lambda row: row.devices):
    first.setdefault(study(row), row)

  def rate(row: StepSpeed) -> float:
    return row.images_per_s / row.devices

  def predicted(row: StepSpeed) -> float:
    one = first[study(row)]
    if one.devices > 1:
      return math.nan
    alone_s = row.batch_size / row.devices / one.images_per_s
    operations = sum(one.operations for one in row.moved)
    moving_s = link.seconds(row.moved_bytes, operations, row.devices)
    return alone_s / (alone_s + moving_s)

  return [
    dataclasses.replace(
      row,
      efficiency=rate(row) / rate(first[study(row)]),
      predicted=predicted(row),
    )
    for row in rows
  ]


def table_of(rows: Sequence[StepSpeed]) -> Table:
  """A line each."""
  lines: list[Row] = [
    (
      *(row.devices, f"{row.batch_size}", row.precision),
      f"{row.images_per_s:.1f}",
      f"{row.images_per_s / row.devices:.1f}",
      f"{row.efficiency:.0%}",
      None if math.isnan(row.predicted) else f"{row.predicted:.0%}",
      f"{row.moved_bytes / 2**20:.1f}",
      *(f"{ms:.1f}" for ms in (row.p25_ms, row.p50_ms, row.p75_ms, row.p95_ms)),
      f"{row.compile_s:.1f}",
      None if math.isnan(row.peak_mib) else f"{row.peak_mib:.0f}",
      f"{row.program_mib:.0f}",
      f"{row.flops / 1e12:.3f}",
      f"{row.images_per_s / row.batch_size * row.flops / 1e12:.3f}",
      f"{row.matrix_peak / 1e12:.3f}",
      f"{row.peak_share:.0%}",
    )
    for row in rows
  ]
  costliest = [
    f"Costliest at batch {row.batch_size}, {row.precision}: "
    + ", ".join(f"{name} {share:.0%}" for name, share in row.costliest)
    for row in rows
    if row.costliest
  ]
  return Table(
    (
      *("devices", "batch", "precision", "images/s", "a device", "efficiency"),
      *("predicted", "moved, MiB"),
      *("p25, ms", "p50, ms", "p75, ms", "p95, ms", "compiling, s"),
      *("peak, MiB", "program, MiB", "TFLOP a step", "TFLOP/s"),
      *("matrix peak, TFLOP/s", "share"),
    ),
    lines,
    text_columns=(2,),
    caption="\n\n".join(costliest),
  )


def chart_of(rows: Sequence[StepSpeed], *, weak: bool) -> bytes:
  """Images/s over devices as PNG, a line a batch and precision."""
  series: dict[str, tuple[list[int], list[float]]] = {}
  for row in sorted(rows, key=lambda row: row.devices):
    batch = row.batch_size // row.devices if weak else row.batch_size
    name = f"{row.precision}, batch {batch}" + (" a device" if weak else "")
    x, y = series.setdefault(name, ([], []))
    x.append(row.devices)
    y.append(row.images_per_s)
  figure = line_chart(
    {name: Series(x=x, y=y) for name, (x, y) in series.items()},
    x_label="devices",
    y_label="images/s",
    legend_below=True,
  )
  axes = figure.axes[0]
  axes.set_ylim(bottom=0)
  axes.set_xticks(sorted({row.devices for row in rows}))
  return figure_png(figure)


def study(
  model: FaceModel,
  *,
  precisions: Sequence[str],
  device_counts: Sequence[int],
  batch_sizes: Sequence[int],
  weak: bool,
  link: Link,
  input: str,
  num_crops: int,
  steps: int,
  matrix: int,
  profile: bool,
) -> list[StepSpeed]:
  """Measures every combination; says each as it comes.

  Args:
    model: The network.
    precisions: Of its computation.
    device_counts: How many devices share a step.
    batch_sizes: Over all devices, or of one device if `weak`.
    weak: Whether a batch grows with the devices.
    link: What connects the devices, for what is predicted.
    input: In `INPUTS`.
    num_crops: Of the device-resident set.
    steps: How many are timed.
    matrix: See `matrix_peak`.
    profile: Whether to trace as well.

  Returns:
    A row each, efficiency filled in.

  Raises:
    UserError: A precision is unknown, there are fewer devices, or a batch does
      not divide.
  """
  there = jax.devices()
  check_precisions(precisions)
  if max(device_counts) > len(there):
    raise UserError(
      f"--devices: expected at most the {len(there)} that there are, got"
      f" {max(device_counts)}; --cpu_devices makes more of a CPU"
    )
  rows: list[StepSpeed] = []
  print("\n".join(markdown_table(table_of(rows)).splitlines()[:2]), flush=True)
  for precision, count in itertools.product(precisions, device_counts):
    devices = there[:count]
    peak = matrix_peak(devices, precision, size=matrix)
    for size in batch_sizes:
      prepared = prepare_step(
        model.clone(dtype=precision),
        devices,
        batch_size=size * count if weak else size,
        input=input,
        num_crops=num_crops,
      )
      row = measure_step(
        prepared, steps=steps, peak=peak, precision=precision, profile=profile
      )
      del prepared
      print(markdown_table(table_of([row])).splitlines()[2], flush=True)
      rows.append(row)
  return with_efficiency(rows, weak=weak, link=link)
