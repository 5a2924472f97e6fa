"""Two processes of two CPU devices against one of four, and one that dies."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from disentangle3d.training.export import load_network
from disentangle3d.training.run_files import read_metrics
from tests.fixtures import REPOSITORY, free_port
from tests.training.cases import write_tiny_dataset

# Two processes that compile, on a machine with other work.
_LIMIT_S = 500
_SIZES = (
  "--config.model.identity_dim=12",
  "--config.model.residual_dim=5",
  "--config.model.num_vertices=120",
  "--config.run_phases=('joint_recognition',)",
  "--config.export_phases=()",
  "--config.phases.joint_recognition.examples=dataset",
  "--config.phases.joint_recognition.batch_size=8",
  "--config.identity_head.kind=cosface",
  "--config.identity_head.sharded=True",
  "--config.log_every=1",
)


def _start(workdir, dataset, *arguments, devices, environment=None):
  code = (
    "import sys, jax\n"
    "jax.config.update('jax_platforms', 'cpu')\n"
    f"jax.config.update('jax_num_cpu_devices', {devices})\n"
    "from data_prep.stages import command_line\n"
    "from experiments import train\n"
    "command_line.run(train.main, train.define_flags)\n"
  )
  command = [
    sys.executable,
    "-c",
    code,
    "--config=experiments/configs/smoke.py",
    f"--workdir={workdir}",
    f"--config.examples.path={dataset}",
    *_SIZES,
    *arguments,
  ]
  return subprocess.Popen(
    command,
    cwd=REPOSITORY,
    env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _start_two(workdir, dataset, *arguments):
  address = f"localhost:{free_port()}"
  return [
    _start(
      workdir,
      dataset,
      f"--coordinator={address}",
      "--num_processes=2",
      f"--process_id={number}",
      *arguments,
      devices=2,
    )
    for number in range(2)
  ]


def _finish(processes):
  try:
    return [process.communicate(timeout=_LIMIT_S) for process in processes]
  finally:
    for process in processes:
      process.kill()


class ProcessesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.dataset = write_tiny_dataset(self.root / "dataset")

  @pytest.mark.slow
  @pytest.mark.timeout(1200)
  def test_two_processes_of_two_devices_do_what_one_of_four_does(self):
    steps = "--config.phases.joint_recognition.steps=3"
    two = _start_two(self.root / "two", self.dataset, steps)
    for process, (_, errors) in zip(two, _finish(two), strict=True):
      self.assertEqual(process.returncode, 0, errors[-3000:])
    one = _start(self.root / "one", self.dataset, steps, devices=4)
    ((_, errors),) = _finish([one])
    self.assertEqual(one.returncode, 0, errors[-3000:])
    lines = [read_metrics(self.root / name) for name in ("one", "two")]
    self.assertLen(lines[0], 3)
    for a, b in zip(*lines, strict=True):
      self.assertEqual(a.keys(), b.keys())
      for name in ("loss", "identification", "head_norm"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, err_msg=name)
    params = [load_network(self.root / name).params for name in ("one", "two")]
    kernels = [p["identity_decoder"]["kernel"] for p in params]
    np.testing.assert_allclose(*kernels, atol=1e-4)

  @parameterized.parameters(0, 1)
  @pytest.mark.slow
  @pytest.mark.timeout(1200)
  def test_a_process_that_dies_ends_the_other_with_a_message(self, dies):
    workdir = self.root / "run"
    endless = (
      "--config.phases.joint_recognition.steps=100000",
      "--config.checkpoint_every=100000",
    )
    two = _start_two(workdir, self.dataset, *endless)
    try:
      metrics, waited = workdir / "metrics.jsonl", time.monotonic() + _LIMIT_S
      while not (metrics.is_file() and metrics.stat().st_size):
        self.assertLess(time.monotonic(), waited)
        self.assertIsNone(two[0].poll())
        time.sleep(0.1)
      two[dies].send_signal(signal.SIGKILL)
      survivor = two[1 - dies]
      _, errors = survivor.communicate(timeout=_LIMIT_S)
    finally:
      for process in two:
        process.kill()
        process.wait()
    self.assertEqual(survivor.returncode, 1, errors[-3000:])
    self.assertIn(f"ERROR: process {1 - dies} of 2: another process", errors)
    self.assertIn(f"process {dies} is gone", errors)

  @pytest.mark.slow
  @pytest.mark.timeout(1200)
  def test_slurms_environment_says_who_is_who(self):
    steps = "--config.phases.joint_recognition.steps=1"
    two = [
      _start(
        self.root / "run",
        self.dataset,
        "--coordinator=auto",
        steps,
        devices=2,
        environment={
          # Of the number comes the coordinator's port.
          "SLURM_JOB_ID": str(os.getpid()),
          "SLURM_JOB_NUM_NODES": "1",
          "SLURM_NTASKS": "2",
          "SLURM_STEP_NUM_TASKS": "2",
          "SLURM_STEP_NODELIST": "localhost",
          "SLURM_PROCID": str(number),
          "SLURM_LOCALID": str(number),
        },
      )
      for number in range(2)
    ]
    for process, (output, errors) in zip(two, _finish(two), strict=True):
      self.assertEqual(process.returncode, 0, errors[-3000:])
      self.assertIn("train: done", output)
      # Four devices, two of each process.
      self.assertRegex(errors, r"devices: (\S+, ){3}\S+")

  def test_bad_clusters_are_one_line(self):
    for arguments, message in (
      (("--num_processes=2",), "ERROR: coordinator: expected host:port"),
      (("--coordinator=auto",), "ERROR: coordinator: expected an environment"),
    ):
      process = _start(self.root / "run", self.dataset, *arguments, devices=1)
      ((_, errors),) = _finish([process])
      self.assertEqual(process.returncode, 1)
      self.assertIn(message, errors)
      self.assertLen(errors.splitlines(), 1)


if __name__ == "__main__":
  absltest.main()
