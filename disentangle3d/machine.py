"""What figures are measured on: the machine and versions, in words."""

from collections.abc import Iterable
import importlib.metadata
import os
import pathlib
import platform

import jax


def _cpu_name() -> str:
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
    return f"{_cpu_name()}, {os.cpu_count()} CPU cores"
  return f"{len(jax.devices())} x {jax.devices()[0].device_kind}"


def package_versions(packages: Iterable[str]) -> dict[str, str]:
  """Python's version and those of packages, by name as pip knows them."""
  versions = {"python": platform.python_version()}
  for package in packages:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = "not installed"
  return versions
