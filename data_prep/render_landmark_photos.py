r"""Renders the photos that the locator of landmarks learns from.

    python -m data_prep.render_landmark_photos --morphable_model=ict.npz \
      --output=landmark_photos

Heads that never were, turned up to 95 degrees, and the truth about all 68
points of each: where they are, how deep, whether they are seen, and the jaw
both on the mesh and along the silhouette. experiments.train_locator reads them.

Killed or stopped, the same command goes on with the shards that are missing.
"""

import dataclasses
import pathlib

from absl import flags

from data_prep.datasets.landmark_photo_set import LandmarkPhotoSet, render_set
from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  MORPHABLE_MODEL,
  STAGE_OUTPUT,
  define_landmark_calibration,
  define_morphable_model,
  define_output,
  define_path,
  define_shard,
)
from data_prep.stages.folder import parse_share


def define_flags() -> None:
  """Defines --output, --shard, and a flag a setting of the set."""
  settings = LandmarkPhotoSet()
  define_output(STAGE_OUTPUT)
  define_shard()
  flags.DEFINE_integer(
    "num_photos", settings.num_photos, "How many photos.", lower_bound=1
  )
  flags.DEFINE_integer(
    "photos_per_person",
    settings.photos_per_person,
    "How many photos in a row show one person.",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "seed", settings.seed, "Decides all that is random about the photos."
  )
  define_path(
    "skins",
    "Real people's skins for the faces to wear, an .npz of make_skins; auto"
    " takes the one that ships for the model, none paints them.",
    default=settings.skins,
  )
  define_landmark_calibration()
  define_morphable_model(
    f"{MORPHABLE_MODEL} Without it, the world is the procedural face."
  )


def main() -> None:
  """Reads the flags, renders."""
  values = flags.FLAGS
  settings = LandmarkPhotoSet(
    **{
      field.name: getattr(values, field.name)
      for field in dataclasses.fields(LandmarkPhotoSet)
    }
  )
  share = parse_share(values.shard)
  render_set(pathlib.Path(values.output), settings, share=share)


if __name__ == "__main__":
  command_line.run(main, define_flags)
