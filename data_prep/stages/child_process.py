"""A binary as a process of its own that never outlives who started it.

The child's stdin is a pipe that only the parent holds. However the parent ends,
kill -9 included, the pipe closes, and a thread of the child ends the child.
"""

import os
import runpy
import subprocess
import sys
import threading


def run_module(module: str, *arguments: str) -> int:
  """Runs `python -m module` to its end; its exit status.

  Args:
    module: Reads nothing from stdin.
    *arguments: Its command line. What it says goes where ours goes.
  """
  command = [sys.executable, "-m", __name__, module, *arguments]
  with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
    return process.wait()


def told_by(module: str, *arguments: str) -> str:
  """What `python -m module` says on stderr where it fails, or nothing."""
  command = [sys.executable, "-m", __name__, module, *arguments]
  with subprocess.Popen(
    command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  ) as process:
    # Not communicate(), which closes the stdin that keeps the child alive.
    said = process.stderr.read() if process.stderr else ""
    return said if process.wait() else ""


def _end_with_parent() -> None:
  """Waits for the end of stdin."""
  while os.read(0, 1):
    pass
  os._exit(1)


if __name__ == "__main__":
  threading.Thread(target=_end_with_parent, daemon=True).start()
  del sys.argv[0]
  runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
