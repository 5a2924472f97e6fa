r"""Photos a second of each stage from photographs to the dataset, warm.

    python -m experiments.benchmark_photo_stages --morphable_model=ict.npz \
      --photos=../shared/data/orl_faces --output=runs/stages

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

from absl import flags

from data_prep.faces.mtcnn.detector import Settings
from data_prep.stages import command_line
from data_prep.stages.flag_words import define_morphable_model, define_path, was
from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.reporting.html_page import Paragraph
from experiments.benchmarks.photo_stages import measure, table
from experiments.benchmarks.results import define_figures_output, publish


def define_flags() -> None:
  """Defines the photographs, the 3DMM and how much is timed."""
  define_path(
    "photos", "More photographs, a folder or archive with a folder a person."
  )
  define_morphable_model(
    "The 3D morphable model that is fitted, an .npz of convert_morphable_model;"
    " without it, the procedural one of 199 + 29 modes."
  )
  flags.DEFINE_integer(
    "num_photos", 200, "How many photographs a set has at most.", lower_bound=16
  )
  flags.DEFINE_integer(
    "fitted",
    8192,
    "How many photographs fit and build get, about.",
    lower_bound=16,
  )
  flags.DEFINE_integer("rounds", 3, "How often each stage runs.", lower_bound=1)
  flags.DEFINE_float(
    "factor",
    Settings().factor,
    "How much smaller each level of the detector's pyramid is.",
  )
  define_figures_output()
  was(model="morphable_model")


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  model = (
    load_morphable_model(values.morphable_model)
    if values.morphable_model
    else procedural_face_model()
  )
  times = measure(
    model,
    values.photos,
    num_photos=values.num_photos,
    settings=Settings(factor=values.factor),
    rounds=values.rounds,
    fitted=values.fitted,
  )
  what = (
    f"Factor {values.factor}; {model.name}, {model.num_vertices} vertices,"
    f" {model.identity_dim} + {model.expression_dim} modes; median of"
    f" {values.rounds}."
  )
  publish(
    "From photographs to a dataset",
    [Paragraph(what), *(table(title, one) for title, one in times.items())],
    times,
    output=values.output,
    name="photo_stages",
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
