r"""Photos in, 3D faces out.

    python -m experiments.reconstruct --params=runs/demo/training \
      --images='photos/*.jpg' --output=out

Every face of every photo gets a folder `out/<photo>/face1` with its full and
its identity shape (OBJ, PLY, GLB, coloured by the photo), the overlay in the
photo's own resolution, depth, normals, and result.json: codes, camera, the 68
landmarks found and projected, warnings. out/results.json lists all photos, also
those without a face, with the reason.

--pool takes the photos for one person, --smooth for the frames of a film (a
video file does as well as a folder of frames; each person is followed),
--method=fit shows what the
landmarks alone say, --precropped takes aligned crops.
"""

import pathlib

from absl import flags, logging

from data_prep.photos.loose_photos import list_files
from data_prep.stages import command_line
from disentangle3d.types import UserError
from experiments.photographs.files import FORMATS
from experiments.photographs.reconstruction import Options, reconstruct_photos
from experiments.photographs.shapes import load_maker
from experiments.photographs.sightings import Finder


def _define_flags() -> None:
  flags.DEFINE_string(
    "params", None, "The workdir of a training, or what it exported."
  )
  flags.DEFINE_list(
    "images",
    None,
    "Photos, patterns as '*.jpg', folders, or videos, apart by commas.",
    required=True,
  )
  flags.DEFINE_string(
    "output", None, "The folder to write; new or empty.", required=True
  )
  flags.DEFINE_enum(
    "method",
    "network",
    ["network", "fit"],
    "The network of --params, or the landmark fit of --morphable_model.",
  )
  flags.DEFINE_string(
    "morphable_model", None, "The .npz that --method=fit fits."
  )
  flags.DEFINE_bool("pool", False, "The photos are of one person.")
  flags.DEFINE_bool(
    "precropped", False, "The photos are aligned crops, 96 x 112 px."
  )
  flags.DEFINE_enum(
    "faces", "all", ["all", "largest"], "Which faces of a photo."
  )
  flags.DEFINE_float(
    "smooth",
    0.0,
    "Follows faces over frames, and smooths residual and camera of each by a"
    " Gaussian over time; its standard deviation in frames.",
    lower_bound=0.0,
  )
  flags.DEFINE_integer(
    "every", 1, "Of a video every so many-th frame.", lower_bound=1
  )
  flags.DEFINE_list("formats", list(FORMATS), "Of the meshes.")
  flags.DEFINE_bool(
    "viewer", False, "Writes viewer.html, a page to turn the faces in."
  )


def main() -> None:
  """Reads the flags and reports."""
  values = flags.FLAGS
  unknown = sorted(set(values.formats) - set(FORMATS))
  if unknown:
    raise UserError(
      f"--formats: expected some of {', '.join(FORMATS)}, got {unknown[0]}"
    )
  needed = "params" if values.method == "network" else "morphable_model"
  if not values[needed].value:
    raise UserError(f"--{needed}: expected with --method={values.method}")
  output = pathlib.Path(values.output)
  count = reconstruct_photos(
    list_files(values.images),
    output,
    load_maker(values.method, getattr(values, needed)),
    Finder(precropped=values.precropped),
    Options(
      pool=values.pool,
      smooth=values.smooth,
      largest=values.faces == "largest",
      every=values.every,
      formats=tuple(values.formats),
      viewer=values.viewer,
    ),
  )
  logging.info("Wrote %d faces to %s.", count, output)


if __name__ == "__main__":
  command_line.run(main, _define_flags)
