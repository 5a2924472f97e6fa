import subprocess
import sys
import textwrap

from absl.testing import absltest, parameterized

from tests.fixtures import REPOSITORY

_BINARY = """
from absl import flags
from data_prep.stages import command_line

def define_flags():
  flags.DEFINE_integer("count", None, "How many.", required=True)

def main():
  match flags.FLAGS.count:
    case 1: raise ValueError("file.txt: expected\\n1, got 2")
    case 2: raise KeyError("a defect")
    case 3: raise FileNotFoundError(2, "No such file or directory", "a.txt")
    case 4: raise KeyboardInterrupt
    case 5: raise ModuleNotFoundError("install it")

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
    ("not_installed", ["--count=5"], 1, "ERROR: install it\n"),
    (
      "missing_flag",
      [],
      1,
      "ERROR: flag --count=None: Flag --count must have a value other than"
      " None. (--help lists the flags)\n",
    ),
    (
      "unknown_flag",
      ["--count=0", "--x=1"],
      1,
      "ERROR: Unknown command line flag 'x' (--help lists the flags)\n",
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

  def test_a_defect_keeps_its_traceback(self):
    result = _run("--count=2")
    self.assertEqual(result.returncode, 1)
    self.assertIn("Traceback", result.stderr)

  def test_help_lists_the_flags(self):
    result = _run("--help")
    self.assertIn("--count", result.stdout)

  def test_verbosity_shows_where_an_error_came_from(self):
    result = _run("--count=1", "--verbosity=1")
    self.assertIn("Traceback", result.stderr)
    self.assertIn("ERROR: file.txt", result.stderr)


if __name__ == "__main__":
  absltest.main()
