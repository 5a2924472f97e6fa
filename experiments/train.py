"""Trains the network: python -m experiments.train --config=... --workdir=...

Ctrl-C or SIGTERM saves and ends with status 0, or with --stopped_status; the
same command goes on.
"""

import os
import pathlib
import sys

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_path
from disentangle3d.machine import keep_freed_memory
from disentangle3d.training.metric_queue import NonFiniteLossError
from disentangle3d.training.processes import Cluster, join, watched
from disentangle3d.types import UserError
from experiments.training.config_flag import define_config
from experiments.training.host import quieten_libraries, stop_on_signals
from experiments.training.runs import train


def define_flags() -> None:
  """Defines --config, --workdir, and how and with whom to train."""
  define_config()
  define_path(
    "workdir",
    "The folder where checkpoints, metrics and the export go.",
    required=True,
  )
  flags.DEFINE_bool(
    "deterministic",
    False,
    "Whether a GPU gives the same bits every time, if slower.",
  )
  flags.DEFINE_bool(
    "debug_nans",
    False,
    "Whether to stop at the first step that makes a NaN or infinity of a"
    " parameter, and name it; every step is waited for.",
  )
  flags.DEFINE_integer(
    "profile_steps",
    0,
    "How many steps of each phase are traced, to <workdir>/profile.",
    lower_bound=0,
  )
  flags.DEFINE_string(
    "coordinator",
    "",
    "The address of process 0 where there are several, host:port, or auto"
    " under SLURM, Open MPI and on TPU pods.",
  )
  flags.DEFINE_integer(
    "stopped_status",
    0,
    "The exit status of a training that was stopped and saved; another than 0"
    " tells a launcher to start it again.",
    lower_bound=0,
    upper_bound=255,
  )
  flags.DEFINE_integer("num_processes", 1, "How many processes there are.")
  flags.DEFINE_integer("process_id", 0, "Which of them this is, from 0.")


def main() -> None:
  """Trains; bad input is one line and status 1."""
  values = flags.FLAGS
  quieten_libraries()
  keep_freed_memory()
  if values.deterministic:
    flags_before = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = (
      f"{flags_before} --xla_gpu_deterministic_ops=true"
    ).strip()
  workdir = pathlib.Path(values.workdir)
  cluster = Cluster(values.coordinator, values.num_processes, values.process_id)
  join(cluster)
  try:
    with stop_on_signals() as should_stop, watched(cluster):
      outcome = train(
        values.config,
        workdir,
        should_stop=should_stop,
        profile_steps=values.profile_steps,
        debug_nans=values.debug_nans,
      )
  except NonFiniteLossError as error:
    raise UserError(str(error)) from error
  if outcome.complete:
    print(f"train: done, exported to {workdir / 'export'}")
  else:
    print(
      f"train: stopped in {outcome.phase} after step {outcome.step}, saved;"
      " run the same command to go on"
    )
    sys.stdout.flush()
    sys.exit(values.stopped_status)


if __name__ == "__main__":
  command_line.run(main, define_flags)
