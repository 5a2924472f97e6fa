r"""Fits a morphable model to the landmarks of aligned photos.

    python -m data_prep.fit_faces --aligned=aligned \
      --morphable_model=model.npz --output=fitted

All photos of a subject share one identity (3.3.2, Eq. 6-7). Landmarks are taken
to the crop first; coefficients, cameras and distances are the crop's. With
--about the prior's means are what a network says of each photo.

The output is written shard by shard, whole subjects in each: run again after
an interruption, it goes on with the next, and `--shard=i/n` shares the work
among n machines on one file system. Whoever writes the last shard writes the
summary, `summary.json` and `summary.html`.
"""

from absl import flags, logging

from data_prep.fitting.network_prior import load_prior
from data_prep.fitting.shards import CONTOURS, FitSettings
from data_prep.fitting.stage import check_model, fit_faces
from data_prep.stages import command_line
from data_prep.stages.engines import engine_from_flags
from data_prep.stages.flag_words import (
  STAGE_OUTPUT,
  define_engine,
  define_landmark_calibration,
  define_morphable_model,
  define_output,
  define_path,
  define_shard,
  was,
)
from data_prep.stages.folder import parse_share
from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.fitting.calibration_choice import calibrated_model
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.fitting.options import ABOUT_A_NETWORK, NOISES, ROBUST_COSTS
from disentangle3d.stores import as_path
from disentangle3d.training.export import SHIPPED


def define_flags() -> None:
  """Defines --aligned, --morphable_model, --output, and how to fit."""
  define_path(
    "aligned",
    "The folder that align_faces wrote, one manifest shard of it, or a folder"
    " of .pts files with a folder a person.",
    required=True,
  )
  define_morphable_model(required=True)
  define_landmark_calibration()
  define_path(
    "about",
    "A network of the same mesh, a training workdir or an export, or 'shipped':"
    " what it says of each photo is the mean of the fit's prior in place of 0,"
    " which is half as wide.",
  )
  define_output(STAGE_OUTPUT)
  define_shard()
  define_engine()
  was(landmarks="aligned", model="morphable_model")
  defaults = FitSettings()
  _define_objective(defaults.options)
  _define_photos(defaults)


def _define_objective(defaults: FitOptions) -> None:
  """What is minimised: the prior, the noise, the cost of a distance."""
  flags.DEFINE_float(
    "landmark_std_px",
    defaults.landmark_std_px,
    "The noise of the landmarks in crop pixels; 0 takes the prior out.",
    lower_bound=0.0,
  )
  flags.DEFINE_enum(
    "noise",
    defaults.noise,
    NOISES,
    "The noise of the landmarks: --landmark_std_px for all, or that of each by"
    " the calibration where it has one.",
  )
  flags.DEFINE_float(
    "noise_factor",
    defaults.noise_factor,
    "What calibrated covariances are multiplied by.",
    lower_bound=0.0,
  )
  flags.DEFINE_float(
    "expression_std",
    defaults.expression_std,
    "The standard deviation of the expression coefficients' prior; more lets"
    " faces move more before the identity explains it.",
    lower_bound=0.0,
  )
  flags.DEFINE_enum(
    "robust", defaults.robust, ROBUST_COSTS, "The cost of a distance."
  )
  flags.DEFINE_float(
    "robust_scale_px",
    defaults.robust_scale_px,
    "The distance in crop pixels beyond which a landmark is an outlier.",
    lower_bound=0.0,
  )


def _define_photos(defaults: FitSettings) -> None:
  """What is taken of photos, and how many at a time."""
  flags.DEFINE_enum(
    "contour",
    defaults.contour,
    CONTOURS,
    "Whether the jaw's vertices are taken from the silhouette as the head"
    " turns: on for every photograph, off for none, detector where the landmark"
    " detector marks the visible contour.",
  )
  flags.DEFINE_float(
    "max_relative_error",
    defaults.max_relative_error,
    "Rejects photos met worse than this part of the face's size (90 mm).",
    lower_bound=0.0,
  )
  flags.DEFINE_float(
    "max_disagreement",
    defaults.max_disagreement,
    "Rejects photos whose landmarks are farther from the face detector's five"
    " points than this part of the face's size: of locators that lay a frontal"
    " face over a profile.",
    lower_bound=0.0,
  )
  flags.DEFINE_integer(
    "images_per_shard",
    defaults.images_per_shard,
    "About how many photographs a shard has; a killed run loses one shard at"
    " most.",
    lower_bound=1,
  )
  flags.DEFINE_bool(
    "skip_bad",
    False,
    "Goes on without rows that cannot be used, and lists them.",
  )


def settings_from_flags() -> FitSettings:
  """The settings that `define_flags` asks for."""
  values = flags.FLAGS
  identity_std, expression_std = 1.0, values.expression_std
  if values.about is not None:
    identity_std = ABOUT_A_NETWORK.identity_std
    if values["expression_std"].using_default_value:
      expression_std = ABOUT_A_NETWORK.expression_std
  return FitSettings(
    about=str(SHIPPED) if values.about == "shipped" else values.about,
    options=FitOptions(
      landmark_std_px=values.landmark_std_px,
      noise=values.noise,
      noise_factor=values.noise_factor,
      expression_std=expression_std,
      identity_std=identity_std,
      robust=values.robust,
      robust_scale_px=values.robust_scale_px,
    ),
    contour=values.contour,
    max_relative_error=values.max_relative_error,
    max_disagreement=values.max_disagreement,
    landmark_calibration=values.landmark_calibration,
    images_per_shard=values.images_per_shard,
    skip_bad=values.skip_bad,
  )


def check_flags() -> None:
  """Reads the model, and sees whether it can be fitted so."""
  settings = settings_from_flags()
  model = load_morphable_model(flags.FLAGS.morphable_model)
  if settings.about is not None:
    load_prior(settings.about, model)
  check_model(calibrated_model(model, settings.landmark_calibration), settings)


def main() -> None:
  """Fits and reports."""
  output = as_path(flags.FLAGS.output)
  counts = fit_faces(
    as_path(flags.FLAGS.aligned),
    load_morphable_model(flags.FLAGS.morphable_model),
    output,
    settings=settings_from_flags(),
    share=parse_share(flags.FLAGS.shard),
    engine=engine_from_flags(),
  )
  for kind, count in (counts or {}).items():
    logging.info("%s: %d %s", output, count, kind)


if __name__ == "__main__":
  command_line.run(main, define_flags, check=check_flags)
