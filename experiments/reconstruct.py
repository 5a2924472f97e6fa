r"""Photos in, 3D faces out.

    python -m experiments.reconstruct --network=runs/demo/training \
      --photos='photos/*.jpg' --output=out

Every face of every photo gets a folder `out/<photo>/face1` with its full and
its identity shape (OBJ, PLY, GLB in the photo's colours), the overlay, views
from two sides, depth, normals, and result.json: codes, camera, the 68 landmarks
found and projected, warnings. out/results.json lists all photos, also those
without a face, with the reason, and counts what was passed over. Faces are
written while the next photos are looked at; killed or stopped, the same command
goes on.

--pool takes the photos for one person, --smooth for the frames of a film (a
video file does as well as a folder of frames; each person is followed),
--method=refined fits the network's face to the landmarks, --method=fit shows
what these alone say, --precropped takes aligned crops.
"""

import pathlib

from absl import flags, logging

from data_prep.faces import dlib_locator, network_locator
from data_prep.faces.mtcnn.detector import DETECTION_SIDE
from data_prep.photos.decoding import MOST_MEGAPIXELS
from data_prep.photos.loose_photos import list_files
from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  NETWORK_OR_SHIPPED,
  STAGE_OUTPUT,
  define_detection_side,
  define_landmark_calibration,
  define_morphable_model,
  define_most_megapixels,
  define_network,
  define_output,
  define_path_list,
  was,
)
from disentangle3d.types import UserError
from experiments.photographs.files import FORMATS, OUTPUTS, OVERLAY_SIDE
from experiments.photographs.reconstruction import Options, reconstruct_photos
from experiments.photographs.shapes import (
  FIT,
  METHODS,
  NETWORK,
  load_maker,
  method_file,
)
from experiments.photographs.sightings import (
  DLIB,
  FREE_STANDING,
  SYNTHETIC,
  Finder,
)

# As manifests and landmark calibrations call them.
_DETECTORS = {DLIB: dlib_locator.NAME, SYNTHETIC: network_locator.NAME}


def define_flags() -> None:
  """Defines --network, --photos, --output and how to reconstruct."""
  define_network(NETWORK_OR_SHIPPED)
  define_path_list(
    "photos",
    "Photographs, patterns as '*.jpg', folders, or videos.",
    required=True,
  )
  define_output(STAGE_OUTPUT)
  flags.DEFINE_enum(
    "method",
    NETWORK,
    METHODS,
    "What makes the faces: the network of --network, the landmark fit about"
    " what it says of the person, or the landmark fit of --morphable_model.",
  )
  define_morphable_model(
    "The 3D morphable model that --method=fit fits, an .npz of"
    " convert_morphable_model."
  )
  define_landmark_calibration()
  flags.DEFINE_enum(
    "locator",
    SYNTHETIC,
    FREE_STANDING,
    "What finds the landmarks: the network that ships, from profile to profile"
    " and free for any use, or dlib.",
  )
  flags.DEFINE_bool("pool", False, "Takes all photographs to be of one person.")
  flags.DEFINE_bool(
    "precropped",
    False,
    "Takes the photographs to be crops aligned as the network sees them,"
    " 112 x 96 px (height x width).",
  )
  flags.DEFINE_enum(
    "faces", "all", ["all", "largest"], "Which faces of a photograph are taken."
  )
  flags.DEFINE_float(
    "smooth",
    0.0,
    "Follows faces over frames, and smooths residual and camera of each by a"
    " Gaussian over time with this standard deviation in frames.",
    lower_bound=0.0,
  )
  flags.DEFINE_integer(
    "every", 1, "Takes every so many-th frame of a video.", lower_bound=1
  )
  define_detection_side(DETECTION_SIDE)
  define_most_megapixels(MOST_MEGAPIXELS)
  _define_outputs()
  was(params="network", images="photos")


def _define_outputs() -> None:
  """What is written of a face."""
  flags.DEFINE_list(
    "outputs",
    list(OUTPUTS),
    "What is written of a face beside result.json: meshes, the overlay, views"
    " of it in the photo's colours, maps of depth and normals, the crop.",
  )
  flags.DEFINE_list("formats", list(FORMATS), "The formats of the meshes.")
  flags.DEFINE_integer(
    "overlay_side",
    OVERLAY_SIDE,
    "The longer side of overlays at most, in pixels; 0 takes the photograph's"
    " own.",
    lower_bound=0,
  )
  flags.DEFINE_bool(
    "viewer", False, "Writes viewer.html, a page to turn the faces in."
  )


def main() -> None:
  """Reads the flags and reports."""
  values = flags.FLAGS
  for name, choice in (("formats", FORMATS), ("outputs", OUTPUTS)):
    if unknown := sorted(set(values[name].value or ()) - set(choice)):
      raise UserError(
        f"--{name}: expected some of {', '.join(choice)}, got {unknown[0]}"
      )
  unread = "network" if values.method == FIT else "morphable_model"
  if values[unread].present:
    raise UserError(f"--{unread}: not read with --method={values.method}")
  source = method_file(
    values.method,
    network=values.network,
    morphable_model=values.morphable_model,
  )
  output = pathlib.Path(values.output)
  found = list_files(values.photos)
  maker = load_maker(
    values.method,
    source,
    landmark_calibration=values.landmark_calibration,
    detector=_DETECTORS[values.locator],
  )
  count = reconstruct_photos(
    found.files,
    output,
    maker,
    Finder(
      precropped=values.precropped,
      side=values.detection_side,
      locator=values.locator,
      template=maker.template,
    ),
    Options(
      pool=values.pool,
      smooth=values.smooth,
      largest=values.faces == "largest",
      every=values.every,
      formats=tuple(values.formats),
      viewer=values.viewer,
      outputs=tuple(values.outputs),
      overlay_side=values.overlay_side,
      most_megapixels=values.most_megapixels,
    ),
    passed_over=found.passed_over,
  )
  logging.info("Faces written to %s: %d.", output, count)


if __name__ == "__main__":
  command_line.run(main, define_flags)
