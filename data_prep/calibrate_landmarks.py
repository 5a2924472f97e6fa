r"""Finds where a detector marks landmarks on a morphable model, how noisily.

    python -m data_prep.calibrate_landmarks --aligned=aligned \
      --morphable_model=model.npz --output_file=calibration.npz

A detector and a model need not mean the same places by the same landmark: fits
bend the identity to explain the difference. From any photographs with
detections, best a few thousand of many people with turned heads among them,
this estimates for each landmark an offset in 3D and the covariance of its
noise, by |yaw|. Offsets are from each person's photographs with the most
resting face, so people with several are better than people with one.

Beside the file lie its numbers (.json) and a page of pictures (.html). Every
stage that fits takes the file as --landmark_calibration.
"""

import datetime
import json
import pathlib

from absl import flags, logging

from data_prep.fitting.calibration import calibrate_landmarks, read_detections
from data_prep.fitting.calibration_page import (
  calibration_page,
  calibration_summary,
)
from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  define_morphable_model,
  define_output_file,
  define_path,
)
from disentangle3d.faces.landmark_calibration import save_landmark_calibration
from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.fitting.calibration_choice import calibrated_model
from disentangle3d.output_files import replace_file
from disentangle3d.reporting.html_page import write_page
from disentangle3d.types import UserError


def define_flags() -> None:
  """Defines the photographs, the model, the file, how many, --seed."""
  define_path(
    "aligned",
    "The folder that align_faces wrote, one manifest shard of it, or a folder"
    " of .pts files with a folder a person.",
    required=True,
  )
  define_morphable_model(required=True)
  define_output_file("The calibration to write, an .npz.")
  define_path(
    "compare_with", "Another calibration of the model, to be compared with."
  )
  flags.DEFINE_string(
    "photos_name",
    None,
    "What the calibration calls the photographs; the folder's name where it is"
    " not given.",
  )
  flags.DEFINE_integer(
    "most_photos",
    6000,
    "Of more photographs, people are drawn until there are so many.",
    lower_bound=1,
  )
  flags.DEFINE_integer("seed", 0, "Draws people, and halves them.")


def main() -> None:
  """Calibrates, writes, reports."""
  values = flags.FLAGS
  output = pathlib.Path(values.output_file)
  if output.suffix != ".npz":
    raise UserError(
      f"--output_file: expected a name that ends in .npz, got {output}"
    )
  aligned = pathlib.Path(values.aligned)
  model = load_morphable_model(values.morphable_model)
  other = None
  if values.compare_with:
    other = calibrated_model(model, values.compare_with).landmark_calibration
  detections = read_detections(
    aligned, most_photos=values.most_photos, seed=values.seed
  )
  name = values.photos_name or aligned.resolve().name
  people = len(set(detections.subjects.tolist()))
  found = calibrate_landmarks(
    detections,
    model,
    source=f"{len(detections.subjects)} photographs of {people} people, {name},"
    f" {datetime.date.today()}",
    seed=values.seed,
  )
  output.parent.mkdir(parents=True, exist_ok=True)
  summary = calibration_summary(found, model, other)
  text = json.dumps(summary, indent=2) + "\n"
  replace_file(output.with_suffix(".json"), text)
  write_page(
    output.with_suffix(".html"), calibration_page(found, model, summary)
  )
  save_landmark_calibration(output, found.calibration)
  for group, means in summary["by_group_mm"].items():
    logging.info("%s, mm: %s", group, means)
  logging.info("%s: %s", output, summary["photos"])


if __name__ == "__main__":
  command_line.run(main, define_flags)
