"""Which operations a device spends its time on, from a trace."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
import pathlib
import re
import tempfile
from typing import Any

import jax

# A CPU is no device in a trace: its operations run on XLA's threads.
_DEVICE, _CPU, _CPU_THREAD = "/device:", "/host:CPU", "tf_XLA"
_GRAPH = "command_buffer"
# Lines of a device that repeat what others have.
_SUMMARIES = ("Steps", "XLA Modules", "Framework", "Source")


def costliest_operations(
  run: Callable[[], None], *, count: int = 3
) -> list[tuple[str, float]]:
  """Traces a function and adds up its operations by kind.

  Args:
    run: Does the work, compiled before, and waits for it.
    count: How many kinds to name.

  Returns:
    Names without their numbers, and shares of the time that the devices were
    busy, largest first.
  """
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      run()
    totals: dict[str, float] = defaultdict(float)
    for path in pathlib.Path(folder).rglob("*.xplane.pb"):
      for name, duration_ns in _operations(path):
        totals[name] += duration_ns
  busy = sum(totals.values())
  ranked = sorted(totals.items(), key=lambda item: item[1], reverse=True)
  return [(name, spent / busy) for name, spent in ranked[:count]]


def _operations(path: pathlib.Path) -> Iterator[tuple[str, float]]:
  for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
    on_device = plane.name.startswith(_DEVICE)
    if not on_device and plane.name != _CPU:
      continue
    for line in plane.lines:
      if on_device and line.name.startswith(_SUMMARIES):
        continue
      if not on_device and not line.name.startswith(_CPU_THREAD):
        continue
      for event in line.events:
        # XLA's threads also tell of waiting, and of ends: "end: dot.3".
        if on_device or not re.search("[: ]", event.name):
          name = operation_name(event.name, dict(event.stats))
          yield name, event.duration_ns


def operation_name(event: str, stats: Mapping[str, Any]) -> str:
  """An event's operation in the program, else its kernel, without a number.

  Args:
    event: Its name: on a GPU the kernel's, with its arguments.
    stats: What else the trace says of it.
  """
  operation = stats.get("hlo_op", "")
  # A graph is many operations, launched as one.
  if not operation or operation.startswith(_GRAPH):
    operation = event.split("(")[0]
  return re.sub(r"[._]\d+$", "", operation)
