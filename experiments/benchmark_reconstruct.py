r"""What a photograph takes, from the start of a process to files.

    python -m experiments.benchmark_reconstruct --photos='photos/*.jpg' \
      --method=fit --morphable_model=ict.npz

Starts `experiments.reconstruct` on the first photo without any program kept,
again, again with the viewer, and on all photos; then times in one process what
its parts take, beside what a user would put together of dlib, eos-py (extra
`benchmark`) and an OBJ file. Seconds of processor time are told beside those on
the clock: where other work shares the machine, only they can be compared.
"""

from absl import flags

from data_prep.photos.loose_photos import list_files
from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  NETWORK_OR_SHIPPED,
  define_morphable_model,
  define_network,
  define_path_list,
)
from experiments.benchmarks.reconstruct import tables, time_parts, time_starts
from experiments.benchmarks.results import define_figures_output, publish
from experiments.photographs.shapes import (
  FIT,
  METHODS,
  NETWORK,
  load_maker,
  method_file,
)


def define_flags() -> None:
  """Defines the photographs, the method and the rounds."""
  define_path_list(
    "photos", "Photographs, patterns as '*.jpg', or folders.", required=True
  )
  define_network(NETWORK_OR_SHIPPED)
  flags.DEFINE_enum(
    "method", NETWORK, METHODS, "What makes the faces, as of reconstruct."
  )
  define_morphable_model(
    "The 3D morphable model, an .npz of convert_morphable_model, which"
    " --method=fit fits and eos-py too; without it eos-py is left out."
  )
  flags.DEFINE_integer(
    "rounds", 5, "How often each part is called, in turn.", lower_bound=1
  )
  define_figures_output()


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  needed = "morphable_model" if values.method == FIT else "network"
  path = method_file(
    values.method,
    network=values.network,
    morphable_model=values.morphable_model,
  )
  photos = list_files(values.photos).files
  asked = [f"--method={values.method}", f"--{needed}={path}"]
  maker = load_maker(values.method, path)
  starts = time_starts(photos, asked)
  parts = time_parts(
    photos[0],
    maker,
    morphable_model=values.morphable_model,
    rounds=values.rounds,
  )
  publish(
    f"Reconstruction of {len(photos)} photographs",
    tables(starts, parts),
    {
      "starts_s": {name: list(taken) for name, taken in starts.items()},
      "parts_ms": {name: taken.milliseconds() for name, taken in parts.items()},
    },
    output=values.output,
    name="reconstruct",
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
