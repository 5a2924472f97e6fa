"""kill -9 at random moments, and whether the end is the same."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np

from experiments.resilience.commands import MOST_SECONDS, Command, content_of

# Where runs write, under their scratch folder.
DISK = "disk"


@dataclasses.dataclass
class KillCount:
  """What became of runs of a binary that were killed.

  Attributes:
    runs: From begin to end.
    kills: Moments at which they were killed.
    same: Runs that ended in the same content as one that was not.
    wrong: What was wrong with the others, a line each.
  """

  runs: int = 0
  kills: int = 0
  same: int = 0
  wrong: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Reference:
  """A run that nobody disturbs.

  Attributes:
    content: Digests of what it wrote.
    seconds: How long it took.
    bytes: What it wrote, with what is not compared.
  """

  content: dict[str, str]
  seconds: float
  bytes: int


def reference_run(command: Command, scratch: pathlib.Path) -> Reference:
  """Runs a binary twice to its end; all runs write to the same path.

  The second run finds what the first compiled, as all later ones do, so its
  time is theirs.

  Raises:
    RuntimeError: It fails, or differs from itself.
  """
  output = scratch / DISK / "out"
  contents = []
  for _ in range(2):
    begin = time.monotonic()
    status, told = finish(command.start(output, disturbed=False))
    if status:
      raise RuntimeError(
        f"{command.name}: exit status {status}: {last_line(told)}"
      )
    seconds = time.monotonic() - begin
    written = sum(
      path.stat().st_size for path in output.rglob("*") if path.is_file()
    )
    contents.append(content_of(output, command.compared))
    shutil.rmtree(output)
  if contents[0] != contents[1]:
    raise RuntimeError(f"{command.name}: two undisturbed runs differ")
  return Reference(contents[1], seconds, written)


def kill_run(
  command: Command,
  reference: Reference,
  scratch: pathlib.Path,
  count: KillCount,
  rng: np.random.Generator,
  *,
  most_kills: int,
) -> None:
  """One run, killed again and again and begun again with the same command.

  Args:
    command: The binary's.
    reference: What it ends in.
    scratch: As for `reference_run`.
    count: Is added to.
    rng: Draws the moments.
    most_kills: After so many kills it is let alone.
  """
  kills, output = 0, scratch / DISK / "out"
  while True:
    process = command.start(output)
    moment = rng.uniform(0, reference.seconds)
    if kills >= most_kills:
      moment = MOST_SECONDS
    try:
      _, told = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
      _kill(process)
      kills += 1
      if moment == MOST_SECONDS:
        count.wrong.append(f"did not end within {MOST_SECONDS} s")
        break
      continue
    if process.returncode:
      count.wrong.append(f"exit status {process.returncode}: {last_line(told)}")
    elif content_of(output, command.compared) != reference.content:
      count.wrong.append(f"other content after {kills} kills")
    else:
      count.same += 1
    break
  count.runs += 1
  count.kills += kills
  shutil.rmtree(output, ignore_errors=True)


def finish(
  process: "subprocess.Popen[str]", seconds: float = MOST_SECONDS
) -> tuple[int, str]:
  """A process's exit status and what it told."""
  try:
    _, told = process.communicate(timeout=seconds)
  except subprocess.TimeoutExpired:
    _kill(process)
    return -signal.SIGKILL, f"did not end within {seconds:.0f} s"
  return process.returncode, told


def last_line(told: str) -> str:
  """The end of what a process told."""
  lines = told.strip().splitlines()
  return lines[-1][:200] if lines else ""


def _kill(process: "subprocess.Popen[str]") -> None:
  """Kill -9 of the process alone; what it started ends by itself."""
  os.kill(process.pid, signal.SIGKILL)
  try:
    process.communicate(timeout=60)
  except subprocess.TimeoutExpired:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
