"""The launch files: their syntax, what they run, and a preempted job."""

import json
import os
import pathlib
import shlex
import stat
import subprocess
import sys

from absl.testing import absltest
import pytest

from tests.fixtures import REPOSITORY, run_program

_LAUNCH = REPOSITORY / "launch"
_GIVEN = {
  "CONFIG": "smoke",
  "DATASET": "/shared/set",
  "WORKDIR": "/shared/run",
  "TPU": "slice",
  "ZONE": "us-central2-b",
  "TYPE": "v4-64",
}
_SBATCH = {
  *("job-name", "ntasks-per-node", "gpus-per-task", "cpus-per-task", "time"),
  *("requeue", "open-mode", "output", "signal"),
}
# What train makes of command lines.
_READ = """
import os, sys
from absl import flags
from experiments import train
train.define_flags()
for arguments in COMMANDS:
  if child := os.fork():
    os.waitpid(child, 0)
    continue
  # A config reads its overrides from here.
  sys.argv[1:] = arguments
  left = flags.FLAGS(["train", *arguments])
  values = flags.FLAGS
  print(left[1:], values.workdir, values.config.examples.path,
        values.coordinator, values.num_processes, values.process_id,
        values.stopped_status, flush=True)
  os._exit(0)
"""


def _bash(*command, **environment) -> "subprocess.CompletedProcess[str]":
  return subprocess.run(
    ["bash", *command],
    cwd=REPOSITORY,
    env={**os.environ, **_GIVEN, **environment},
    capture_output=True,
    text=True,
    timeout=280,
    check=False,
  )


def _jobset():
  yaml = pytest.importorskip("yaml")
  return yaml.safe_load((_LAUNCH / "jobset.yaml").read_text())


def _container(jobset):
  (job,) = jobset["spec"]["replicatedJobs"]
  pods = job["template"]["spec"]
  (container,) = pods["template"]["spec"]["containers"]
  return job, pods, container


class LaunchTest(absltest.TestCase):
  def test_each_runs_train_with_flags_that_it_has(self):
    slurm = _bash("launch/slurm.sbatch", "--config.seed=3", DRY_RUN="1")
    tpu = _bash("launch/tpu_pod.sh", "--config.seed=3", DRY_RUN="1")
    (remote,) = [
      word.removeprefix("--command=")
      for word in tpu.stdout.split(" --worker=all ")[1:]
    ]
    _, _, container = _container(_jobset())
    commands = {
      "srun python -m experiments.train": slurm.stdout,
      "cd disentangle3d && .venv/bin/python -m experiments.train": remote,
      "python -m experiments.train": shlex.join(
        [*container["command"], *container["args"]]
      ).replace("'--process_id=$(JOB_COMPLETION_INDEX)'", "--process_id=1"),
    }
    arguments = []
    for start, text in commands.items():
      self.assertStartsWith(text, start)
      arguments.append(shlex.split(text.removeprefix(start)))
    told = run_program(f"COMMANDS = {arguments!r}\n{_READ}")
    self.assertEqual(
      told.stdout.splitlines(),
      [
        "[] /shared/run /shared/set auto 1 0 75",
        "[] /shared/run /shared/set auto 1 0 75",
        "[] /data/run /data/dataset"
        " disentangle3d-train-0-0.disentangle3d:12345 2 1 75",
      ],
      told.stderr,
    )

  def test_scripts_have_no_syntax_errors_and_name_what_is_missing(self):
    for name in ("slurm.sbatch", "tpu_pod.sh"):
      checked = _bash("-n", f"launch/{name}")
      self.assertEqual((checked.returncode, checked.stderr), (0, ""))
      told = _bash(f"launch/{name}", DRY_RUN="1", DATASET="")
      self.assertNotEqual(told.returncode, 0)
      self.assertIn("DATASET: where the dataset is", told.stderr)

  def test_sbatch_reads_its_options_before_the_first_command(self):
    lines = (_LAUNCH / "slurm.sbatch").read_text().splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    names = {line.split("--")[1].split("=")[0] for line in options}
    self.assertEqual(names, _SBATCH)
    last = max(map(lines.index, options))
    self.assertTrue(all(line.startswith("#") for line in lines[:last]))

  def test_the_jobset_s_numbers_and_names_agree(self):
    jobset = _jobset()
    self.assertEqual(jobset["apiVersion"], "jobset.x-k8s.io/v1alpha2")
    self.assertEqual(jobset["kind"], "JobSet")
    job, pods, container = _container(jobset)
    flags = dict(text.split("=", 1) for text in container["args"])
    self.assertEqual(pods["parallelism"], pods["completions"])
    self.assertEqual(int(flags["--num_processes"]), pods["completions"])
    self.assertEqual(pods["completionMode"], "Indexed")
    name = jobset["metadata"]["name"]
    (port,) = container["ports"]
    # The pod with index 0, under the name that a JobSet gives it.
    self.assertEqual(
      flags["--coordinator"],
      f"{name}-{job['name']}-0-0.{name}:{port['containerPort']}",
    )
    # A pod that ends with 75 fails its job, and that starts all again.
    self.assertEqual(pods["backoffLimit"], 0)
    self.assertEqual(pods["template"]["spec"]["restartPolicy"], "Never")
    self.assertGreater(jobset["spec"]["failurePolicy"]["maxRestarts"], 0)

  def test_a_slice_that_is_gone_is_made_again(self):
    tools, log = self._tools(
      gcloud="""
case "$*" in
  *ssh*) [[ -e "$STATE" ]] ;;
  *describe*) echo PREEMPTED ;;
  *create*) touch "$STATE" ;;
esac
"""
    )
    state = log.with_name("state")
    done = _bash(
      "launch/tpu_pod.sh",
      PATH=tools,
      STATE=str(state),
      LOG=str(log),
      AGAIN_S="0",
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    verbs = [line.split()[4] for line in log.read_text().splitlines()]
    self.assertEqual(verbs, ["ssh", "describe", "delete", "create", "ssh"])

  @pytest.mark.slow
  @pytest.mark.timeout(600)
  def test_a_preempted_job_of_slurm_goes_on_to_the_end(self):
    # Stands for SLURM's: starts the command, and preempts it once.
    tools, log = self._tools(
      srun="""
"$@" & child=$!
if [[ ! -e "$WORKDIR/preempted" ]]; then
  until [[ -s "$WORKDIR/metrics.jsonl" ]]; do
    kill -0 $child || exit 1
    sleep 0.1
  done
  touch "$WORKDIR/preempted"
  kill -TERM $child
fi
wait $child
""",
      scontrol="",
    )
    workdir = log.with_name("run")
    workdir.mkdir()
    environment = {
      "PATH": f"{pathlib.Path(sys.executable).parent}:{tools}",
      "LOG": str(log),
      "WORKDIR": str(workdir),
      "JAX_PLATFORMS": "cpu",
      "SLURM_JOB_ID": str(os.getpid()),
      "SLURM_JOB_NUM_NODES": "1",
      "SLURM_NTASKS": "1",
      "SLURM_STEP_NUM_TASKS": "1",
      "SLURM_STEP_NODELIST": "localhost",
      "SLURM_PROCID": "0",
      "SLURM_LOCALID": "0",
    }
    arguments = (
      "--config.run_phases=('decoders',)",
      "--config.phases.decoders.steps=1000",
      "--config.log_every=20",
      # What a preemption saves is what there is to go on from.
      "--config.checkpoint_every=1000",
    )
    first = _bash("launch/slurm.sbatch", *arguments, **environment)
    self.assertEqual(first.returncode, 75, first.stderr)
    self.assertIn("train: stopped in decoders", first.stdout)
    made = (workdir / "metrics.jsonl").read_text()
    again = _bash("launch/slurm.sbatch", *arguments, **environment)
    self.assertEqual(again.returncode, 0, again.stderr)
    self.assertIn("train: done", again.stdout)
    # Lines have times, so none of these steps was made again.
    metrics = (workdir / "metrics.jsonl").read_text()
    self.assertStartsWith(metrics, made)
    self.assertEqual(json.loads(metrics.splitlines()[-1])["step"], 1000)
    self.assertEqual(
      [line for line in log.read_text().splitlines() if "requeue" in line],
      [f"scontrol requeue {os.getpid()}"],
    )

  def _tools(self, **scripts: str) -> tuple[str, pathlib.Path]:
    """A PATH with commands that note how they are called, and their notes."""
    folder = pathlib.Path(self.create_tempdir().full_path)
    for name, script in scripts.items():
      tool = folder / name
      note = f'#!/bin/bash\necho "{name} $*" >> "$LOG"\n'
      tool.write_text(note + script)
      tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:{os.environ['PATH']}", folder / "log"


if __name__ == "__main__":
  absltest.main()
