"""The machine: its name and versions, in words, and its memory."""

from collections.abc import Iterable
import ctypes
import ctypes.util
import functools
import importlib.metadata
import logging
import os
import pathlib
import platform

import jax

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_logger = logging.getLogger("disentangle3d.host_memory")


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


def keep_freed_memory() -> bool:
  """Tells glibc to keep what is freed, where the C library is glibc.

  A step on the CPU allocates some 100 MB of temporaries. By default every
  step gets them anew from the kernel, which clears them page by page: a third
  of the processor time of the joint phases.

  Returns:
    Whether the C library took the settings.
  """
  settings = (
    (_M_ARENA_MAX, 1),
    (_M_MMAP_MAX, 0),
    (_M_TRIM_THRESHOLD, 2**31 - 1),
  )
  taken = all(_call_c("mallopt", *setting) == 1 for setting in settings)
  _logger.debug("freed memory is kept: %s", taken)
  return taken


def return_freed_memory() -> bool:
  """Has glibc give what is freed back to the system, where it is glibc.

  Compiling a program takes some 100 MB, most of which glibc would keep.

  Returns:
    Whether anything was given back.
  """
  return _call_c("malloc_trim", 0) == 1


def _call_c(name: str, *arguments: int) -> int | None:
  """What a function of the C library returns; None where it has no such."""
  function = getattr(_c_library(), name, None)
  return function(*arguments) if function else None


@functools.cache
def _c_library() -> ctypes.CDLL | None:
  # To find it takes processes of their own.
  library = ctypes.util.find_library("c")
  return ctypes.CDLL(library) if library else None
