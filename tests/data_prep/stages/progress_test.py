import ast
import contextlib
import io
from unittest import mock

from absl.testing import absltest

from data_prep.stages import progress as progress_lib
from tests.fixtures import REPOSITORY


class _Terminal(io.StringIO):
  def isatty(self):
    return True


class ProgressTest(absltest.TestCase):
  def test_a_terminal_gets_a_bar(self):
    with contextlib.redirect_stderr(_Terminal()) as shown:
      items = list(progress_lib.counted(range(3), "cutting", total=3))
    self.assertEqual(items, [0, 1, 2])
    self.assertIn("cutting: 100%", shown.getvalue())
    self.assertIn("3/3", shown.getvalue())

  def test_a_file_gets_a_line_a_minute(self):
    clock = mock.patch.object(
      progress_lib.time, "monotonic", side_effect=range(0, 900, 25)
    )
    with contextlib.redirect_stderr(io.StringIO()) as shown, clock:
      with self.assertLogs("absl", "INFO") as logs:
        with progress_lib.progress("cutting", total=9, done=2) as update:
          for _ in range(4):
            update(1)
    self.assertEqual(
      [record.getMessage() for record in logs.records],
      ["cutting: 5 of 9 photos, 0.0/s"],
    )
    self.assertEqual(shown.getvalue(), "")

  def test_no_bar_is_drawn_into_a_file(self):
    for package in ("data_prep", "experiments", "disentangle3d"):
      for path in (REPOSITORY / package).glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
          if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "tqdm",
            "tqdm.tqdm",
          ):
            self.assertIn("disable=None", ast.unparse(node), path)


if __name__ == "__main__":
  absltest.main()
