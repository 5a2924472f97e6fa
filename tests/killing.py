"""A binary that is killed at a certain moment, always the same one."""

import subprocess
import sys

from tests.fixtures import REPOSITORY

# Every finished file gets its name by a rename, which Python announces.
_KILLED = """
import fnmatch, os, runpy, signal, sys
pattern, left, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def watch(event, arguments):
  global left
  if event != "os.rename":
    return
  if fnmatch.fnmatch(os.path.basename(arguments[1]), pattern):
    if not left:
      os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
sys.addaudithook(watch)
sys.argv = sys.argv[3:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def run_killed(module: str, *arguments: str, pattern: str, after: int) -> int:
  """Runs `python -m module` until it would finish one file too many.

  Args:
    module: The binary's module.
    *arguments: Its command line.
    pattern: Name of the files that count, like "manifest-*.jsonl".
    after: How many of them it finishes; at the next it is killed (kill -9).

  Returns:
    The exit status, -9 if it was killed.
  """
  return subprocess.run(
    [sys.executable, "-c", _KILLED, pattern, str(after), module, *arguments],
    cwd=REPOSITORY,
    stderr=subprocess.DEVNULL,
    timeout=240,
    check=False,
  ).returncode
