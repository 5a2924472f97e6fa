"""Memory of the host, for training on a CPU."""

import ctypes
import ctypes.util
import logging

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
