r"""Measures the landmark fitter: speed, optimum, images, yaw.

    python -m experiments.benchmark_fitting --output=runs/benchmark_fitting

One run writes `fitting.json`, `fitting.md` (the tables) and two charts, and
prints the tables; --speed_only leaves all but the first out. On an accelerator
pass --num_images=488848. The comparison with eos-py needs the extra
`benchmark`.
"""

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_morphable_model, was
from experiments.benchmarks.fitting import accuracy, models_of, speed
from experiments.benchmarks.results import define_figures_output, publish


def define_flags() -> None:
  """Defines --output, --morphable_model and the sizes of the trials."""
  define_figures_output(required=True)
  define_morphable_model(
    "The 3D morphable model, an .npz of convert_morphable_model; without it,"
    " the procedural one."
  )
  for name, default, text in (
    ("num_images", 50_000, "How many images the trial of the speed fits."),
    ("problems", 100, "How many subjects are compared with SciPy."),
    ("people", 40, "How many people the trial on the number of images has."),
    ("num_photos", 1_200, "How many photos are rendered for the yaw's trial."),
  ):
    flags.DEFINE_integer(name, default, text, lower_bound=1)
  flags.DEFINE_bool(
    "speed_only", False, "Whether all other trials are left out."
  )
  flags.DEFINE_bool(
    "eos", True, "Whether to compare with eos-py (extra benchmark)."
  )
  was(images="num_images", subjects="people", photos="num_photos")


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  world, fitter = models_of(values.morphable_model)
  charts: dict[str, bytes] = {}
  blocks, figures = speed(
    fitter, num_images=values.num_images, with_eos=values.eos
  )
  if not values.speed_only:
    others, more, charts = accuracy(
      world,
      fitter,
      num_problems=values.problems,
      num_subjects=values.people,
      num_photos=values.num_photos,
      with_eos=values.eos,
    )
    blocks += others
    figures |= more
  publish(
    "The landmark fitter",
    blocks,
    figures,
    output=values.output,
    name="fitting",
    charts=charts,
  )


if __name__ == "__main__":
  command_line.run(main, define_flags, keeps_programs=False)
