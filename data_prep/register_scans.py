r"""Lays a morphable model over 3D scans: labels with 3D behind them.

    python -m data_prep.register_scans --york=york_scans --aligned=aligned \
      --morphable_model=ict.npz --output=registered

Writes what fit_faces writes, for the photographs that were taken with the
scans: the coefficients of the nearest shape of the model to each scan, a
person's identity the mean over their scans. build_dataset makes a dataset of
it, which the config `photographs` mixes into training
(--config.examples.mixed_in). The 60 development people of the University of
York's set are taken; the others are to test on.
"""

import pathlib

from absl import flags

from data_prep.evaluation_sets.york import SPLITS
from data_prep.fitting.registration import register_scans
from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  STAGE_OUTPUT,
  define_morphable_model,
  define_output,
  define_path,
  define_path_list,
)
from disentangle3d.faces.morphable_model import load_morphable_model


def define_flags() -> None:
  """Defines --york, --york_split, --aligned, --morphable_model, --output."""
  define_path_list(
    "york",
    "The University of York's scans, as folders or archives, or a folder with"
    " scans.tar.xz and photos.zip.",
    required=True,
  )
  flags.DEFINE_enum(
    "york_split", "development", list(SPLITS), "Whose scans are taken."
  )
  define_path(
    "aligned",
    "The folder that align_faces made of the photographs of --york.",
    required=True,
  )
  define_morphable_model(required=True)
  define_output(STAGE_OUTPUT)


def main() -> None:
  """Registers; says what is ok and what is not."""
  register_scans(
    flags.FLAGS.york,
    pathlib.Path(flags.FLAGS.aligned),
    load_morphable_model(flags.FLAGS.morphable_model),
    pathlib.Path(flags.FLAGS.output),
    split=flags.FLAGS.york_split,
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
