r"""The paper's reconstruction tables on people never trained on.

    python -m experiments.evaluate_reconstruction --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --network="control: III without L_C=runs/demo/control" \
      --output=runs/demo/evaluation/reconstruction

Renders the synthetic counterparts of MICC and BU-3DFE (`synthetic_sets`),
scores networks, landmark fits, mean shape, other methods' meshes and the best
3DMM projection of the truth, and writes a folder for `experiments.report`.
Real scans (`scan_sets`) come beside them or instead:

    --florence=Florence --florence_landmarks=MICC_landmarks \
      --florence_frames=frames --florence_aligned=aligned     Table 2
    --bu3dfe=BU3DFE --bu3dfe_aligned=aligned                  Fig. 6 and 7
    --bu3dfe=BU3DFE                                           Table 1

Their aligned photos are what align_faces made of them; Table 1's are rendered
here. `--write_photos` writes the photos, for other methods to work on.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from disentangle3d.types import UserError
from experiments.evaluations.reconstruction import (
  ReconstructionTest,
  evaluate_reconstruction,
)
from experiments.pages.findings import check_output
from experiments.sets.meshes import MESHES_HELP
from experiments.sets.networks import NETWORK_HELP, read_networks
from experiments.sets.scans import ScanFolders
from experiments.sets.synthetic import TEST_SETS
from experiments.training.host import keep_freed_memory


def _define_flags() -> None:
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic."
  )
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_multi_string("meshes", [], MESHES_HELP)
  flags.DEFINE_multi_enum(
    "set", list(TEST_SETS), list(TEST_SETS), "Which synthetic sets."
  )
  flags.DEFINE_integer("people", 0, "Held-out people a set; 0 takes all.")
  flags.DEFINE_integer(
    "bound_people", 4, "People whose true shapes are projected (slow)."
  )
  flags.DEFINE_integer(
    "protocol_photos",
    10,
    "Photos of the first synthetic set, and of each set of scans, to compare"
    " by every protocol (slow).",
  )
  flags.DEFINE_string(
    "write_photos", None, "A new folder for the photos of the sets, PNG."
  )
  flags.DEFINE_string("florence", None, "MICC Florence: subject_01 ...")
  flags.DEFINE_string(
    "florence_landmarks", None, "The .ljson files; beside the scans if unset."
  )
  flags.DEFINE_string(
    "florence_frames", None, "The videos' frames; in --florence if unset."
  )
  flags.DEFINE_string(
    "florence_aligned", None, "What align_faces made of the frames."
  )
  flags.DEFINE_string("scene", "PTZ-Outdoor", "Of Florence's videos.")
  flags.DEFINE_integer(
    "frames_per_person", 10, "Of Florence, evenly taken; 0 takes all."
  )
  flags.DEFINE_string("bu3dfe", None, "BU-3DFE: F0001 to M0044.")
  flags.DEFINE_string(
    "bu3dfe_aligned", None, "What align_faces made of its F2D photos."
  )
  flags.DEFINE_string(
    "morphable_model",
    None,
    "The 3DMM of the networks, .npz, for landmark fits of photos of scans.",
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the means."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  _check(values)
  page = evaluate_reconstruction(
    values.output,
    read_networks(values.network),
    ReconstructionTest(
      dataset=values.dataset,
      sets=values.set,
      people=values.people,
      bound_people=values.bound_people,
      scans=ScanFolders(
        florence=values.florence,
        florence_landmarks=values.florence_landmarks,
        florence_frames=values.florence_frames,
        florence_aligned=values.florence_aligned,
        scene=values.scene,
        frames_per_person=values.frames_per_person,
        bu3dfe=values.bu3dfe,
        bu3dfe_aligned=values.bu3dfe_aligned,
      ),
      morphable_model=values.morphable_model,
      meshes=values.meshes,
      protocol_photos=values.protocol_photos,
      write_photos=values.write_photos,
    ),
  )
  print(f"evaluate_reconstruction: open {page}")


def _check(values: flags.FlagValues) -> None:
  if (
    values.dataset is None and values.florence is None and values.bu3dfe is None
  ):
    raise UserError("expected at least one of --dataset, --florence, --bu3dfe")
  for flag, needed in (
    ("florence", "florence_aligned"),
    ("florence_aligned", "florence"),
    ("florence_landmarks", "florence"),
    ("florence_frames", "florence"),
    ("bu3dfe_aligned", "bu3dfe"),
  ):
    if values[flag].value is not None and values[needed].value is None:
      raise UserError(f"--{flag}: expected --{needed} beside it")
  if values.write_photos is not None:
    photos = pathlib.Path(values.write_photos)
    if photos.is_file() or (photos.is_dir() and any(photos.iterdir())):
      raise UserError(
        f"--write_photos: {photos}: expected a new or an empty folder"
      )
  for flag in (
    "people",
    "bound_people",
    "protocol_photos",
    "frames_per_person",
  ):
    value = getattr(values, flag)
    if value < 0:
      raise UserError(f"--{flag}: expected at least 0, got {value}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
