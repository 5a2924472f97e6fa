r"""Trains the locator of landmarks on photos that were rendered.

    python -m data_prep.render_landmark_photos --morphable_model=ict.npz \
      --output=landmark_photos
    python -m experiments.train_locator --landmark_photos=landmark_photos \
      --workdir=runs/locator

Ctrl-C or SIGTERM saves and ends with status 0; the same command goes on. The
export, <workdir>/locator.npz, is what locate_landmarks takes as --weights.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_path, define_paths
from disentangle3d.machine import keep_freed_memory
from experiments.training.host import stop_on_signals
from experiments.training.locator import EXPORT, LocatorSettings, train_locator


def define_flags() -> None:
  """Defines --landmark_photos, --workdir, and how long to train."""
  defaults = LocatorSettings(())
  define_paths(
    "landmark_photos",
    "The folders that render_landmark_photos wrote; a step takes as many photos"
    " of each.",
    required=True,
  )
  define_path(
    "workdir",
    "The folder where checkpoint, metrics and export go.",
    required=True,
  )
  define_path(
    "init_from",
    "Another run's export to start from, in place of nothing; layers that it"
    " lacks start afresh.",
  )
  flags.DEFINE_integer(
    "steps", defaults.steps, "How many steps there are.", lower_bound=1
  )
  flags.DEFINE_integer(
    "batch_size", defaults.batch_size, "How many photos a step.", lower_bound=1
  )
  flags.DEFINE_float(
    "learning_rate",
    defaults.learning_rate,
    "The highest learning rate.",
    lower_bound=0.0,
  )
  flags.DEFINE_integer(
    "seed", defaults.seed, "Decides all that is random about the training."
  )


def main() -> None:
  """Trains; bad input is one line and status 1."""
  values = flags.FLAGS
  workdir = pathlib.Path(values.workdir)
  settings = LocatorSettings(
    landmark_photos=tuple(values.landmark_photos),
    steps=values.steps,
    batch_size=values.batch_size,
    learning_rate=values.learning_rate,
    seed=values.seed,
    init_from=values.init_from,
  )
  keep_freed_memory()
  with stop_on_signals() as should_stop:
    done = train_locator(settings, workdir, should_stop=should_stop)
  if done:
    print(f"train_locator: done, exported to {workdir / EXPORT}")
  else:
    print("train_locator: stopped, saved; run the same command to go on")


if __name__ == "__main__":
  command_line.run(main, define_flags)
