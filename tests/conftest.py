"""Eight fake CPU devices, strict shapes, and processes that stay small."""

from collections.abc import Iterator
import gc
import os
import pathlib
import tempfile

from absl import flags
from absl.testing import absltest  # noqa: F401  (defines the flags parsed here)
import jax
import pytest

from disentangle3d.machine import return_freed_memory

flags.FLAGS(["pytest"])
# Binaries that tests start keep their programs for the next ones and the next
# run, but not among the user's.
os.environ.setdefault(
  "DISENTANGLE3D_COMPILATION_CACHE",
  f"{tempfile.gettempdir()}/disentangle3d-tests-{os.getuid()}",
)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

_MEMORY = pathlib.Path("/proc/self/statm")
_MOST_BYTES = 3 << 30


@pytest.fixture(autouse=True, scope="module")
def small_process() -> Iterator[None]:
  """Forgets the programs of modules before, which JAX keeps to the end."""
  yield
  if _resident_bytes() > _MOST_BYTES:
    jax.clear_caches()
    gc.collect()
    return_freed_memory()


def _resident_bytes() -> int:
  """What this process holds; 0 where the system does not tell it so."""
  if not _MEMORY.exists():
    return 0
  return int(_MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
