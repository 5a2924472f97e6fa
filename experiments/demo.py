"""Everything once, end to end.

    python -m experiments.demo --workdir=runs/demo

Procedural face model -> synthetic people -> landmark fits -> dataset -> three
phases of training -> people never seen -> `report.html`, and one face as GLB
and PLY. Run again after an interruption, it goes on where it stopped. Exit
status 1 if a gate fails.
"""

import pathlib
import sys

from absl import flags

from data_prep.datasets.synthetic_set import SyntheticSet
from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  INSTEAD_OF_PROCEDURAL,
  define_morphable_model,
  define_path,
)
from disentangle3d.crop_templates import WHOLE_FACE
from disentangle3d.machine import keep_freed_memory
from experiments.study.demo import run_demo
from experiments.study.runs import Stopped
from experiments.training.host import quieten_libraries

# These take eight minutes on two cores.
_PEOPLE = 1_600


def define_flags() -> None:
  """Defines --workdir, --morphable_model and --seed."""
  define_path(
    "workdir", "The folder where everything goes.", default="runs/demo"
  )
  define_morphable_model(INSTEAD_OF_PROCEDURAL)
  flags.DEFINE_integer("seed", 0, "Decides people, photographs and training.")


def main() -> None:
  """Runs the demo, prints its gates."""
  quieten_libraries()
  keep_freed_memory()
  workdir = pathlib.Path(flags.FLAGS.workdir)
  settings = SyntheticSet(
    morphable_model=flags.FLAGS.morphable_model,
    seed=flags.FLAGS.seed,
    people=_PEOPLE,
    template=WHOLE_FACE,
  )
  try:
    gates = run_demo(workdir, settings)
  except Stopped:
    print("demo: stopped, saved; run the same command to go on")
    return
  for gate in gates:
    print(f"gate {'passed' if gate.passed else 'FAILED'}: {gate.text}")
  print(f"demo: open {workdir / 'report.html'}")
  if not all(gate.passed for gate in gates):
    sys.exit(1)


if __name__ == "__main__":
  command_line.run(main, define_flags)
