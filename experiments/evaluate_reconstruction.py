r"""The paper's reconstruction tables on people never trained on.

    python -m experiments.evaluate_reconstruction --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --network="control: III without L_C=runs/demo/control" \
      --output=runs/demo/evaluation/reconstruction

Renders the synthetic counterparts of MICC and BU-3DFE (`sets/synthetic.py`),
scores networks, landmark fits, mean shape, other methods' meshes and the best
3DMM projection of the truth, and writes a folder for `experiments.report`.
Real scans (`sets/scans.py`) come beside them or instead:

    --florence=Florence --florence_landmarks=MICC_landmarks \
      --florence_frames=frames --florence_aligned=aligned     Table 2
    --bu3dfe=BU3DFE --bu3dfe_aligned=aligned                  Fig. 6 and 7
    --bu3dfe=BU3DFE                                           Table 1
    --york=york_scans --workdir=aligned                       Table 2, Fig. 6, 7
    --york=york_scans --workdir=aligned --york_yaw            Table 1 as well

Their aligned photos are what align_faces made of them; Table 1's are rendered
here. `--write_photos` writes the photos, for other methods to work on.
"""

import pathlib

from absl import flags

from data_prep.evaluation_sets.york import SPLITS
from data_prep.stages import command_line
from data_prep.stages.flag_values import check_inputs
from data_prep.stages.flag_words import (
  define_dataset,
  define_landmark_calibration,
  define_morphable_model,
  define_networks,
  define_path,
  define_path_list,
  was,
)
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.machine import keep_freed_memory
from disentangle3d.types import UserError
from experiments.evaluations.flags import (
  define_findings,
  define_meshes,
  define_people,
  define_set_locator,
  define_slow_parts,
)
from experiments.evaluations.reconstruction import (
  TITLE,
  ReconstructionTest,
  evaluate_reconstruction,
)
from experiments.evaluations.york import YorkTest
from experiments.pages.findings import output_of
from experiments.sets.alignment import PhotoSource
from experiments.sets.networks import read_networks, template_of
from experiments.sets.scans import ScanFolders
from experiments.sets.synthetic import TEST_SETS

_INPUTS = (
  *("network", "dataset", "morphable_model", "meshes", "florence", "bu3dfe"),
  *("florence_landmarks", "florence_frames", "florence_aligned"),
  *("bu3dfe_aligned", "york", "york_aligned", "eos_model"),
)


def define_flags() -> None:
  """Defines networks, what to score them on, and --output."""
  define_networks(required=False)
  define_findings()
  define_dataset("The folder of render_synthetic.", required=False)
  flags.DEFINE_multi_enum(
    "test_set",
    list(TEST_SETS),
    list(TEST_SETS),
    "Which synthetic sets are scored.",
  )
  was(set="test_set")
  define_people()
  define_slow_parts()
  define_meshes()
  define_path(
    "write_photos", "A new folder for the photographs of the sets, as PNG."
  )
  _define_florence_and_bu3dfe()
  _define_york()
  define_morphable_model(
    "The 3D morphable model of the networks, an .npz of"
    " convert_morphable_model, for landmark fits of photographs of scans."
  )
  define_landmark_calibration()


def _define_florence_and_bu3dfe() -> None:
  define_path("florence", "MICC Florence, the folder with subject_01 and on.")
  define_path(
    "florence_landmarks",
    "The .ljson files of MICC Florence, where they are not beside the scans.",
  )
  define_path(
    "florence_frames",
    "The frames of the videos of MICC Florence, where they are not in"
    " --florence.",
  )
  define_path(
    "florence_aligned", "The folder that align_faces made of the frames."
  )
  flags.DEFINE_string(
    "scene", "PTZ-Outdoor", "Which videos of MICC Florence are taken."
  )
  flags.DEFINE_integer(
    "frames_per_person",
    10,
    "How many frames of a person of MICC Florence are taken, evenly; 0 takes"
    " all.",
    lower_bound=0,
  )
  define_path("bu3dfe", "BU-3DFE, the folder with F0001 to M0044.")
  define_path(
    "bu3dfe_aligned",
    "The folder that align_faces made of the F2D photographs of BU-3DFE.",
  )


def _define_york() -> None:
  define_path_list(
    "york",
    "The University of York's scans, as folders or archives, or a folder with"
    " scans.tar.xz and photos.zip.",
  )
  flags.DEFINE_enum(
    "york_split",
    "test",
    list(SPLITS),
    "Whose scans are scored; methods are to be chosen by those of development.",
  )
  define_path(
    "york_aligned",
    "The folder that align_faces made of the photographs of --york.",
  )
  define_path(
    "workdir",
    "The folder in which the photographs of --york are aligned, where"
    " --york_aligned is not given; a later run takes what is there.",
  )
  define_set_locator()
  flags.DEFINE_bool(
    "york_yaw",
    False,
    "Whether the scans of --york are scored as rendered at every yaw, too.",
  )
  flags.DEFINE_bool(
    "york_parts",
    False,
    "Whether fits with parts of the landmark calibration are scored on --york,"
    " too, one photo and all of a person: what each part adds.",
  )
  define_path(
    "eos_model",
    "A 3D morphable model, e.g. Surrey's, that eos-py (the extra benchmark)"
    " fits to the photographs of --york, an .npz of convert_morphable_model.",
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the means."""
  values = flags.FLAGS
  keep_freed_memory()
  with output_of(values.output, TITLE):
    page = _evaluate(values)
  print(f"evaluate_reconstruction: open {page}")


def _evaluate(values: flags.FlagValues) -> pathlib.Path:
  _check(values)
  check_inputs(values, *_INPUTS)
  dataset = values.dataset
  networks = read_networks(
    values.network, datasets=() if dataset is None else (dataset,)
  )
  template = template_of(networks)
  if template != SPHEREFACE and (
    values.york_yaw or values.florence or values.bu3dfe
  ):
    raise UserError(
      "--florence, --bu3dfe, --york_yaw: expected networks that see crops by"
      f" SphereFace's five points, as scans are rendered, got {template!r}"
    )
  return evaluate_reconstruction(
    values.output,
    networks,
    ReconstructionTest(
      dataset=values.dataset,
      sets=values.test_set,
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
      york=YorkTest(
        sources=values.york or (),
        split=values.york_split,
        crops=PhotoSource(
          "york",
          aligned=values.york_aligned,
          workdir=values.workdir,
          locator=values.locator,
          template=template,
        ),
        landmark_calibration=values.landmark_calibration,
        eos_model=values.eos_model,
        yaw=values.york_yaw,
        parts=values.york_parts,
        people=values.people,
      ),
      morphable_model=values.morphable_model,
      landmark_calibration=values.landmark_calibration,
      meshes=values.meshes,
      protocol_photos=values.protocol_photos,
      write_photos=values.write_photos,
    ),
  )


def _check(values: flags.FlagValues) -> None:
  sets = ("dataset", "florence", "bu3dfe", "york")
  if all(values[name].value is None for name in sets):
    raise UserError(
      f"expected at least one of {', '.join(f'--{name}' for name in sets)}"
    )
  if not values.network and values.morphable_model is None:
    raise UserError("expected --network, --morphable_model, or both")
  if not values.network and values.dataset is not None:
    raise UserError("--dataset: expected --network beside it")
  if values.york and not values.york_aligned and not values.workdir:
    raise UserError("--york: expected --york_aligned or --workdir beside it")
  for flag, needed in (
    ("florence", "florence_aligned"),
    ("florence_aligned", "florence"),
    ("florence_landmarks", "florence"),
    ("florence_frames", "florence"),
    ("bu3dfe_aligned", "bu3dfe"),
    ("york_aligned", "york"),
    ("workdir", "york"),
    ("eos_model", "york"),
  ):
    if values[flag].value is not None and values[needed].value is None:
      raise UserError(f"--{flag}: expected --{needed} beside it")
  if values.write_photos is not None:
    photos = pathlib.Path(values.write_photos)
    if photos.is_file() or (photos.is_dir() and any(photos.iterdir())):
      raise UserError(
        f"--write_photos: {photos}: expected a new or an empty folder"
      )


if __name__ == "__main__":
  command_line.run(main, define_flags)
