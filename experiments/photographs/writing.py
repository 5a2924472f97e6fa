"""Files written by a small pool while the next photos are looked at."""

from collections.abc import Callable, Iterator
import concurrent.futures
import contextlib
from typing import Any

_THREADS = 2


class Writer:
  """What is being written; `open_writer` makes it."""

  def __init__(self, pool: concurrent.futures.Executor) -> None:
    """Nothing yet, in a pool."""
    self._pool = pool
    self._begun: list[tuple[concurrent.futures.Future[Any], Any]] = []

  def write(
    self, make: Callable[[], Any], then: Callable[[Any], object]
  ) -> None:
    """Begins to write.

    Args:
      make: Writes, in another thread.
      then: Takes what it gave, in `finish`, in the order of the calls.
    """
    self._begun.append((self._pool.submit(make), then))

  def finish(self) -> None:
    """Waits for all that was begun."""
    for future, then in self._begun:
      then(future.result())
    self._begun.clear()


@contextlib.contextmanager
def open_writer() -> Iterator[Writer]:
  """A writer, all of whose work is done at the block's end, if that is good."""
  pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
  try:
    writer = Writer(pool)
    yield writer
    writer.finish()
  finally:
    pool.shutdown(cancel_futures=True)
