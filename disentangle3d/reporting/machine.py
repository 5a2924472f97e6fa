"""What figures are measured on: names for a page."""

import os
import pathlib
import platform

import jax


def cpu_name() -> str:
  """The processor's model, as Linux tells it; else its architecture."""
  try:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
      if line.startswith("model name"):
        return line.partition(":")[2].strip()
  except OSError:
    pass
  return platform.machine() or "unknown"


def machine_name() -> str:
  """The devices that JAX computes on, in words."""
  if jax.default_backend() == "cpu":
    return f"{cpu_name()}, {os.cpu_count()} CPU cores"
  return f"{len(jax.devices())} x {jax.devices()[0].device_kind}"
