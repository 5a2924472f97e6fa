"""All trials, shared out over the time there is, and their table."""

from collections.abc import Sequence
import dataclasses
import pathlib
import time
from typing import Any

from absl import logging
import numpy as np

from disentangle3d.reporting.html_page import Block, Paragraph, Table
from experiments.resilience.commands import Command
from experiments.resilience.fuzzed import OUTCOMES, ReaderCount, fuzz_readers
from experiments.resilience.hostile import (
  TrialCount,
  full_disk,
  jumping_clock,
  read_only,
  why_no_disk,
)
from experiments.resilience.interruptions import (
  KillCount,
  Reference,
  kill_run,
  reference_run,
)

PARTS = ("fuzz", "kill", "disk", "clock")
_MOST_KILLS = 20


@dataclasses.dataclass
class Endurance:
  """What became of everything.

  Attributes:
    readers: By the name of the file they were tried on.
    kills: By the binary's name.
    disks: Full at a random point, by the binary's name.
    read_only: The same for folders that cannot be written to.
    clocks: The same for clocks that jump.
  """

  readers: dict[str, ReaderCount]
  kills: dict[str, KillCount]
  disks: dict[str, TrialCount]
  read_only: dict[str, TrialCount]
  clocks: dict[str, TrialCount]

  @property
  def wrong(self) -> list[str]:
    """What was wrong, a line each."""
    lines = [
      f"{name}: {count.first}"
      for name, count in self.readers.items()
      if count.first
    ]
    for what in (self.kills, self.disks, self.read_only, self.clocks):
      for name, count in what.items():
        lines += [f"{name}: {line}" for line in count.wrong]
    return lines


def endure(
  commands: Sequence[Command],
  scratch: pathlib.Path,
  *,
  minutes: float,
  parts: Sequence[str] = PARTS,
  seed: int = 0,
) -> Endurance:
  """Runs trials until the time is over; each part has about an equal share.

  Args:
    commands: The binaries that are interrupted.
    scratch: A folder to work in.
    minutes: How long; what takes longer than its share is done once.
    parts: Some of `PARTS`.
    seed: Decides damage, moments and sizes.
  """
  share = 60 * minutes / len(parts)
  rng = np.random.default_rng(seed)
  result = Endurance({}, {}, {}, {}, {})
  if "fuzz" in parts:
    logging.info("Damaged files.")
    result.readers = fuzz_readers(share, seed=seed)
  references: dict[str, Reference] = {}
  if set(parts) - {"fuzz"}:
    for command in commands:
      logging.info("%s, undisturbed.", command.name)
      references[command.name] = reference_run(command, scratch)
  told = len(result.wrong)
  no_disk = why_no_disk() if "disk" in parts else ""
  for part in parts:
    end, turn = time.monotonic() + share, 0
    while part != "fuzz" and (turn < len(commands) or time.monotonic() < end):
      command = commands[turn % len(commands)]
      logging.info("%s, %s.", command.name, part)
      _try(
        *(part, command, references[command.name], scratch, rng, result),
        no_disk,
      )
      turn += 1
      for line in result.wrong[told:]:
        logging.warning("%s", line)
      told = len(result.wrong)
  return result


def _try(
  part: str,
  command: Command,
  reference: Reference,
  scratch: pathlib.Path,
  rng: np.random.Generator,
  result: Endurance,
  no_disk: str,
) -> None:
  """One trial of one part."""
  name = command.name
  if part == "kill":
    count = result.kills.setdefault(name, KillCount())
    kill_run(command, reference, scratch, count, rng, most_kills=_MOST_KILLS)
    # Whoever stops a long run has the counts so far.
    told = (name, count.runs, count.kills, count.same)
    logging.info("%s: %d runs, %d kills, %d the same.", *told)
  elif part == "clock":
    clock = result.clocks.setdefault(name, TrialCount())
    seed = int(rng.integers(1 << 30))
    clock.add(jumping_clock(command, reference, scratch, seed))
  elif no_disk:
    for trials in (result.disks, result.read_only):
      trials.setdefault(name, TrialCount(skipped=no_disk))
  else:
    disk = result.disks.setdefault(name, TrialCount())
    disk.add(full_disk(command, reference, scratch, rng))
    if name not in result.read_only:
      result.read_only[name] = TrialCount()
      result.read_only[name].add(read_only(command, scratch))


def blocks_of(result: Endurance) -> list[Block]:
  """Tables, and what was wrong in words."""
  blocks: list[Block] = []
  if result.readers:
    rows: list[list[Any]] = [
      [name, count.inputs, *(count.outcomes.get(kind, 0) for kind in OUTCOMES)]
      for name, count in result.readers.items()
    ]
    totals = [sum(row[i] for row in rows) for i in range(1, len(OUTCOMES) + 2)]
    rows.append(["all", *totals])
    blocks.append(Table(["damaged file", "inputs", *OUTCOMES], rows))
  if result.kills:
    rows = [
      [name, count.runs, count.kills, count.same]
      for name, count in result.kills.items()
    ]
    blocks.append(Table(["kill -9", "runs", "kills", "same content"], rows))
  for title, trials in (
    ("full disk", result.disks),
    ("read-only folder", result.read_only),
    ("clock that jumps", result.clocks),
  ):
    if trials:
      rows = [
        [name, count.trials, count.right, count.skipped]
        for name, count in trials.items()
      ]
      blocks.append(Table([title, "trials", "right", "left out"], rows))
  lines = result.wrong
  return [*blocks, *map(Paragraph, lines or ["Nothing was wrong."])]
