"""A full disk, a folder that cannot be written to, a clock that jumps.

A small tmpfs in a user namespace is the disk: that needs no root, and where
the kernel forbids such namespaces these trials are left out.
"""

import dataclasses
import pathlib
import shutil
import subprocess

import numpy as np

from experiments.resilience.commands import Command, content_of
from experiments.resilience.interruptions import (
  DISK,
  Reference,
  finish,
  last_line,
)

# The command once on a disk of so many bytes, and where that was not enough
# again on a large one; what it told and how it ended the first time is kept.
_FULL = """
disk=$1; size=$2; kept=$3; shift 3
mount -t tmpfs -o size=$size tmpfs $disk || exit 125
"$@" 2>$kept/first; status=$?; echo $status >$kept/status
mount -o remount,size=4g $disk || exit 125
if [ $status != 0 ]; then "$@"; status=$?; fi
cp -a $disk/. $kept/content
exit $status
"""
_READ_ONLY = """
disk=$1; shift
mount -t tmpfs -o size=1m tmpfs $disk || exit 125
mount -o remount,ro $disk || exit 125
exec "$@"
"""
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
# What a process, and each that it starts, imports first.
_JUMPING = """
import random, time
_time, _draw = time.time, random.Random(%d)
def _jumping():
  return _time() + _draw.choice((-86400.0, 0.0, 0.0, 3600.0, 86400.0 * 400))
time.time = _jumping
"""


@dataclasses.dataclass
class TrialCount:
  """What became of some trials.

  Attributes:
    trials: How many there were.
    right: Of them, those that ended as they should.
    wrong: What was wrong with the others, a line each.
    skipped: Why there were none.
  """

  trials: int = 0
  right: int = 0
  wrong: list[str] = dataclasses.field(default_factory=list)
  skipped: str = ""

  def add(self, wrong: str) -> None:
    """Counts a trial; empty: all was right."""
    self.trials += 1
    self.right += not wrong
    if wrong:
      self.wrong.append(wrong)


def why_no_disk() -> str:
  """Why a small disk cannot be made here; empty if it can."""
  if shutil.which("unshare") is None:
    return "unshare is not installed"
  made = subprocess.run(
    [*_NAMESPACE, "mount -t tmpfs tmpfs /mnt"],
    capture_output=True,
    text=True,
    check=False,
  )
  return made.stderr.strip().splitlines()[-1] if made.returncode else ""


def full_disk(
  command: Command,
  reference: Reference,
  scratch: pathlib.Path,
  rng: np.random.Generator,
) -> str:
  """A disk that is full at a random point, then has room again.

  Returns:
    What was wrong: it ended well at first or with more than a line, named no
    path, or the second run's content differs; empty if nothing.
  """
  disk, kept = scratch / DISK, scratch / "kept"
  for folder in (disk, kept):
    folder.mkdir(exist_ok=True)
  size = int(rng.integers(4096, 2 * reference.bytes + 8192))
  words = ["sh", str(disk), str(size), str(kept)]
  process = command.start(disk / "out", prefix=[*_NAMESPACE, _FULL, *words])
  status, told = finish(process)
  try:
    first = (kept / "status").read_text().strip()
    last = (kept / "first").read_text(errors="replace").strip().splitlines()
    if first not in ("0", "1"):
      return f"{size} bytes: exit status {first}: {last[-1:]}"
    if first == "1" and "Traceback" in "\n".join(last):
      return f"{size} bytes: a traceback: {last[-1][:200]}"
    if first == "1" and str(disk) not in last[-1]:
      return f"{size} bytes: no path in {last[-1][:200]!r}"
    if status:
      return f"{size} bytes, then room: exit status {status}: {last_line(told)}"
    content = content_of(kept / "content" / "out", command.compared)
    if content != reference.content:
      return f"{size} bytes, then room: other content"
    return ""
  finally:
    for folder in (disk, kept):
      shutil.rmtree(folder, ignore_errors=True)


def read_only(command: Command, scratch: pathlib.Path) -> str:
  """A folder that nobody can write to; as `full_disk`."""
  disk = scratch / DISK
  disk.mkdir(exist_ok=True)
  process = command.start(
    disk / "out", prefix=[*_NAMESPACE, _READ_ONLY, "sh", str(disk)]
  )
  status, told = finish(process)
  if "Traceback" in told:
    return f"a traceback: {last_line(told)}"
  if status != 1 or str(disk) not in last_line(told):
    return f"exit status {status}: {last_line(told)}"
  return ""


def jumping_clock(
  command: Command, reference: Reference, scratch: pathlib.Path, seed: int
) -> str:
  """A clock that jumps by hours, days and a year; as `full_disk`."""
  folder, output = scratch / "clock", scratch / DISK / "out"
  folder.mkdir(exist_ok=True)
  (folder / "sitecustomize.py").write_text(_JUMPING % seed)
  status, told = finish(command.start(output, paths=[folder]))
  content = content_of(output, command.compared)
  shutil.rmtree(output, ignore_errors=True)
  if status:
    return f"exit status {status}: {last_line(told)}"
  return "" if content == reference.content else "other content"
