"""What a long run asks of its host: memory, signals, quiet libraries."""

from collections.abc import Callable, Iterator
import contextlib
import ctypes
import ctypes.util
import logging
import signal
from typing import Any

from absl import logging as absl_logging

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_logger = logging.getLogger("disentangle3d.host_memory")


def keep_freed_memory() -> bool:
  """Tells glibc to keep what is freed, where the C library is glibc.

  A step on the CPU allocates some 100 MB of temporaries. By default every
  step gets them anew from the kernel, which clears them page by page: a third
  of the processor time of the joint phases.

  Returns:
    Whether the C library took the settings.
  """
  library = ctypes.util.find_library("c")
  if library is None:
    return False
  mallopt = getattr(ctypes.CDLL(library), "mallopt", None)
  if mallopt is None:
    return False
  taken = all(
    mallopt(option, value) == 1
    for option, value in (
      (_M_ARENA_MAX, 1),
      (_M_MMAP_MAX, 0),
      (_M_TRIM_THRESHOLD, 2**31 - 1),
    )
  )
  _logger.debug("freed memory is kept: %s", taken)
  return taken


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
  """Yields whether SIGINT or SIGTERM came; a second one ends at once."""
  caught: list[int] = []
  signals = (signal.SIGINT, signal.SIGTERM)
  before = {number: signal.getsignal(number) for number in signals}

  def restore() -> None:
    for number, handler in before.items():
      signal.signal(number, handler)

  def catch(number: int, frame: Any) -> None:
    del frame
    caught.append(number)
    restore()

  for number in signals:
    signal.signal(number, catch)
  try:
    yield lambda: bool(caught)
  finally:
    restore()


def quieten_libraries() -> None:
  """Shows this project's log lines, and only warnings of the others."""
  # absl's own level is Orbax's, which tells of every write.
  absl_logging.set_verbosity(absl_logging.WARNING)
  logging.getLogger("disentangle3d").setLevel(logging.INFO)
