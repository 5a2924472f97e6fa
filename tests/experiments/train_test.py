"""The binary: a whole run, signals, and bad input, in processes of its own."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from absl.testing import absltest
import numpy as np
import pytest

from disentangle3d.training.export import load_network
from disentangle3d.training.run_files import read_metrics
from tests.fixtures import REPOSITORY
from tests.killing import run_killed
from tests.training.cases import write_tiny_dataset

_LIMIT_S = 300


def _command(workdir, *arguments, config="smoke"):
  return [
    sys.executable,
    "-m",
    "experiments.train",
    f"--config=experiments/configs/{config}.py",
    f"--workdir={workdir}",
    *arguments,
  ]


def _start(command):
  environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
  return subprocess.Popen(
    command,
    cwd=REPOSITORY,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _finish(process):
  try:
    return process.communicate(timeout=_LIMIT_S)
  finally:
    process.kill()


def _run(command):
  process = _start(command)
  output, errors = _finish(process)
  return process.returncode, output, errors


class TrainTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.workdir = self.root / "run"

  @pytest.mark.slow
  @pytest.mark.timeout(900)
  def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_last(self):
    arguments = (
      "--config.run_phases=('decoders',)",
      "--config.phases.decoders.steps=6",
      "--config.checkpoint_every=2",
      "--config.export_phases=()",
    )
    command = _command(self.workdir, *arguments)
    status = run_killed("experiments.train", *command[3:], pattern="4", after=0)
    self.assertEqual(status, -signal.SIGKILL)
    folder = self.workdir / "checkpoints" / "decoders"
    self.assertTrue((folder / "2").is_dir())
    self.assertFalse((folder / "4").exists())
    self.assertTrue(list(folder.glob("4.*")))
    status, output, errors = _run(command)
    self.assertEqual(status, 0, errors[-3000:])
    self.assertIn("decoders: going on from step 2", errors)
    self.assertIn("train: done", output)
    straight = self.root / "straight"
    _run(_command(straight, *arguments))
    kernels = [
      load_network(path).params["identity_decoder"]["kernel"]
      for path in (self.workdir, straight)
    ]
    np.testing.assert_array_equal(*kernels)

  @pytest.mark.slow
  @pytest.mark.timeout(900)
  def test_a_full_disk_is_one_error_and_loses_nothing(self):
    arguments = (
      "--config.run_phases=('decoders',)",
      "--config.checkpoint_every=2",
      "--config.export_phases=()",
    )
    four = "--config.phases.decoders.steps=4"
    status, _, errors = _run(
      _command(self.workdir, *arguments, "--config.phases.decoders.steps=2")
    )
    self.assertEqual(status, 0, errors[-3000:])
    # No file may grow beyond this, as if the disk had no more room.
    process = subprocess.run(
      ["bash", "-c", 'ulimit -f 60; exec "$@"', "bash"]
      + _command(self.workdir, *arguments, four),
      cwd=REPOSITORY,
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
      timeout=_LIMIT_S,
      check=False,
    )
    self.assertEqual(process.returncode, 1, process.stderr[-3000:])
    self.assertRegex(
      process.stderr.splitlines()[-1],
      "^ERROR: .*decoders/4: the checkpoint cannot be written, those before it",
    )
    self.assertNotIn("Traceback", process.stderr)
    status, _, errors = _run(_command(self.workdir, *arguments, four))
    self.assertEqual(status, 0, errors[-3000:])
    self.assertIn("decoders: going on from step 2", errors)

  def test_sigterm_saves_and_a_second_run_goes_on_to_the_end(self):
    # Long enough to be interrupted; phase II alone, to save compiling.
    arguments = (
      "--config.run_phases=('decoders',)",
      "--config.phases.decoders.steps=1000",
      "--config.phases.decoders.optimizer.schedule.decay_steps=1000",
      "--config.checkpoint_every=1000",
      "--config.log_every=20",
    )
    command = _command(self.workdir, *arguments)
    process = _start(command)
    metrics = self.workdir / "metrics.jsonl"
    waited = time.monotonic() + _LIMIT_S
    while not (metrics.is_file() and metrics.stat().st_size):
      self.assertIsNone(process.poll())
      self.assertLess(time.monotonic(), waited)
      time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, errors = _finish(process)
    self.assertEqual(process.returncode, 0, errors)
    # An earlier name of an entry of the config.
    self.assertIn("optimizer is called config.phases.decoders.optimi", errors)
    self.assertRegex(
      output,
      r"train: stopped in decoders after step \d+, saved; run the same command"
      " to go on",
    )
    stopped = int(output.split("after step ")[1].split(",")[0])
    self.assertBetween(stopped, 1, 999)
    self.assertFalse((self.workdir / "export").exists())

    code, output, errors = _run(command)
    self.assertEqual(code, 0, errors)
    self.assertIn(f"going on from step {stopped}", errors)
    self.assertIn("train: done, exported to", output)
    self.assertEqual(load_network(self.workdir).model.trunk, "tiny")
    lines = read_metrics(self.workdir)
    self.assertEqual(lines[-1]["step"], 1000)
    self.assertLess(lines[-1]["loss"], 0.01 * lines[0]["loss"])
    info = json.loads((self.workdir / "run.json").read_text())
    self.assertEqual(info["config"]["phases"]["decoders"]["steps"], 1000)
    self.assertEqual(info["morphable_model"]["licence"], "Apache-2.0")
    self.assertIn("jax", info["versions"])
    self.assertTrue(list((self.workdir / "tensorboard").iterdir()))

    # The same workdir with other settings is another run.
    code, _, errors = _run([*command, "--config.seed=1"])
    self.assertEqual(code, 1)
    self.assertRegex(errors, r"ERROR: config.seed: expected 0 as the run in")

  def _refused(self, message, *arguments, config="demo"):
    code, output, errors = _run(
      _command(self.workdir, *arguments, config=config)
    )
    self.assertEqual(code, 1)
    lines = [line for line in errors.splitlines() if line.strip()]
    self.assertLen(lines, 1, errors)
    self.assertRegex(lines[0], message)
    self.assertEqual(output, "")
    self.assertFalse(self.workdir.exists())

  def test_missing_dataset(self):
    self._refused(
      "ERROR: .*/nowhere/manifest.json: no such file",
      f"--config.examples.path={self.root / 'nowhere'}",
    )
    self._refused(
      "ERROR: config.examples.path: expected a dataset folder for latents"
    )

  def test_dataset_of_another_3dmm_or_with_changed_bytes(self):
    dataset = (
      f"--config.examples.path={write_tiny_dataset(self.root / 'dataset')}"
    )
    self._refused(
      "ERROR: config.model.identity_dim: expected 12 as .* got 199", dataset
    )
    next((self.root / "dataset").glob("train-*")).write_bytes(b"damaged")
    self._refused("ERROR: .*array_record: expected sha256", dataset)

  def test_a_start_that_is_no_export(self):
    self._refused(
      "ERROR: .*nowhere: no face_model.json here or in export/",
      f"--config.init_from={self.root / 'nowhere'}",
      config="smoke",
    )

  def test_bad_values(self):
    self._refused(
      "ERROR: config.phases.latents: latents.steps: expected at least 1",
      "--config.phases.latents.steps=0",
    )


if __name__ == "__main__":
  absltest.main()
