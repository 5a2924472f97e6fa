r"""Trains the locator of landmarks on photos that were rendered.

    python -m data_prep.render_landmark_photos --morphable_model=ict.npz \
      --output=landmark_photos
    python -m experiments.train_locator --config=locator \
      --config.photos=landmark_photos --workdir=runs/locator

Ctrl-C or SIGTERM saves and ends with status 0; the same command goes on. The
export, <workdir>/locator.npz, is what locate_landmarks takes as --weights.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_path
from experiments.training.config_flag import define_config
from experiments.training.host import keep_freed_memory, stop_on_signals
from experiments.training.locator import EXPORT, train_locator


def define_flags() -> None:
  """Defines --config and --workdir."""
  define_config(default="locator")
  define_path(
    "workdir",
    "The folder where checkpoint, metrics and export go.",
    required=True,
  )


def main() -> None:
  """Trains; bad input is one line and status 1."""
  workdir = pathlib.Path(flags.FLAGS.workdir)
  keep_freed_memory()
  with stop_on_signals() as should_stop:
    done = train_locator(flags.FLAGS.config, workdir, should_stop=should_stop)
  if done:
    print(f"train_locator: done, exported to {workdir / EXPORT}")
  else:
    print("train_locator: stopped, saved; run the same command to go on")


if __name__ == "__main__":
  command_line.run(main, define_flags)
