"""Runs that are killed, on small programs in place of the binaries."""

import pathlib

from absl.testing import absltest
import numpy as np

from experiments.resilience import hostile
from experiments.resilience.commands import Command
from experiments.resilience.interruptions import (
  KillCount,
  kill_run,
  reference_run,
)

# Writes ten files, one after another, those that are not there; a careless one
# leaves halves behind, and counts how often it was begun.
_PROGRAM = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
careless = len(sys.argv) > 2
for number in range(10):
  path = folder / str(number)
  if path.exists(): continue
  part = path if careless else folder / "part"
  try:
    with part.open("w") as file:
      file.write("begun "); file.flush(); time.sleep(0.05)
      file.write("done " * 2000)
  except OSError as error:
    sys.exit(f"{part}: {error.strerror}")
  part.rename(path)
if len(sys.argv) > 2 and sys.argv[2] == "clock":
  late = [time.time() > os.stat(folder).st_mtime + 1800 for _ in range(20)]
  (folder / "late").write_text(str(any(late)))
"""


class InterruptionsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.scratch = pathlib.Path(self.create_tempdir().full_path)
    (self.scratch / "disk").mkdir()
    (self.scratch / "writes_ten.py").write_text(_PROGRAM)
    path = str(self.scratch)
    self.enter_context(
      absltest.mock.patch.dict("os.environ", {"PYTHONPATH": path})
    )
    self.rng = np.random.default_rng(0)

  def command(self, *more):
    return Command("it", ("writes_ten", "{output}", *more))

  def test_a_run_that_goes_on_ends_in_the_same(self):
    command, count = self.command(), KillCount()
    reference = reference_run(command, self.scratch)
    self.assertLen(reference.content, 10)
    self.assertEqual(reference.bytes, 10 * (6 + 10_000))
    for _ in range(2):
      kill_run(command, reference, self.scratch, count, self.rng, most_kills=3)
    self.assertEqual((count.runs, count.same, count.wrong), (2, 2, []))
    self.assertGreater(count.kills, 0)

  def test_one_that_takes_halves_for_whole_is_found(self):
    command, count = self.command("careless"), KillCount()
    reference = reference_run(command, self.scratch)
    for _ in range(3):
      kill_run(command, reference, self.scratch, count, self.rng, most_kills=6)
    self.assertNotEmpty(count.wrong)
    self.assertIn("other content after", count.wrong[0])

  def test_a_full_and_a_read_only_disk(self):
    if problem := hostile.why_no_disk():
      self.skipTest(problem)
    command = self.command()
    reference = reference_run(command, self.scratch)
    for _ in range(2):
      self.assertEqual(
        hostile.full_disk(command, reference, self.scratch, self.rng), ""
      )
    self.assertIn("a traceback", hostile.read_only(command, self.scratch))
    careless = self.command("careless")
    told = [
      hostile.full_disk(careless, reference, self.scratch, self.rng)
      for _ in range(3)
    ]
    self.assertIn("other content", " ".join(told))

  def test_a_clock_that_jumps(self):
    command = self.command()
    reference = reference_run(command, self.scratch)
    self.assertEqual(
      hostile.jumping_clock(command, reference, self.scratch, 0), ""
    )
    watching = self.command("clock")
    reference = reference_run(watching, self.scratch)
    self.assertEqual(
      hostile.jumping_clock(watching, reference, self.scratch, 0),
      "other content",
    )


if __name__ == "__main__":
  absltest.main()
