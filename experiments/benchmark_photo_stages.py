r"""Photos a second of each stage from photographs to the dataset, warm.

    python -m experiments.benchmark_photo_stages --model=ict.npz \
      --photos=../shared/data/orl_faces --output=stages.md

Every stage runs as its binary does, files included, in one process that has
run it before: without starting and compiling. The photographs are those of
scikit-image's astronaut, moved and mirrored: her head, 250 x 250 like a photo
of CASIA-WebFace, and all of her, 512 x 512; and those given with --photos. Fit
(without its summary) and build get the first ones, aligned, under as many names
as --fitted says.

Seconds of processor time say what a stage costs where other work shares the
machine, and what more cores would make of it: machines or processes that share
a set (--shard) wait for nothing of each other's.
"""

import pathlib

from absl import flags

from data_prep.faces.mtcnn.detector import Settings
from data_prep.stages import command_line
from disentangle3d.faces.morphable_model import (
  load_morphable_model,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.output_files import replace_file
from experiments.benchmarks.photo_stages import measure


def _define_flags() -> None:
  flags.DEFINE_string("photos", None, "A folder of photos, a folder a person.")
  flags.DEFINE_string(
    "model", None, "The .npz to fit; without, the procedural one, 199 + 29."
  )
  flags.DEFINE_integer("num_photos", 200, "A set, at most.", lower_bound=16)
  flags.DEFINE_integer(
    "fitted", 8192, "Photos for fit and build, about.", lower_bound=16
  )
  flags.DEFINE_integer("rounds", 3, "Of which the median.", lower_bound=1)
  flags.DEFINE_float("factor", Settings().factor, "Of the pyramid.")
  flags.DEFINE_string("output", None, "A file for the report, if any.")


def main() -> None:
  """Measures and prints."""
  values = flags.FLAGS
  text = measure(
    load_morphable_model(values.model)
    if values.model
    else procedural_face_model(),
    values.photos,
    num_photos=values.num_photos,
    settings=Settings(factor=values.factor),
    rounds=values.rounds,
    fitted=values.fitted,
  )
  if values.output:
    replace_file(pathlib.Path(values.output), text)
  print(text)


if __name__ == "__main__":
  command_line.run(main, _define_flags)
