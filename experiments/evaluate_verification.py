r"""The paper's Table 3, and more, on any set of faces.

    python -m experiments.evaluate_verification \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --synthetic=runs/demo/dataset --output=runs/demo/evaluation/verification

`--synthetic` takes the held-out people of a dataset of render_synthetic,
`--photos` those of a dataset of build_dataset, `--lfw_pairs` and
`--ytf_splits` the published lists with the folder that align_faces made
(`--lfw_aligned`, `--ytf_aligned`), `--bin` files like lfw.bin. Several sets
may be asked for at once.
"""

from absl import flags

from data_prep.stages import command_line
from disentangle3d.types import UserError
from experiments.evaluations.verification import evaluate_verification
from experiments.pages.findings import check_output
from experiments.sets.networks import NETWORK_HELP, read_networks
from experiments.sets.published import read_face_sets
from experiments.sets.scores import read_scores
from experiments.training.host import keep_freed_memory


def _define_flags() -> None:
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_multi_string(
    "synthetic", [], "A dataset of data_prep.render_synthetic."
  )
  flags.DEFINE_multi_string("photos", [], "A dataset of build_dataset.")
  flags.DEFINE_string("lfw_pairs", None, "LFW's pairs.txt.")
  flags.DEFINE_string("lfw_aligned", None, "What align_faces made of LFW.")
  flags.DEFINE_string(
    "ytf_splits", None, "YTF's splits.txt or meta_and_splits.mat."
  )
  flags.DEFINE_string("ytf_aligned", None, "What align_faces made of YTF.")
  flags.DEFINE_integer("ytf_frames", 100, "At most so many frames a video.")
  flags.DEFINE_multi_string("bin", [], "A file like lfw.bin.")
  flags.DEFINE_multi_string(
    "scores",
    [],
    "NAME=FILE: another system's scores to fuse with, one a line (.txt) or"
    " [P] (.npy), in the order of the set's pairs; for one set only.",
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the AUCs."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  page = evaluate_verification(
    values.output,
    read_networks(values.network),
    read_face_sets(
      synthetic=values.synthetic,
      photos=values.photos,
      lfw=_together(values, "lfw_pairs", "lfw_aligned"),
      ytf=_together(values, "ytf_splits", "ytf_aligned"),
      ytf_frames=values.ytf_frames,
      bins=values.bin,
    ),
    other_scores=read_scores(values.scores),
  )
  print(f"evaluate_verification: open {page}")


def _together(
  values: flags.FlagValues, one: str, other: str
) -> tuple[str, str] | None:
  found = getattr(values, one), getattr(values, other)
  if (found[0] is None) != (found[1] is None):
    raise UserError(f"--{one}, --{other}: expected both or neither")
  return None if found[0] is None else found


if __name__ == "__main__":
  command_line.run(main, _define_flags)
