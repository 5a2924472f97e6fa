r"""The paper at its own size, on people who never were, in one command.

    python -m experiments.paper_scale --workdir=runs/paper

World, photographs and fits on the device; the three phases on crops held
there; then everything measured on people never seen, and a page of answers
beside the run. A stage that is done is not done again; Ctrl-C and SIGTERM save,
and the same command goes on. In so many minutes, at the scale that fits into
them, with a page after each stage:

    python -m experiments.paper_scale --workdir=runs/paper --minutes=9

`--scale=0.001` is the same program on a CPU:

    python -m experiments.paper_scale --workdir=runs/small --scale=0.001 \
      --config.model.trunk=tiny --config.batch_size=32 --test_people=10
"""

from typing import Any

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  INSTEAD_OF_PROCEDURAL,
  define_morphable_model,
  define_path,
  was,
)
from disentangle3d.folder_use import sole_use
from disentangle3d.machine import keep_freed_memory
from disentangle3d.types import NUM_VERTICES
from experiments.evaluations.flags import define_slow_parts
from experiments.study.evaluation import PEOPLE, Measuring
from experiments.study.order import STAGES, run_study
from experiments.study.plan import Budget
from experiments.study.runs import Stopped
from experiments.study.stages import open_study
from experiments.study.variants import PAPER, VARIANTS
from experiments.training.config_flag import define_config
from experiments.training.host import quieten_libraries


def define_flags() -> None:
  """Defines --config, --workdir, and what to do."""
  define_config(
    "The config with rates, epochs, batch and trunk.", default="paper_scale"
  )
  define_path("workdir", "The folder where everything goes.", required=True)
  flags.DEFINE_float(
    "scale",
    None,
    "The share of the paper's people and photographs, above 0 to 1; without it"
    " the workdir's, else what fits into --minutes, else 1.",
  )
  define_morphable_model(INSTEAD_OF_PROCEDURAL)
  flags.DEFINE_integer(
    "num_vertices",
    NUM_VERTICES,
    "How many vertices the procedural model has.",
    lower_bound=1,
  )
  flags.DEFINE_enum("stage", "all", STAGES, "What is done.")
  flags.DEFINE_multi_enum(
    "ablation",
    [PAPER],
    list(VARIANTS),
    "What is trained; all that is trained is evaluated. With --minutes all"
    " variants are, one by one, unless some are given.",
  )
  flags.DEFINE_integer("seed", 0, "Decides the training.", lower_bound=0)
  flags.DEFINE_integer(
    "world_seed", 0, "Decides people and photographs.", lower_bound=0
  )
  _define_evaluation()
  flags.DEFINE_integer(
    "render_batch_size",
    0,
    "How many photographs are rendered at a time; 0 takes 256, on a CPU 16.",
    lower_bound=0,
  )
  flags.DEFINE_float(
    "minutes",
    0.0,
    "How long the program may take, what is worth most first; what only the"
    " host can do (--bound_people, --protocol_photos, --timed_images) is left"
    " out unless given. 0 lets it run.",
    lower_bound=0,
  )
  was(people="evaluate_on", render_batch="render_batch_size")


def _define_evaluation() -> None:
  """On whom is evaluated, and how much of it."""
  flags.DEFINE_enum(
    "evaluate_on", PEOPLE[0], PEOPLE, "On which people is evaluated."
  )
  flags.DEFINE_integer(
    "test_people", 500, "How many people are never trained on.", lower_bound=1
  )
  flags.DEFINE_integer(
    "validation_people",
    200,
    "How many more people are never trained on, to choose rates by.",
    lower_bound=1,
  )
  define_slow_parts()
  flags.DEFINE_integer(
    "timed_images",
    700,
    "How many reconstructions are timed at least; 0 times none.",
    lower_bound=0,
  )


def _hurried(name: str, instead: Any) -> Any:
  """A flag's value; with --minutes something else, unless it was given."""
  flag = flags.FLAGS[name]
  given = flag.present or not flags.FLAGS.minutes
  return flag.value if given else instead


def main() -> None:
  """Runs the stages; bad input is one line and status 1."""
  values = flags.FLAGS
  budget = Budget(values.minutes)
  quieten_libraries()
  keep_freed_memory()
  with sole_use(values.workdir):
    study = open_study(
      values.workdir,
      values.config,
      scale=values.scale,
      morphable_model=values.morphable_model,
      num_vertices=values.num_vertices,
      test_people=values.test_people,
      world_seed=values.world_seed,
      render_batch_size=values.render_batch_size,
      budget=budget,
    )
    try:
      run_study(
        study,
        values.stage,
        _hurried("ablation", list(VARIANTS)),
        seed=values.seed,
        budget=budget,
        measuring=Measuring(
          people=values.evaluate_on,
          validation_people=values.validation_people,
          bound_people=_hurried("bound_people", 0),
          protocol_photos=_hurried("protocol_photos", 0),
          timed_images=_hurried("timed_images", 0),
        ),
      )
    except Stopped:
      print("paper_scale: stopped, saved; run the same command to go on")


if __name__ == "__main__":
  command_line.run(main, define_flags)
