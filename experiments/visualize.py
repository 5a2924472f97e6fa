r"""The paper's pictures: Fig. 9 (bases), Fig. 5 and 8 (galleries), Fig. 1.

    python -m experiments.visualize --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --output=runs/demo/evaluation/pictures

Networks are named in the order of training: Fig. 9 shows the bases of all, the
galleries what the last one makes of the held-out people of each `--dataset`:
synthetic people, with their true shapes, or photographs. `--lfw_pairs` shows
two photographs of each of `--people` people of LFW, which align_faces aligned
(`--lfw_aligned`). Writes a folder for `experiments.report`.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  define_landmark_calibration,
  define_networks,
  define_path,
  define_paths,
  was,
)
from disentangle3d.machine import keep_freed_memory
from disentangle3d.types import UserError
from experiments.evaluations.flags import define_findings, define_meshes
from experiments.evaluations.pictures import TITLE, draw_pictures
from experiments.pages.findings import output_of
from experiments.sets.alignment import PhotoSource, aligned_folder
from experiments.sets.networks import read_networks, template_of
from experiments.sets.published import genuine_photos


def define_flags() -> None:
  """Defines networks, whom to show, and --output."""
  define_networks()
  define_findings()
  define_paths(
    "dataset",
    "A folder of build_dataset or render_synthetic, whose held-out people are"
    " shown.",
  )
  was(photos="dataset")
  define_path("lfw_pairs", "The pairs.txt of LFW.")
  define_path("lfw_aligned", "The folder that align_faces made of LFW.")
  define_landmark_calibration()
  define_meshes()
  flags.DEFINE_integer(
    "bases",
    5,
    "How many basis vectors of each decoder are shown.",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "people",
    3,
    "How many people Fig. 5 shows, and of --lfw_pairs.",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "size_px", 512, "The side of every picture in pixels.", lower_bound=1
  )


def main() -> None:
  """Reads the flags, renders, writes the folder."""
  values = flags.FLAGS
  keep_freed_memory()
  with output_of(values.output, TITLE):
    page = _evaluate(values)
  print(f"visualize: open {page}")


def _evaluate(values: flags.FlagValues) -> pathlib.Path:
  if values.meshes and not values.dataset:
    raise UserError("--meshes: expected --dataset beside it")
  if (values.lfw_pairs is None) != (values.lfw_aligned is None):
    raise UserError("--lfw_pairs, --lfw_aligned: expected both or neither")
  networks = read_networks(values.network, datasets=values.dataset or ())
  pairs = []
  if values.lfw_pairs:
    source = PhotoSource(
      "lfw", aligned=values.lfw_aligned, template=template_of(networks)
    )
    aligned = aligned_folder(source, [], [])
    pairs = genuine_photos(values.lfw_pairs, aligned, people=values.people)
  return draw_pictures(
    values.output,
    networks,
    datasets=values.dataset,
    meshes=values.meshes,
    pairs=pairs,
    landmark_calibration=values.landmark_calibration,
    bases=values.bases,
    people=values.people,
    size_px=values.size_px,
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
