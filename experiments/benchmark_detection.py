r"""Photos a second of detect_faces' MTCNN and of the package `mtcnn`, in turn.

    python -m experiments.benchmark_detection \
      --reference_python=<environment with tensorflow-cpu and mtcnn>/bin/python

Both find faces in the same photos with the same settings, the package one
photo at a time and in batches, whichever is faster; ours once more when each
photo has a size of its own, as many pixels on average. Without --photos they
are scikit-image's astronaut (512 x 512), moved and mirrored. Seconds of
processor time are told beside those on the clock: where other work shares the
machine, only they can be compared.
"""

from absl import flags

from data_prep.faces.mtcnn.detector import Settings
from data_prep.stages import command_line
from data_prep.stages.flag_words import define_path
from disentangle3d.input_files import existing_file
from experiments.benchmarks.detection import (
  STANDARD_PHOTOS,
  photos_to_search,
  run_in_turn,
  table_of,
)
from experiments.benchmarks.results import define_figures_output, publish


def define_flags() -> None:
  """Defines the other environment, the photographs and the rounds."""
  define_path(
    "reference_python",
    "The Python of an environment with tensorflow-cpu and mtcnn, which the"
    " package's figures need.",
  )
  define_path(
    "photos",
    "A folder of photographs with a folder a person, in place of the standard"
    " ones.",
  )
  flags.DEFINE_integer(
    "num_photos",
    STANDARD_PHOTOS,
    "How many photographs are taken at most.",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "rounds", 5, "How often each finds all faces, in turn.", lower_bound=1
  )
  flags.DEFINE_float(
    "factor",
    Settings().factor,
    "How much smaller each level of the detector's pyramid is.",
  )
  define_figures_output()


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  if values.reference_python:
    existing_file(values.reference_python)
  photos = photos_to_search(values.photos, values.num_photos)
  results = run_in_turn(
    photos,
    Settings(factor=values.factor),
    values.reference_python,
    values.rounds,
  )
  publish(
    f"Face detection, {len(photos)} photographs",
    [table_of(results, len(photos))],
    {name: [run._asdict() for run in runs] for name, runs in results.items()},
    output=values.output,
    name="detection",
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
