"""A binary that is killed at a certain moment, always the same one."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from tests.fixtures import REPOSITORY

# Every finished file gets its name by a rename, which Python announces.
_WATCH = """
import fnmatch, os, signal, sys
def call_at(call, pattern, left):
  def watch(event, arguments):
    nonlocal left
    if event != "os.rename":
      return
    if fnmatch.fnmatch(arguments[1], pattern):
      if not left:
        call()
      left -= 1
  sys.addaudithook(watch)
"""
_KILLED = f"""{_WATCH}
import runpy
pattern, left, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
call_at(lambda: os.kill(os.getpid(), signal.SIGKILL), "*/" + pattern, left)
sys.argv = sys.argv[3:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
# What a process, and each that it starts, imports first. It does no more work
# after the kill; only something else can end it.
_PARENT_KILLED = f"""{_WATCH}
import threading
def kill_and_stay():
  os.kill(os.getppid(), signal.SIGKILL)
  threading.Event().wait()
call_at(
  kill_and_stay, os.environ["KILL_PATTERN"], int(os.environ["KILL_AFTER"])
)
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


def run_parent_killed(
  module: str, *arguments: str, pattern: str, after: int
) -> int:
  """Runs `python -m module` until a process that it started kills it.

  The started process would finish one file too many; at that moment it kills
  (kill -9) the one that started it and then hangs.

  Args:
    module: The binary's module.
    *arguments: Its command line.
    pattern: Path of the files that count, like "*/located/manifest-*.jsonl".
    after: How many of them are finished.

  Returns:
    The exit status, -9 if it was killed; by then all it started has ended.

  Raises:
    subprocess.TimeoutExpired: What it started lives on.
  """
  with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "sitecustomize.py").write_text(_PARENT_KILLED)
    told = {"KILL_PATTERN": pattern, "KILL_AFTER": str(after)}
    process = subprocess.Popen(
      [sys.executable, "-m", module, *arguments],
      cwd=REPOSITORY,
      env={**os.environ, "PYTHONPATH": folder, **told},
      stderr=subprocess.PIPE,
      start_new_session=True,
    )
    try:
      # Ends when nobody is left who could write to it.
      process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
      os.killpg(process.pid, signal.SIGKILL)
      raise
    finally:
      process.stderr.close()
    return process.returncode
