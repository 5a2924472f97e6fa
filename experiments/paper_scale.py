r"""The paper at its own size, on people who never were, in one command.

    python -m experiments.paper_scale --workdir=runs/paper

World, photographs and fits on the device; the three phases on crops held
there; then everything measured on people never seen, and a page of answers
beside the run. A stage that is done is not done again; Ctrl-C, SIGTERM or
--minutes save, and the same command goes on. `--scale=0.001` is the same
program on a CPU:

    python -m experiments.paper_scale --workdir=runs/small --scale=0.001 \
      --config.model.trunk=tiny --config.batch_size=32 --test_people=10
"""

from absl import flags

from data_prep.stages import command_line
from disentangle3d.types import NUM_VERTICES
from experiments.study.runs import Stopped
from experiments.study.stages import (
  PEOPLE,
  STAGES,
  Measuring,
  open_study,
  run_study,
)
from experiments.study.variants import PAPER, VARIANTS
from experiments.training.config_flag import define_config
from experiments.training.host import keep_freed_memory, quieten_libraries


def _define_flags() -> None:
  define_config(
    "The config file: rates, epochs, batch and trunk.",
    default="experiments/configs/paper_scale.py",
  )
  flags.DEFINE_string("workdir", None, "Where everything goes.", required=True)
  flags.DEFINE_float("scale", 1.0, "Share of the paper's people and photos.")
  flags.DEFINE_string(
    "morphable_model", None, "An .npz to take instead of the procedural model."
  )
  flags.DEFINE_integer("num_vertices", NUM_VERTICES, "Of the procedural model.")
  flags.DEFINE_enum("stage", "all", STAGES, "What to do.")
  flags.DEFINE_multi_enum(
    "ablation",
    [PAPER],
    list(VARIANTS),
    "What to train; all that is trained is evaluated. Repeat for more.",
  )
  flags.DEFINE_integer("seed", 0, "Of the training.", lower_bound=0)
  flags.DEFINE_integer("world_seed", 0, "Of people and photos.", lower_bound=0)
  flags.DEFINE_enum("people", PEOPLE[0], PEOPLE, "Whom to evaluate on.")
  flags.DEFINE_integer("test_people", 500, "Never trained on.")
  flags.DEFINE_integer("validation_people", 200, "Neither, to choose rates by.")
  flags.DEFINE_integer(
    "bound_people", 4, "Test people whose true shapes are projected (slow)."
  )
  flags.DEFINE_integer(
    "protocol_photos", 10, "Photos to compare by every protocol (slow)."
  )
  flags.DEFINE_integer(
    "timed_images", 700, "Reconstructions to time, at least.", lower_bound=1
  )
  flags.DEFINE_integer(
    "render_batch", 0, "Photos at a time; 0 takes 256, on a CPU 16."
  )
  flags.DEFINE_float(
    "minutes", 0.0, "Stop training, saved, after so long; 0: never."
  )


def main() -> None:
  """Runs the stages; bad input is one line and status 1."""
  values = flags.FLAGS
  quieten_libraries()
  keep_freed_memory()
  study = open_study(
    values.workdir,
    values.config,
    scale=values.scale,
    morphable_model=values.morphable_model,
    num_vertices=values.num_vertices,
    test_people=values.test_people,
    world_seed=values.world_seed,
    render_batch_size=values.render_batch,
  )
  try:
    run_study(
      study,
      values.stage,
      values.ablation,
      seed=values.seed,
      minutes=values.minutes,
      measuring=Measuring(
        people=values.people,
        validation_people=values.validation_people,
        bound_people=values.bound_people,
        protocol_photos=values.protocol_photos,
        timed_images=values.timed_images,
      ),
    )
  except Stopped:
    print("paper_scale: stopped, saved; run the same command to go on")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
