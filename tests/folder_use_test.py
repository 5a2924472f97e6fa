"""Who writes to a folder keeps others out, as long as they live."""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

from absl.testing import absltest

from disentangle3d.folder_use import is_mark, sole_use
from disentangle3d.types import UserError
from tests.fixtures import REPOSITORY

_HOLDER = """
import sys
from disentangle3d.folder_use import sole_use
with sole_use(sys.argv[1], part=int(sys.argv[2]), parts=int(sys.argv[3])):
  print("held", flush=True)
  sys.stdin.read()
"""


class SoleUseTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name) / "runs" / "one"

  def _holder(self, part=0, parts=1):
    holder = subprocess.Popen(
      [sys.executable, "-c", _HOLDER, self.folder, str(part), str(parts)],
      cwd=REPOSITORY,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.addCleanup(holder.communicate)
    self.assertEqual(holder.stdout.readline(), "held\n")
    return holder

  def test_a_second_process_is_told_who_the_first_is(self):
    holder = self._holder()
    who = f"process {holder.pid} on host {re.escape(socket.gethostname())}"
    with self.assertRaisesRegex(
      UserError, rf"/one: in use by {who} since 20\d\d-.*another folder"
    ):
      with sole_use(self.folder):
        self.fail("two at once")
    holder.communicate("")
    with sole_use(self.folder) as alone:
      self.assertTrue(alone)

  def test_a_killed_owner_is_in_nobodys_way(self):
    holder = self._holder()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    (mark,) = self.folder.iterdir()
    self.assertTrue(is_mark(mark.name))
    with sole_use(self.folder):
      pass
    self.assertEmpty(list(self.folder.iterdir()))

  def test_parts_of_one_cut_go_together(self):
    self._holder(part=1, parts=3)
    with sole_use(self.folder, part=0, parts=3) as alone:
      self.assertFalse(alone)
    for part, parts in ((1, 3), (0, 1), (0, 2), (2, 4)):
      with self.assertRaisesRegex(UserError, "in use by process"):
        with sole_use(self.folder, part=part, parts=parts):
          self.fail("two at once")
    self.assertLen(list(self.folder.iterdir()), 1)

  def test_nothing_is_left_of_a_folder_that_stays_empty(self):
    with self.assertRaises(KeyError), sole_use(self.folder):
      raise KeyError
    self.assertFalse(self.folder.parent.exists())
    with sole_use(self.folder):
      (self.folder / "file").touch()
    self.assertEqual([p.name for p in self.folder.iterdir()], ["file"])

  def test_a_folder_that_cannot_be_made_is_named(self):
    with self.assertRaisesRegex(
      UserError, r"^/proc/none/here: cannot be written to \(.*give another"
    ):
      with sole_use("/proc/none/here"):
        pass


if __name__ == "__main__":
  absltest.main()
