r"""Measures the landmark fitter: speed, optimum, images, yaw.

    python -m experiments.benchmark_fitting --output=runs/benchmark_fitting

One run writes `fitting.json`, `fitting.md` (the tables) and two figures, and
prints the tables; --speed_only leaves all but the first out. On an accelerator
pass --images=488848. The comparison with eos-py needs the extra `benchmark`.
"""

import json
import pathlib

from absl import flags

from data_prep.stages import command_line
from disentangle3d.output_files import replace_file
from experiments.benchmarks.fitting import _about, _models, accuracy, speed


def define_flags() -> None:
  """Defines --output, --morphable_model and the sizes of the trials."""
  flags.DEFINE_string("output", None, "Folder to write to.", required=True)
  flags.DEFINE_string(
    "morphable_model", None, "An .npz instead of the procedural model."
  )
  for name, default, text in (
    ("images", 50_000, "Images of the speed trial."),
    ("problems", 100, "Subjects compared with SciPy."),
    ("subjects", 40, "People of the trial on the number of images."),
    ("photos", 1_200, "Rendered photos of the trial on yaw."),
  ):
    flags.DEFINE_integer(name, default, text, lower_bound=1)
  flags.DEFINE_bool("speed_only", False, "Leave all other trials out.")
  flags.DEFINE_bool("eos", True, "Compare with eos-py (extra benchmark).")


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  output = pathlib.Path(values.output)
  world, fitter = _models(values.morphable_model)
  about = _about()
  figures: dict[str, bytes] = {}
  tables, numbers = speed(fitter, num_images=values.images, with_eos=values.eos)
  if not values.speed_only:
    others, more, figures = accuracy(
      world,
      fitter,
      num_problems=values.problems,
      num_subjects=values.subjects,
      num_photos=values.photos,
      with_eos=values.eos,
    )
    tables += f"\n\n{others}"
    numbers |= more
  heading = "; ".join(f"{name} {value}" for name, value in about.items())
  page = f"{heading}\n\n{tables}\n"
  output.mkdir(parents=True, exist_ok=True)
  print(page)
  text = json.dumps({"about": about, **numbers}, indent=2) + "\n"
  replace_file(output / "fitting.json", text)
  replace_file(output / "fitting.md", page)
  for name, content in figures.items():
    replace_file(output / name, content)


if __name__ == "__main__":
  command_line.run(main, define_flags)
