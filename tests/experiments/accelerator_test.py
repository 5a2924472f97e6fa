"""The one command for accelerators, and what it is made of, on a CPU."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from unittest import mock

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import accelerator
from experiments.benchmarks.accelerator import (
  PARTS,
  Part,
  goal_row,
  report,
  run_part,
)
from experiments.benchmarks.accelerator_checks import Check, on_both
from experiments.benchmarks.profile import costliest_operations, operation_name
from tests.fixtures import REPOSITORY


class ReportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)

  def _done(self, name: str, file: str, figures: object) -> pathlib.Path:
    folder = self.root / name
    folder.mkdir()
    (folder / file).write_text(json.dumps({"figures": figures}))
    (folder / "output.txt").write_text("9 %\r10 %\rall\n")
    (folder / "done").touch()
    return folder

  def test_goals_of_a_step_are_those_of_the_best_batch_in_bfloat16(self):
    rows = [
      {
        "precision": precision,
        "batch_size": batch,
        "images_per_s": rate,
        "peak_share": share,
      }
      for precision, batch, rate, share in (
        ("bfloat16", 256, 20_000, 0.25),
        ("bfloat16", 1024, 23_000, 0.28),
        ("float32", 1024, 50_000, 0.9),
      )
    ]
    folder = self._done("training", "scaling.json", {"rows": rows})
    rate, share = PARTS["training"].goals
    self.assertEqual(
      goal_row(rate, folder),
      ["train step: images/s", "at least 22,000", "23,000", "yes"],
    )
    self.assertEqual(goal_row(share, folder)[2:], ["0.28", "no"])

  def test_the_time_of_a_deterministic_step_is_against_the_same_batch(self):
    def rows(*rates):
      return {
        "rows": [
          {"precision": "bfloat16", "images_per_s": rate, "batch_size": batch}
          for batch, rate in rates
        ]
      }

    folder = self._done("deterministic", "scaling.json", rows((1024, 800.0)))
    (goal,) = PARTS["deterministic"].goals
    self.assertEqual(goal_row(goal, folder)[1:], ["–", "–", "–"])
    self._done("training", "scaling.json", rows((256, 500.0), (1024, 1000.0)))
    self.assertEqual(goal_row(goal, folder)[1:], ["–", "1.25", "–"])

  def test_goals_of_a_reconstruction(self):
    # PyTorch's figures are not ours.
    plain = {
      "1": {
        "plain": {"p50_ms": 1.1, "peak_share": 0.1},
        "prepared": {"p50_ms": 0.8, "peak_share": 0.1},
        "PyTorch": {"p50_ms": 0.5, "peak_share": 0.1},
      },
      "256": {
        "plain": {"p50_ms": 9.0, "peak_share": 0.45},
        "PyTorch": {"p50_ms": 8.0, "peak_share": 0.5},
      },
    }
    results = {
      batch: {"sphere20, bfloat16": ways, "sphere20": {"plain": {"p50_ms": 5}}}
      for batch, ways in plain.items()
    }
    folder = self._done("inference", "inference.json", results)
    least, share = PARTS["inference"].goals
    self.assertEqual(goal_row(least, folder)[1:], ["at most 1", "0.8", "yes"])
    self.assertEqual(goal_row(share, folder)[2:], ["0.45", "yes"])

  def test_the_time_of_a_fit_is_that_of_all_images_of_casia(self):
    speeds = [{"images_per_s": 122_212.0}, {"images_per_s": 1.0}]
    folder = self._done("fitting", "fitting.json", {"speed": speeds})
    (goal,) = PARTS["fitting"].goals
    self.assertEqual(goal_row(goal, folder)[1:], ["at most 5", "4", "yes"])

  def test_photos_a_second_of_a_stage(self):
    work = self.root / "rendering" / "study"
    work.mkdir(parents=True)
    (work / "study.json").write_text('{"scale": 0.1}')
    (work / "stages.jsonl").write_text(
      '{"stage": "rendering", "seconds": 4.0}\n'
      '{"stage": "fitting, fits-199", "seconds": 9.0}\n'
    )
    (work.parent / "done").touch()
    row = goal_row(PARTS["rendering"].goals[0], work.parent)
    self.assertEqual(row[2:], ["12,221", "yes"])

  def test_what_is_not_measured_is_a_dash_and_a_bar_is_its_last_state(self):
    self._done("checks", "any.json", [])
    text = report(self.root, list(PARTS))
    self.assertIn("| train step: images/s | at least 22,000 | – | – |", text)
    self.assertIn("## checks\n\n```\nall\n```", text)
    self.assertNotIn("## training", text)

  def test_a_failed_part_says_why_and_is_run_again(self):
    bad = Part("benchmark_training", (), ("--devices=99",), 1)
    folder = self.root / "training"
    with mock.patch.dict(accelerator.PARTS, {"training": bad}):
      self.assertFalse(run_part("training", folder, tiny=True))
      self.assertIn("## training (failed)", report(self.root, ["training"]))
      self.assertIn("--devices: expected", (folder / "output.txt").read_text())
      late = dataclasses.replace(bad, minutes=1e-3)
      accelerator.PARTS["training"] = late
      self.assertFalse(run_part("training", folder, tiny=True))
      self.assertIn("stopped after", (folder / "output.txt").read_text())
      (folder / "done").touch()
      self.assertTrue(run_part("training", folder, tiny=True))

  @pytest.mark.slow
  def test_the_whole_runs_small(self):
    subprocess.run(
      [
        sys.executable,
        "-m",
        "experiments.accelerator",
        "--tiny",
        f"--output={self.root}",
      ],
      cwd=REPOSITORY,
      check=True,
      timeout=1500,
    )
    text = (self.root / "tiny.md").read_text()
    for name in PARTS:
      self.assertIn(f"## {name}\n", text)
    for line in text.split("\n## ")[0].splitlines():
      if line.startswith("| ") and " at " in line:
        self.assertNotIn("| – |", line)


class ChecksTest(absltest.TestCase):
  def test_nan_is_no_agreement(self):
    self.assertFalse(Check("x", float("nan"), 1.0).passed)
    self.assertFalse(Check("x", 1.1, 1.0).passed)
    self.assertTrue(Check("x", 1.0, 1.0).passed)

  def test_a_function_runs_on_both_from_the_same_numbers(self):
    there, here = on_both(jnp.cumsum, np.arange(4.0))
    np.testing.assert_array_equal(there, [0, 1, 3, 6])
    np.testing.assert_array_equal(here, there)


class ProfileTest(absltest.TestCase):
  def test_the_costliest_operation_comes_first(self):
    sort = jax.jit(lambda x: (jnp.sort(x, 0), x + 1))
    x = jax.random.normal(jax.random.key(0), (2000, 200))
    jax.block_until_ready(sort(x))
    found = costliest_operations(lambda: jax.block_until_ready(sort(x)))
    (name, share), *rest = found
    self.assertStartsWith(name, "sort")
    self.assertGreater(share, 0.5)
    self.assertLessEqual(sum(s for _, s in found), 1 + 1e-9)
    self.assertEqual(sorted(rest, key=lambda one: -one[1]), rest)

  def test_a_kernel_is_named_by_its_operation_but_not_by_its_graph(self):
    # As a trace of an H200 has them.
    kernel = "void cutlass::Kernel2<gemm_bf16>(gemm_bf16::Params)"
    for operation, expected in (
      ("cudnn-conv-bw-filter.22", "cudnn-conv-bw-filter"),
      ("command_buffer_100", "void cutlass::Kernel2<gemm_bf16>"),
      ("", "void cutlass::Kernel2<gemm_bf16>"),
    ):
      name = operation_name(kernel, {"hlo_op": operation})
      self.assertEqual(name, expected)
    self.assertEqual(operation_name("loop_add_fusion_1", {}), "loop_add_fusion")


if __name__ == "__main__":
  absltest.main()
