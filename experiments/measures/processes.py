"""`map` in other processes, for host code that holds the interpreter's lock."""

import collections
from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import contextlib
import multiprocessing
import os
from typing import Any

_AHEAD = 3
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def map_in_processes(
  function: Callable[[Any], Any],
  items: Iterable[Any],
  *,
  processes: int | None = None,
) -> Iterator[Any]:
  """`map`, in the items' order, some items ahead of who asks.

  Args:
    function: Of a module's top level, or a partial of one.
    items: To be pickled, as what comes back is.
    processes: How many; None takes one a core, 1 stays in this process.

  Yields:
    What `function` makes of each item.
  """
  count = processes or os.cpu_count() or 1
  if count == 1:
    yield from map(function, items)
    return
  context = multiprocessing.get_context("spawn")
  with (
    _one_thread_each(),
    concurrent.futures.ProcessPoolExecutor(count, mp_context=context) as pool,
  ):
    waiting: collections.deque[concurrent.futures.Future[Any]] = (
      collections.deque()
    )
    for item in items:
      waiting.append(pool.submit(function, item))
      if len(waiting) > _AHEAD * count:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
  """Processes started meanwhile do their linear algebra on one thread."""
  before = {name: os.environ.get(name) for name in _THREADS}
  os.environ.update(dict.fromkeys(_THREADS, "1"))
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value
