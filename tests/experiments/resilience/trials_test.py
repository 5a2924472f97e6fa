"""Trials are counted, and what was wrong is told."""

import pathlib
from unittest import mock

from absl.testing import absltest

from disentangle3d.reporting.html_page import Paragraph, Table
from experiments.resilience import trials
from experiments.resilience.commands import Command
from experiments.resilience.fuzzed import ReaderCount
from experiments.resilience.interruptions import Reference


def _kill(command, reference, scratch, count, rng, *, most_kills):
  count.runs += 1
  count.kills += most_kills
  count.wrong.append("other content after 5 kills")


class TrialsTest(absltest.TestCase):
  def test_each_part_is_tried_once_at_least_and_told(self):
    told = {
      "reference_run": mock.Mock(return_value=Reference({}, 1.0, 10)),
      "kill_run": _kill,
      "jumping_clock": mock.Mock(side_effect=["", "exit status 1: late"]),
      "why_no_disk": mock.Mock(return_value="no unshare"),
      "full_disk": mock.Mock(side_effect=AssertionError),
    }
    with mock.patch.multiple(trials, **told):
      result = trials.endure(
        [Command("train", ()), Command("other", ())],
        pathlib.Path("nowhere"),
        minutes=0,
        parts=("kill", "disk", "clock"),
      )
    self.assertEqual(
      result.wrong,
      [
        "train: other content after 5 kills",
        "other: other content after 5 kills",
        "other: exit status 1: late",
      ],
    )
    blocks = trials.blocks_of(result)
    rows = {b.header[0]: b.rows for b in blocks if isinstance(b, Table)}
    self.assertEqual(
      rows,
      {
        "kill -9": [["train", 1, 20, 0], ["other", 1, 20, 0]],
        "full disk": [
          ["train", 0, 0, "no unshare"],
          ["other", 0, 0, "no unshare"],
        ],
        "read-only folder": [
          ["train", 0, 0, "no unshare"],
          ["other", 0, 0, "no unshare"],
        ],
        "clock that jumps": [["train", 1, 1, ""], ["other", 1, 0, ""]],
      },
    )

  def test_readers_have_their_sums_in_the_last_row(self):
    counts = {"a.png": ReaderCount(), "b.obj": ReaderCount()}
    counts["a.png"].add("read", count=3)
    counts["a.png"].add("crash", "exit status -11, seed (0, 0)")
    counts["b.obj"].add("refused", count=2)
    with mock.patch.object(trials, "fuzz_readers", return_value=counts):
      result = trials.endure(
        [], pathlib.Path("nowhere"), minutes=0, parts=["fuzz"]
      )
    table, line = trials.blocks_of(result)
    self.assertEqual(
      [row[:4] + row[-1:] for row in table.rows],
      [["a.png", 4, 3, 0, 1], ["b.obj", 2, 0, 2, 0], ["all", 6, 3, 2, 1]],
    )
    self.assertEqual(line, Paragraph("a.png: exit status -11, seed (0, 0)"))


if __name__ == "__main__":
  absltest.main()
