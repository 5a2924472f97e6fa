"""Damaged files for every reader, counted by what the reader did.

The readers and a good file for each are the tests' own table, so this runs
from a checkout. Each batch runs in a process of its own: one that crashes takes
only its batch along, and the file that it read last is told.
"""

from collections.abc import Callable, Sequence
import dataclasses
import importlib
import json
import multiprocessing
import os
import pathlib
import resource
import signal
import tempfile
import time
from typing import Any

import numpy as np

from disentangle3d.types import UserError

_TABLE = "tests.data_prep.files.fuzz_test"
_LIES = "tests.data_prep.files.fuzzing"
MOST_SECONDS = 5
MOST_BYTES = 1 << 30
OUTCOMES = (
  *("read", "refused", "wrong error", "too slow", "too much memory"),
  "crash",
)
_BATCH_SECONDS = 60.0


@dataclasses.dataclass
class ReaderCount:
  """What became of a reader's inputs.

  Attributes:
    inputs: How many there were.
    outcomes: How many of each kind, by its name.
    first: Of the wrong ones, what the first was.
  """

  inputs: int = 0
  outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
  first: str = ""

  def add(self, outcome: str, what: str = "", *, count: int = 1) -> None:
    """Counts some inputs."""
    self.inputs += count
    self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
    if what and not self.first:
      self.first = what


def reader_names() -> list[str]:
  """The files that readers are tried on.

  Raises:
    UserError: This is no checkout.
  """
  return [name for name, _, _ in _readers()]


def fuzz_readers(seconds: float, *, seed: int = 0) -> dict[str, ReaderCount]:
  """Tries all readers for some time.

  Args:
    seconds: About how long.
    seed: Decides the damage.

  Returns:
    Counts by file name.
  """
  counts = {name: ReaderCount() for name in reader_names()}
  end, batch = time.monotonic() + seconds, 0
  while batch == 0 or time.monotonic() < end:
    length = min(_BATCH_SECONDS, max(end - time.monotonic(), 1.0))
    _run_batch(counts, (seed, batch), length)
    batch += 1
  return counts


def damage(good: bytes, rng: np.random.Generator) -> bytes:
  """A good file changed, cut, followed by others; or any bytes."""
  lies = importlib.import_module(_LIES).LIES
  kind = rng.integers(0, 10)
  if kind == 0:
    return rng.bytes(int(rng.integers(0, 300)))
  place = _place(good, rng)
  if kind == 1:
    return good[:place]
  if kind == 2:
    return good[:place] + rng.bytes(int(rng.integers(0, 200)))
  content = good
  for _ in range(int(rng.integers(1, 5))):
    at = _place(content, rng)
    new = lies[rng.integers(len(lies))]
    if rng.random() < 0.5:
      new = rng.bytes(int(rng.integers(0, 7)))
    cut = len(new) if rng.random() < 0.5 else int(rng.integers(0, 10))
    content = content[:at] + new + content[at + cut :]
  return content


def _place(content: bytes, rng: np.random.Generator) -> int:
  """Anywhere, and as often in the header, where the sizes are."""
  most = len(content) if rng.random() < 0.5 else min(len(content), 256)
  return int(rng.integers(0, most + 1))


def _readers() -> Sequence[tuple[str, bytes, Callable[[pathlib.Path], Any]]]:
  try:
    return importlib.import_module(_TABLE).READERS
  except ModuleNotFoundError as error:
    raise UserError(
      f"{_TABLE} is not there: run from a checkout, with the extra `test`"
    ) from error


def _run_batch(
  counts: dict[str, ReaderCount], seed: tuple[int, int], seconds: float
) -> None:
  """One process; what it has counted is there even if it crashes."""
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    process = multiprocessing.get_context("spawn").Process(
      target=_fuzz, args=(folder, seed, seconds)
    )
    process.start()
    # Imports come first, and a reader that hangs beyond the reach of a signal
    # must not hold up all.
    process.join(seconds + 120)
    hung = process.is_alive()
    if hung:
      process.kill()
      process.join()
    log = folder / "log.jsonl"
    lines = log.read_text("utf-8").splitlines() if log.is_file() else []
    begun = ""
    for line in lines:
      entry = json.loads(line)
      begun = entry["name"] if entry["outcome"] is None else ""
      if entry["outcome"] is not None:
        counts[entry["name"]].add(entry["outcome"], entry["what"])
    if begun:
      what = "hung" if hung else f"exit status {process.exitcode}"
      counts[begun].add("crash", f"{what}, seed {seed}")


def _fuzz(folder: pathlib.Path, seed: tuple[int, int], seconds: float) -> None:
  """Reads damaged files, reader by reader in turn."""
  readers = _readers()
  # What libraries say of damage would drown all else.
  os.dup2(os.open(folder / "told", os.O_WRONLY | os.O_CREAT), 2)
  rng = np.random.default_rng(seed)
  size = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  limit = size * resource.getpagesize() + MOST_BYTES
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  signal.signal(signal.SIGPROF, _too_slow)
  end = time.monotonic() + seconds
  with (folder / "log.jsonl").open("a", encoding="utf-8") as log:

    def tell(name: str, outcome: str | None, what: str) -> None:
      entry = {"name": name, "outcome": outcome, "what": what}
      log.write(json.dumps(entry) + "\n")
      log.flush()

    while time.monotonic() < end:
      for name, good, read in readers:
        place = folder / "files" / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(damage(good, rng))
        tell(name, None, "")
        tell(name, *_outcome(read, place))


def _outcome(
  read: Callable[[pathlib.Path], Any], path: pathlib.Path
) -> tuple[str, str]:
  """What a reader did, and what was wrong with it."""
  # Of the processor's time: the machine may have other work.
  signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
  try:
    read(path)
    return "read", ""
  except _TooSlowError:
    return "too slow", f"more than {MOST_SECONDS} s"
  except MemoryError:
    return "too much memory", f"more than {MOST_BYTES >> 20} MB"
  except ValueError as error:
    named = path.with_suffix("").name in str(error)
    if named and len(str(error).splitlines()) == 1:
      return "refused", ""
    return "wrong error", f"{type(error).__name__}: {error}"[:200]
  # Whatever else a reader raises is what is looked for.
  except Exception as error:
    return "wrong error", f"{type(error).__name__}: {error}"[:200]
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)


class _TooSlowError(BaseException):
  """Five seconds are over."""


def _too_slow(*_: Any) -> None:
  raise _TooSlowError
