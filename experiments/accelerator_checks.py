r"""Whether an accelerator computes what a CPU does, and repeats itself.

    python -m experiments.accelerator_checks

Everything runs once on the default device and once on the CPU, from the same
numbers: rendering, the landmark fit, the network in both precisions, the train
step. The train step also runs twice on the device. Exit status 1 if a
difference is beyond its bound. `--tiny` is the same program small.
"""

from absl import flags

from data_prep.datasets.synthetic_set import (
  SyntheticSet,
)
from data_prep.stages import command_line
from disentangle3d.machine import machine_name
from disentangle3d.network.face_model import FaceModel
from disentangle3d.types import UserError
from experiments.benchmarks.accelerator_checks import (
  check_fit,
  check_network,
  check_rendering,
  check_step,
)


def _define_flags() -> None:
  flags.DEFINE_bool("tiny", False, "A small world and network.")


def main() -> None:
  """Runs all checks.

  Raises:
    UserError: One failed.
  """
  model, settings = FaceModel(), SyntheticSet()
  if flags.FLAGS.tiny:
    model = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=600)
    settings = SyntheticSet(
      num_vertices=600, identity_modes=12, expression_modes=5
    )
  print(f"{machine_name()}, against its CPU")
  failed = []
  for found in (
    check_rendering(settings),
    check_fit(settings),
    check_network(model),
    check_step(model),
  ):
    for one in found:
      word = "passed" if one.passed else "FAILED"
      print(f"{word}  {one.what}: {one.difference:.2g}, at most {one.bound:g}")
      if not one.passed:
        failed.append(one.what)
  if failed:
    raise UserError(f"{len(failed)} checks failed: {'; '.join(failed)}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
