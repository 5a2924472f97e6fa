r"""Whether an accelerator computes what a CPU does, and repeats itself.

    python -m experiments.accelerator_checks --output=runs/checks

Everything runs once on the default device and once on the CPU, from the same
numbers: rendering, the landmark fit, the network in both precisions, the train
step. The train step also runs twice on the device. Exit status 1 if a
difference is beyond its bound. `--tiny` is the same program small.
"""

from absl import flags

from data_prep.stages import command_line
from disentangle3d.types import UserError
from experiments.benchmarks.accelerator_checks import run_checks, table_of
from experiments.benchmarks.results import define_figures_output, publish


def define_flags() -> None:
  """Defines the small way."""
  flags.DEFINE_bool(
    "tiny", False, "Whether the world and the network are small."
  )
  define_figures_output()


def main() -> None:
  """Runs all checks.

  Raises:
    UserError: One failed.
  """
  checks = run_checks(tiny=flags.FLAGS.tiny)
  publish(
    "An accelerator against its CPU",
    [table_of(checks)],
    checks,
    output=flags.FLAGS.output,
    name="checks",
  )
  failed = [one.what for one in checks if not one.passed]
  if failed:
    raise UserError(f"{len(failed)} checks failed: {'; '.join(failed)}")


if __name__ == "__main__":
  command_line.run(main, define_flags)
