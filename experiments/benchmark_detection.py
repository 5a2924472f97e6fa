r"""Photos a second of detect_faces' MTCNN and of the package `mtcnn`, in turn.

    python -m experiments.benchmark_detection \
      --reference_python=<environment with tensorflow-cpu and mtcnn>/bin/python

Both find faces in the same photos with the same settings, the package one
photo at a time and in batches, whichever is faster. Without --photos they are
scikit-image's astronaut (512 x 512), moved and mirrored. Seconds of processor
time are told beside those on the clock: where other work shares the machine,
only they can be compared.
"""

from absl import flags

from data_prep.faces.mtcnn.detector import Settings
from data_prep.stages import command_line
from experiments.benchmarks.detection import (
  _STANDARD_PHOTOS,
  _photos,
  report,
  run_in_turn,
)


def _define_flags() -> None:
  paper = Settings()
  flags.DEFINE_string(
    "reference_python",
    None,
    "The Python of an environment with tensorflow-cpu and mtcnn.",
    required=True,
  )
  flags.DEFINE_string("photos", None, "A folder of photos, a folder a person.")
  flags.DEFINE_integer(
    "num_photos", _STANDARD_PHOTOS, "At most so many.", lower_bound=1
  )
  flags.DEFINE_integer("rounds", 5, "Of which the median.", lower_bound=1)
  flags.DEFINE_float("factor", paper.factor, "Of the pyramid.")


def main() -> None:
  """Measures and prints."""
  photos = _photos(flags.FLAGS.photos, flags.FLAGS.num_photos)
  results = run_in_turn(
    photos,
    Settings(factor=flags.FLAGS.factor),
    flags.FLAGS.reference_python,
    flags.FLAGS.rounds,
  )
  print(report(results, len(photos)))


if __name__ == "__main__":
  command_line.run(main, _define_flags)
