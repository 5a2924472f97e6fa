import os
import signal
import subprocess
import sys
import textwrap
from unittest import mock

from absl.testing import absltest, parameterized

from tests.fixtures import REPOSITORY, run_program

_BINARY = """
from absl import flags
from data_prep.stages import command_line, flag_words
from disentangle3d.types import UserError, UserFileNotFoundError

def define_flags():
  flags.DEFINE_integer("count", None, "How many.", required=True)
  flag_words.was(number="count")

def main():
  match flags.FLAGS.count:
    case 1: raise UserError("file.txt: expected\\n1, got 2")
    case 2: raise KeyError("a defect")
    case 3: raise FileNotFoundError(2, "No such file or directory", "a.txt")
    case 4: raise KeyboardInterrupt
    case 5: raise UserFileNotFoundError("a.txt: no such file")
    case 6: raise ValueError("shapes (3,) and (4,) do not match")
    case 7: raise ModuleNotFoundError("No module named 'a'")
    case 8: raise OSError("could not get source code")
    case 9:
      for _ in range(100_000):
        print("a long report")
      import sys
      sys.stderr.write("whole")

command_line.run(main, define_flags)
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-c", textwrap.dedent(_BINARY), *arguments],
    capture_output=True,
    text=True,
    timeout=60,
    cwd=REPOSITORY,
    check=False,
  )


class CommandLineTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("fine", ["--count=0"], 0, ""),
    ("value", ["--count=1"], 1, "ERROR: file.txt: expected 1, got 2\n"),
    (
      "os",
      ["--count=3"],
      1,
      "ERROR: [Errno 2] No such file or directory: 'a.txt'\n",
    ),
    ("stopped", ["--count=4"], 130, "Stopped.\n"),
    ("not_there", ["--count=5"], 1, "ERROR: a.txt: no such file\n"),
    (
      "old_name",
      ["--number=5"],
      1,
      "WARNING: --number is called --count now\nERROR: a.txt: no such file\n",
    ),
    (
      "missing_flag",
      [],
      1,
      "ERROR: --count: expected a value, got none (--help lists the flags)\n",
    ),
    (
      "unknown_flag",
      ["--count=0", "--x=1"],
      1,
      "ERROR: --x: no such flag (--help lists the flags)\n",
    ),
    (
      "wrong_type",
      ["--count=1.5"],
      1,
      "ERROR: --count: expected a whole number, got '1.5' (--help lists the"
      " flags)\n",
    ),
    (
      "misspelt_flag",
      ["--cuont=0"],
      1,
      "ERROR: --cuont: no such flag; did you mean count? (--help lists the"
      " flags)\n",
    ),
    (
      "no_flag",
      ["--count=0", "file"],
      1,
      "ERROR: expected flags only (--name=value), got 'file'\n",
    ),
  )
  def test_one_line_and_the_exit_status(self, arguments, status, message):
    result = _run(*arguments)
    self.assertEqual((result.returncode, result.stderr), (status, message))

  @parameterized.parameters(2, 6, 7, 8)
  def test_a_defect_keeps_its_traceback(self, kind):
    result = _run(f"--count={kind}")
    self.assertEqual(result.returncode, 1)
    self.assertIn("Traceback", result.stderr)

  def test_help_lists_todays_flags_only(self):
    result = _run("--help")
    self.assertEqual((result.returncode, result.stderr), (0, ""))
    self.assertIn(
      "\n  --count=NUMBER\n      How many. Must be given.\n\n  --compilation_",
      result.stdout,
    )
    self.assertNotIn("--number", result.stdout)

  def test_the_work_goes_on_when_nobody_reads_any_more(self):
    with subprocess.Popen(
      [sys.executable, "-c", textwrap.dedent(_BINARY), "--count=9"],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      cwd=REPOSITORY,
    ) as process:
      self.assertEqual(process.stdout.readline(), "a long report\n")
      process.stdout.close()
      self.assertEqual(process.stderr.read(), "whole")
      self.assertEqual(process.wait(60), 0)

  def test_ctrl_c_while_a_binary_is_imported_shows_no_traceback(self):
    # As `python -m` does while it looks for the module.
    code = (
      "import os, signal, sys\n"
      "sys.argv = ['-m']\n"
      "import experiments\n"
      "os.kill(os.getpid(), signal.SIGINT)\n"
      "import time; time.sleep(30)\n"
    )
    result = run_program(code)
    self.assertEqual((result.returncode, result.stderr), (-signal.SIGINT, ""))

  @parameterized.parameters("data_prep", "experiments")
  def test_a_home_that_cannot_be_written_to_is_not_told_of(self, package):
    home = {"HOME": "/proc/none", "MPLCONFIGDIR": "", "XDG_CONFIG_HOME": ""}
    with mock.patch.dict(os.environ, home):
      result = run_program(f"import {package}, matplotlib.pyplot")
    self.assertEqual((result.returncode, result.stderr), (0, ""))

  def test_verbosity_shows_where_an_error_came_from(self):
    result = _run("--count=1", "--verbosity=1")
    self.assertIn("Traceback", result.stderr)
    self.assertIn("ERROR: file.txt", result.stderr)


if __name__ == "__main__":
  absltest.main()
