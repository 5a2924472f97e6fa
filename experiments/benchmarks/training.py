"""The train step over devices, batches and precisions."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import json
import math
import pathlib
import time
from typing import Any

import jax
import numpy as np

from disentangle3d.machine import machine_name
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.operations import count_operations
from disentangle3d.output_files import replace_file
from disentangle3d.reporting.charts import Series, figure_png, line_chart
from disentangle3d.types import UserError
from experiments.benchmarks.machine import PRECISIONS, matrix_peak
from experiments.benchmarks.profile import costliest_operations
from experiments.benchmarks.steps import PreparedStep, prepare_step

_WARM_UP = 3


_PROFILED = 2


@dataclasses.dataclass(frozen=True)
class StepSpeed:
  """What was measured of one combination.

  Attributes:
    devices: n.
    batch_size: Over all devices.
    precision: Of the computation.
    compile_s: Tracing and compiling.
    p50_ms: Of a step that is waited for.
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
  """

  devices: int
  batch_size: int
  precision: str
  compile_s: float
  p50_ms: float
  p95_ms: float
  images_per_s: float
  efficiency: float
  peak_mib: float
  program_mib: float
  flops: float
  matrix_peak: float
  peak_share: float
  costliest: Sequence[tuple[str, float]] = ()


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
  start = time.perf_counter()
  compiled = prepared.mapped.lower(*arguments).compile(
    compiler_options=cpu_compiler_options(backend=prepared.devices[0].platform)
  )
  compile_s = time.perf_counter() - start
  state = prepared.state
  for _ in range(_WARM_UP):
    state, metrics = compiled(state, prepared.batch, prepared.key)
  jax.block_until_ready((state, metrics))
  seconds = []
  for _ in range(steps):
    start = time.perf_counter()
    state, metrics = compiled(state, prepared.batch, prepared.key)
    jax.block_until_ready((state, metrics))
    seconds.append(time.perf_counter() - start)
  start = time.perf_counter()
  for _ in range(steps):
    state, metrics = compiled(state, prepared.batch, prepared.key)
  jax.block_until_ready((state, metrics))
  a_step = (time.perf_counter() - start) / steps
  costliest = []
  if profile:

    def some_steps() -> None:
      nonlocal state
      for _ in range(_PROFILED):
        state, metrics = compiled(state, prepared.batch, prepared.key)
        jax.block_until_ready((state, metrics))

    costliest = costliest_operations(some_steps)
  return StepSpeed(
    devices=len(prepared.devices),
    batch_size=prepared.batch_size,
    precision=precision,
    compile_s=compile_s,
    p50_ms=1e3 * float(np.percentile(seconds, 50)),
    p95_ms=1e3 * float(np.percentile(seconds, 95)),
    images_per_s=prepared.batch_size / a_step,
    efficiency=1.0,
    peak_mib=_peak_bytes(prepared.devices) / 2**20,
    program_mib=_program_bytes(compiled) / 2**20,
    flops=flops,
    matrix_peak=peak,
    peak_share=flops / a_step / peak,
    costliest=costliest,
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
  rows: Sequence[StepSpeed], *, weak: bool
) -> list[StepSpeed]:
  """Fills in efficiency, against the fewest devices of the same study.

  Args:
    rows: Measured.
    weak: Whether a batch grows with the devices.

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

  return [
    dataclasses.replace(row, efficiency=rate(row) / rate(first[study(row)]))
    for row in rows
  ]


def table_of(rows: Sequence[StepSpeed]) -> str:
  """The rows as a Markdown table."""
  lines = [
    "| devices | batch | precision | images/s | a device | efficiency | p50, ms"
    " | p95, ms | compiling, s | peak, MiB | program, MiB | TFLOP a step |"
    " TFLOP/s | matrix peak, TFLOP/s | share |",
    "|" + "---|" * 15,
  ]
  for row in rows:
    rate = row.images_per_s / row.batch_size * row.flops / 1e12
    peak = "–" if math.isnan(row.peak_mib) else f"{row.peak_mib:.0f}"
    lines.append(
      f"| {row.devices} | {row.batch_size} | {row.precision} |"
      f" {row.images_per_s:.1f} | {row.images_per_s / row.devices:.1f} |"
      f" {row.efficiency:.0%} | {row.p50_ms:.1f} | {row.p95_ms:.1f} |"
      f" {row.compile_s:.1f} | {peak} | {row.program_mib:.0f} |"
      f" {row.flops / 1e12:.3f} | {rate:.3f} | {row.matrix_peak / 1e12:.3f} |"
      f" {row.peak_share:.0%} |"
    )
  for row in rows:
    if row.costliest:
      lines.append(
        f"\nCostliest at batch {row.batch_size}, {row.precision}: "
        + ", ".join(f"{name} {share:.0%}" for name, share in row.costliest)
      )
  return "\n".join(lines)


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


def _study(values: Any) -> list[StepSpeed]:
  there = jax.devices()
  rows = []
  peaks: dict[tuple[int, str], float] = {}
  for precision, count, size in itertools.product(
    values.precision,
    _numbers("devices", values.devices),
    _numbers("batch_sizes", values.batch_sizes),
  ):
    if precision not in PRECISIONS:
      raise UserError(
        f"--precision: expected {' or '.join(PRECISIONS)}, got {precision}"
      )
    if count > len(there):
      raise UserError(
        f"--devices: expected at most the {len(there)} that there are, got"
        f" {count}; --cpu_devices makes more of a CPU"
      )
    devices = there[:count]
    if (count, precision) not in peaks:
      peaks[count, precision] = matrix_peak(
        devices, precision, size=values.matrix
      )
    prepared = prepare_step(
      FaceModel(trunk=values.trunk, dtype=precision),
      devices,
      batch_size=size * count if values.weak else size,
      input=values.input,
      num_crops=values.crops,
    )
    rows.append(
      measure_step(
        prepared,
        steps=values.steps,
        peak=peaks[count, precision],
        precision=precision,
        profile=values.profile,
      )
    )
    del prepared
    print(table_of(rows[-1:]).splitlines()[2], flush=True)
  return with_efficiency(rows, weak=values.weak)


def _write(
  folder: pathlib.Path, name: str, about: Mapping[str, Any], text: str
) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  about = {"machine": machine_name(), "jax": jax.__version__, **about}
  document = (json.dumps(about, indent=1) + "\n").encode()
  replace_file(folder / f"{name}.json", document)
  replace_file(folder / f"{name}.md", text + "\n")


def _numbers(name: str, values: Sequence[str]) -> list[int]:
  if not values or not all(text.isdecimal() and int(text) for text in values):
    raise UserError(
      f"--{name}: expected numbers from 1, got {','.join(values) or 'none'}"
    )
  return [int(text) for text in values]
