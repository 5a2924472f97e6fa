"""What a long run asks of its host: signals, quiet libraries."""

from collections.abc import Callable, Iterator
import contextlib
import logging
import signal
from typing import Any

from absl import logging as absl_logging


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
