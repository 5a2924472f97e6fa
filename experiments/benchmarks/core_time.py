"""Core seconds of a command and of all that it starts, whoever ends it.

The system tells a parent what its children took once it has waited for them,
which nobody does for the workers of a cluster. So processes are looked at, some
times a second, by a mark in their environment, which they inherit.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import threading
import uuid

_MARK = "DISENTANGLE3D_TIMED"
_EVERY_S = 0.2


class CoreTime:
  """What marked processes have taken; Linux only."""

  def __init__(self) -> None:
    self.environment = {_MARK: uuid.uuid4().hex}
    self._mark = f"{_MARK}={self.environment[_MARK]}".encode()
    self._seconds: dict[int, float] = {}
    self._lock = threading.Lock()

  def seconds(self) -> float:
    """Of all so far, those that have ended too."""
    tick = os.sysconf("SC_CLK_TCK")
    with self._lock:
      for place in pathlib.Path("/proc").glob("[0-9]*"):
        # It may end between one line and the next.
        with contextlib.suppress(OSError):
          if self._is_marked(place):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            self._seconds[int(place.name)] = sum(map(int, fields[11:13])) / tick
      return sum(self._seconds.values())

  def _is_marked(self, place: pathlib.Path) -> bool:
    return self._mark in (place / "environ").read_bytes().split(b"\0")


@contextlib.contextmanager
def core_time() -> Iterator[CoreTime]:
  """Looks until the block ends; `environment` is for what is started in it."""
  cores, ended = CoreTime(), threading.Event()

  def look() -> None:
    while not ended.wait(_EVERY_S):
      cores.seconds()

  looker = threading.Thread(target=look, daemon=True)
  looker.start()
  try:
    yield cores
  finally:
    ended.set()
    looker.join()
