r"""Fits a morphable model to the landmarks of aligned photos.

    python -m data_prep.fit_faces --landmarks=aligned --model=model.npz \
      --output=fitted

All photos of a subject share one identity (3.3.2, Eq. 6-7). Landmarks are taken
to the crop first; coefficients, cameras and distances are the crop's.

The output is written shard by shard, whole subjects in each: run again after
an interruption, it goes on with the next, and `--shard=i/n` shares the work
among n machines on one file system. Whoever writes the last shard writes the
summary, `summary.json` and `summary.html`.
"""

import pathlib

from absl import flags, logging

from data_prep.fitting.shards import CONTOURS, FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.stages import command_line
from data_prep.stages.folder import (
  parse_share,
)
from disentangle3d.faces.morphable_model import (
  load_morphable_model,
)
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.fitting.options import ROBUST_COSTS


def define_flags() -> None:
  """Defines --landmarks, --model, --output, and how to fit."""
  defaults = FitSettings()
  flags.DEFINE_string(
    "landmarks",
    None,
    "What align_faces wrote, one manifest shard of it, or folders of .pts.",
    required=True,
  )
  flags.DEFINE_string(
    "model", None, "The .npz convert_morphable_model wrote.", required=True
  )
  flags.DEFINE_string(
    "output",
    None,
    "The folder to write; new, empty, or of an earlier run to go on with.",
    required=True,
  )
  flags.DEFINE_string(
    "shard", "0/1", "This machine's part, i/n with i from 0 to n - 1."
  )
  flags.DEFINE_float(
    "landmark_std_px",
    defaults.options.landmark_std_px,
    "Noise of the landmarks in crop pixels; 0 takes the prior out.",
    lower_bound=0.0,
  )
  flags.DEFINE_enum(
    "robust", defaults.options.robust, ROBUST_COSTS, "Cost of a distance."
  )
  flags.DEFINE_float(
    "robust_scale_px",
    defaults.options.robust_scale_px,
    "From where on a landmark counts as an outlier, crop pixels.",
    lower_bound=0.0,
  )
  flags.DEFINE_enum(
    "contour",
    defaults.contour,
    CONTOURS,
    "Whose jaw contours follow the silhouette: detector is those of detectors"
    " that report the visible contour.",
  )
  flags.DEFINE_float(
    "max_relative_error",
    defaults.max_relative_error,
    "Rejects photos met worse than this part of the face's size (90 mm).",
    lower_bound=0.0,
  )
  flags.DEFINE_integer(
    "images_per_shard",
    defaults.images_per_shard,
    "About how many; a kill loses at most one shard.",
    lower_bound=1,
  )
  flags.DEFINE_bool(
    "skip_bad", False, "Goes on without rows that cannot be used, listed."
  )


def settings_from_flags() -> FitSettings:
  """The settings that `define_flags` asks for."""
  values = flags.FLAGS
  return FitSettings(
    options=FitOptions(
      landmark_std_px=values.landmark_std_px,
      robust=values.robust,
      robust_scale_px=values.robust_scale_px,
    ),
    contour=values.contour,
    max_relative_error=values.max_relative_error,
    images_per_shard=values.images_per_shard,
    skip_bad=values.skip_bad,
  )


def main() -> None:
  """Fits and reports."""
  output = pathlib.Path(flags.FLAGS.output)
  counts = fit_faces(
    pathlib.Path(flags.FLAGS.landmarks),
    load_morphable_model(flags.FLAGS.model),
    output,
    settings=settings_from_flags(),
    share=parse_share(flags.FLAGS.shard),
  )
  for kind, count in (counts or {}).items():
    logging.info("%s: %d %s", output, count, kind)


if __name__ == "__main__":
  command_line.run(main, define_flags)
