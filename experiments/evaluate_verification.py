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

from collections.abc import Sequence
import pathlib

from absl import flags

from data_prep.stages import command_line
from disentangle3d.reporting.html_page import Section
from experiments.measures.verification import measure_faces
from experiments.pages.findings import (
  PAGE,
  Findings,
  check_output,
  save_findings,
)
from experiments.pages.paper_tables import FUSION, LFW, YTF, Cell
from experiments.pages.verification import (
  face_sections,
  fusion_cells,
  paper_cells,
)
from experiments.sets.faces import FaceSet, photo_set, synthetic_sets
from experiments.sets.networks import (
  NETWORK_HELP,
  read_networks,
)
from experiments.sets.published import bin_set, lfw_set, ytf_set
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
  networks = read_networks(values.network)
  scores = read_scores(values.scores)
  sets = _read_sets(values)
  if not sets:
    raise ValueError(
      "expected at least one of --synthetic, --photos, --lfw_pairs,"
      " --ytf_splits, --bin"
    )
  if scores and len(sets) > 1:
    raise ValueError(f"--scores: expected one set of faces, got {len(sets)}")
  sections: list[Section] = []
  measured: dict[str, dict[str, Sequence[Cell]]] = {}
  for faces in sets:
    results = measure_faces(faces, networks, other_scores=scores)
    sections += face_sections(results)
    key = YTF if faces.frames is not None else LFW
    measured.setdefault(key, {}).update(paper_cells(results))
    if results.fusion:
      measured.setdefault(FUSION, {}).update(fusion_cells(results))
    for name, scored in results.rows.items():
      auc = scored.result.auc
      print(
        f"{faces.name}: {name}: AUC {auc.mean:.2f} ± {auc.std:.2f}", flush=True
      )
  output = pathlib.Path(values.output)
  save_findings(output, Findings("Verification", sections, measured))
  print(f"evaluate_verification: open {output / PAGE}")


def _read_sets(values: flags.FlagValues) -> list[FaceSet]:
  sets: list[FaceSet] = []
  for dataset in values.synthetic:
    sets += synthetic_sets(dataset)
  sets += [photo_set(dataset) for dataset in values.photos]
  for one, other in (
    ("lfw_pairs", "lfw_aligned"),
    ("ytf_splits", "ytf_aligned"),
  ):
    if (values[one].value is None) != (values[other].value is None):
      raise ValueError(f"--{one}, --{other}: expected both or neither")
  if values.lfw_pairs is not None:
    sets.append(lfw_set(values.lfw_pairs, values.lfw_aligned))
  if values.ytf_splits is not None:
    sets.append(
      ytf_set(values.ytf_splits, values.ytf_aligned, frames=values.ytf_frames)
    )
  sets += [bin_set(path) for path in values.bin]
  return sets


if __name__ == "__main__":
  command_line.run(main, _define_flags)
