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
import pathlib
from typing import Any

from absl import flags, logging

from data_prep.datasets.synthetic_crops import render_aligned
from data_prep.datasets.synthetic_rendering import render_dataset
from data_prep.datasets.synthetic_set import (
  SyntheticSet,
  world_of,
)
from data_prep.stages import command_line
from data_prep.stages.folder import parse_share
from disentangle3d.faces.synthetic_world import (
  ALBEDOS,
  JAWS,
)


def _define_flags() -> None:
  flags.DEFINE_string(
    "output", None, "The folder to write, or to go on with.", required=True
  )
  flags.DEFINE_string("shard", "0/1", "This machine's part, i/n.")
  flags.DEFINE_enum(
    "write",
    "dataset",
    ("dataset", "aligned"),
    "A dataset for training, or crops and landmarks for fit_faces.",
  )
  for field in dataclasses.fields(SyntheticSet):
    default: Any = field.default
    help_text = f"See SyntheticSet.{field.name}."
    match field.name:
      case "albedo":
        flags.DEFINE_enum("albedo", default, ALBEDOS, help_text)
      case "jaw":
        flags.DEFINE_enum("jaw", default, JAWS, help_text)
      case "morphable_model":
        flags.DEFINE_string("morphable_model", None, help_text)
      case "landmark_noise_px":
        flags.DEFINE_float(field.name, default, help_text)
      case _:
        flags.DEFINE_integer(field.name, default, help_text)


def main() -> None:
  """Reads the flags, writes the dataset."""
  values = flags.FLAGS
  settings = SyntheticSet(
    **{
      field.name: getattr(values, field.name)
      for field in dataclasses.fields(SyntheticSet)
    }
  )
  share = parse_share(values.shard)
  output = pathlib.Path(values.output)
  world, fitter = world_of(settings)
  if values.write == "aligned":
    render_aligned(output, settings, world, share=share)
    return
  manifest = render_dataset(output, settings, world, fitter, share=share)
  for name, split in (manifest or {"splits": {}})["splits"].items():
    logging.info(
      "%s: %d photos of %d people in %s.",
      output,
      split["num_records"],
      split["num_people"],
      name,
    )


if __name__ == "__main__":
  command_line.run(main, _define_flags)
