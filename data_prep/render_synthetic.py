"""Renders people who never were, fits them, and writes a dataset of them.

    python -m data_prep.render_synthetic --output=runs/synthetic

The records are those that photographs give: crops, labels, and coefficients
fitted by `fit_landmarks` to noisy landmarks, all photos of a person at once.
The true shapes are not written: `render_photos` remakes them from the (seed,
index) in each record, in the world that `world_of` makes from the manifest.
People of the split `heldout` come after those of `train`; none is in both.

`--write=aligned` stops before the fit: crops and noisy landmarks of all people,
as align_faces writes them, for fit_faces.

Killed or stopped, the same command goes on with the shards that are missing.
"""

import dataclasses

from absl import flags, logging

from data_prep.datasets.synthetic_crops import render_aligned
from data_prep.datasets.synthetic_rendering import render_dataset
from data_prep.datasets.synthetic_set import LABELS, SyntheticSet, world_of
from data_prep.stages import command_line
from data_prep.stages.engines import engine_from_flags
from data_prep.stages.flag_words import (
  MORPHABLE_MODEL,
  STAGE_OUTPUT,
  define_engine,
  define_morphable_model,
  define_output,
  define_path,
  define_shard,
)
from data_prep.stages.folder import parse_share
from disentangle3d.crop_templates import TEMPLATES
from disentangle3d.faces.synthetic_world import ALBEDOS, JAWS, YAW_DISTRIBUTIONS
from disentangle3d.stores import as_path

_NUMBERS = {
  "people": "How many people the split train has.",
  "photos_per_person": "How many photographs each person of train has.",
  "heldout_people": "How many people the split heldout has.",
  "heldout_photos_per_person": (
    "How many photographs each person of heldout has."
  ),
  "num_vertices": "How many vertices the procedural face has.",
  "identity_modes": (
    "How many identity modes the fitter has; where it is not given, all of"
    " --morphable_model or 199 of the procedural face."
  ),
  "expression_modes": (
    "How many expression modes the fitter has; where it is not given, all of"
    " --morphable_model or 29 of the procedural face."
  ),
}


def define_flags() -> None:
  """Defines --output, --write, --shard, and a flag a setting of the set."""
  settings = SyntheticSet()
  define_output(STAGE_OUTPUT)
  define_shard()
  define_engine()
  flags.DEFINE_enum(
    "write",
    "dataset",
    ("dataset", "aligned"),
    "What is written, a dataset for training or crops and landmarks for"
    " fit_faces.",
  )
  for name, help_text in _NUMBERS.items():
    flags.DEFINE_integer(
      name, getattr(settings, name), help_text, lower_bound=1
    )
  flags.DEFINE_integer(
    "seed", settings.seed, "Decides all that is random about the photographs."
  )
  _define_looks(settings)
  flags.DEFINE_enum(
    "labels",
    settings.labels,
    LABELS,
    "Whether networks are taught the coefficients fitted to the landmarks of"
    " all photographs of a person, or the true ones.",
  )
  define_morphable_model(
    f"{MORPHABLE_MODEL} The fitter takes its first modes; without it, the world"
    " is the procedural face, which has more modes than the fitter."
  )


def _define_looks(settings: SyntheticSet) -> None:
  """Skin, and where landmarks are marked."""
  flags.DEFINE_enum(
    "albedo",
    settings.albedo,
    ALBEDOS,
    "Whether the colours of a face go with the person, change with every"
    " photograph, or are the same for all.",
  )
  flags.DEFINE_enum(
    "jaw",
    settings.jaw,
    JAWS,
    "Whether the landmarks of the jaw are vertices, or follow the visible"
    " contour as detectors report it.",
  )
  flags.DEFINE_float(
    "landmark_noise_px",
    settings.landmark_noise_px,
    "The standard deviation of the noise of the landmarks in crop pixels, where"
    " --landmark_calibration has none.",
    lower_bound=0,
  )
  define_path(
    "landmark_calibration",
    "Where on the 3D morphable model a detector marks the landmarks, an .npz of"
    " calibrate_landmarks, with whose noise the photographs' landmarks are"
    " given and fitted; auto takes the model's own or the one that ships for"
    " dlib and this model; none takes the model's vertices; a detector's name,"
    " as 'synthetic 68', the one that ships for it.",
    default=settings.landmark_calibration,
  )
  flags.DEFINE_enum(
    "template",
    settings.template,
    TEMPLATES,
    "What crops are aligned by, SphereFace's five points or all 68 landmarks.",
  )
  flags.DEFINE_enum(
    "yaw_distribution",
    settings.yaw_distribution,
    YAW_DISTRIBUTIONS,
    "How far heads are turned: mixed has three of four photographs nearly"
    " frontal, the others anywhere up to 90 degrees; uniform all anywhere;"
    " frontal none.",
  )
  define_path(
    "skins",
    "Real people's skins for the faces to wear, an .npz of make_skins; auto"
    " takes those that ship for the 3D morphable model, none paints faces.",
    default=settings.skins,
  )


def main() -> None:
  """Reads the flags, writes the dataset."""
  values = flags.FLAGS
  settings = SyntheticSet(
    **{
      field.name: getattr(values, field.name)
      for field in dataclasses.fields(SyntheticSet)
    }
  )
  share, engine = parse_share(values.shard), engine_from_flags()
  output = as_path(values.output)
  world, fitter = world_of(settings)
  if values.write == "aligned":
    render_aligned(output, settings, world, share=share, engine=engine)
    return
  manifest = render_dataset(
    output, settings, world, fitter, share=share, engine=engine
  )
  for name, split in (manifest or {"splits": {}})["splits"].items():
    logging.info(
      "%s: %d photos of %d people in %s.",
      output,
      split["num_records"],
      split["num_people"],
      name,
    )


if __name__ == "__main__":
  command_line.run(main, define_flags)
