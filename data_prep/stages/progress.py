"""How far a stage is, for whoever waits."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import time
from typing import TypeVar

from absl import logging
import tqdm

_T = TypeVar("_T")
# Seconds between log lines.
_EVERY_S = 60.0


@contextlib.contextmanager
def progress(
  what: str, *, total: int | None = None, done: int = 0, unit: str = "photo"
) -> Iterator[Callable[[int], None]]:
  """A bar on a terminal, and a log line a minute anywhere else.

  Args:
    what: Stands before it.
    total: How many there are; None where nobody knows.
    done: How many of them are done already.
    unit: What is counted.

  Yields:
    What to call with each number that is done.
  """
  begun = told = time.monotonic()
  before = done

  def update(number: int) -> None:
    nonlocal done, told
    done += number
    bar.update(number)
    if bar.disable and time.monotonic() - told >= _EVERY_S:
      told = time.monotonic()
      of = "" if total is None else f" of {total}"
      rate = (done - before) / (told - begun)
      logging.info("%s: %d%s %ss, %.1f/s", what, done, of, unit, rate)

  with tqdm.tqdm(
    total=total, initial=done, desc=what, unit=unit, disable=None
  ) as bar:
    yield update


def counted(
  items: Iterable[_T], what: str, *, total: int | None = None
) -> Iterator[_T]:
  """The same items, counted as `progress` does."""
  with progress(what, total=total) as update:
    for item in items:
      yield item
      update(1)
