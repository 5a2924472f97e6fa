r"""From photographs to a dataset in one command.

    python -m data_prep.prepare_dataset --photos=photos \
      --morphable_model=model.npz --output=prepared --heldout_people=6

Runs the five stages one after another, each with a folder of its own, and
writes a page of pictures that shows what they made of each photo:

    prepared/  detected/  located/  aligned/  fitted/  dataset/  photos.html

Every flag of a stage can be set: --set=detect_faces.factor=0.709. Killed or
stopped, the same command goes on where it was. Machines that share the folder
take a part each with --shard=i/n: each waits for the others after each stage,
and the first one writes the page.
"""

import sys

from absl import flags

from data_prep.datasets.preflight import check_steps
from data_prep.datasets.preparation import (
  parse_options,
  plan_steps,
  prepare_dataset,
)
from data_prep.faces.location import LOCATORS
from data_prep.photos.photo_sets import list_set
from data_prep.stages import command_line
from data_prep.stages.engines import engine_from_flags
from data_prep.stages.flag_values import check_inputs
from data_prep.stages.flag_words import (
  STAGE_OUTPUT,
  define_engine,
  define_heldout_people,
  define_landmark_calibration,
  define_morphable_model,
  define_output,
  define_photos,
  define_shard,
  was,
)
from data_prep.stages.folder import parse_share
from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.fitting.calibration_choice import AUTO
from disentangle3d.stores import as_path


def define_flags() -> None:
  """Defines what most sets need of the stages' flags, and --set."""
  define_photos()
  define_morphable_model(required=True)
  define_landmark_calibration()
  define_output(STAGE_OUTPUT)
  define_heldout_people()
  flags.DEFINE_enum("locator", "dlib", LOCATORS, "What finds the landmarks.")
  flags.DEFINE_multi_string(
    "set",
    [],
    "A flag of a stage as stage.flag=value, e.g. detect_faces.faces=largest or"
    " locate_landmarks.fan_python=fan/bin/python.",
  )
  define_shard()
  define_engine()
  flags.DEFINE_integer(
    "pictures",
    200,
    "How many photographs the page shows at most.",
    lower_bound=1,
  )
  was(images="photos", model="morphable_model")


def main() -> None:
  """Runs all stages."""
  values = flags.FLAGS
  check_inputs(values, "photos", "morphable_model")
  options = {
    "detect_faces": {"photo_licence": values.photo_licence},
    "locate_landmarks": {"locator": values.locator},
    "build_dataset": {"heldout_people": values.heldout_people},
  }
  if values.landmark_calibration != AUTO:
    options["fit_faces"] = {"landmark_calibration": values.landmark_calibration}
  for stage, own in parse_options(values.set).items():
    options.setdefault(stage, {}).update(own)
  output = as_path(values.output)
  steps = plan_steps(values.photos, values.morphable_model, output, options)
  share, engine = parse_share(values.shard), engine_from_flags()
  check_steps(
    steps,
    output,
    # The first stage tells what is passed over.
    list_set(values.photos).photos,
    load_morphable_model(values.morphable_model),
  )
  if not prepare_dataset(
    steps, output, share=share, engine=engine, most_pictures=values.pictures
  ):
    sys.exit(1)


if __name__ == "__main__":
  command_line.run(main, define_flags)
