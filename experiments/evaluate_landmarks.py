r"""How well landmarks are located, from profile to profile.

    python -m experiments.evaluate_landmarks --aflw2000=aflw2000 \
      --locator=dlib,synthetic --output=runs/landmarks

On AFLW2000-3D (a folder with photos.zip and points.npz), whose faces MTCNN
finds, and on photos of render_landmark_photos (--synthetic_photos), whose
points are known. AFLW2000-3D is to test on: nothing may be chosen by it.
"""

import pathlib

from absl import flags

from data_prep.faces.location import LOCATORS, check_locator_flags, make_locator
from data_prep.stages import command_line
from data_prep.stages.flag_words import define_path
from disentangle3d.types import UserError
from experiments.evaluations.flags import define_findings
from experiments.evaluations.landmarks import TITLE, evaluate_landmarks
from experiments.pages.findings import output_of
from experiments.sets.landmark_sets import aflw2000_set, synthetic_set

_MEASURED = tuple(kind for kind in LOCATORS if kind != "fan")


def define_flags() -> None:
  """Defines sets, locators and --output."""
  define_path("aflw2000", "The folder with AFLW2000-3D's photos and points.")
  define_path("synthetic_photos", "The folder of render_landmark_photos.")
  define_findings()
  flags.DEFINE_list(
    "locator",
    "dlib,synthetic",
    "What finds the landmarks, some of"
    f" {', '.join(_MEASURED)}, separated by commas.",
  )
  define_path(
    "weights",
    "With --locator=synthetic, what train_locator exported, in place of the"
    " network that ships.",
  )
  define_path(
    "points",
    "With --locator=pts, the folder of <image_id without suffix>.pts files.",
  )
  flags.DEFINE_integer(
    "num_photos",
    0,
    "The first so many of each set; 0 takes all.",
    lower_bound=0,
  )


def main() -> None:
  """Reads the flags, measures, writes the folder."""
  values = flags.FLAGS
  with output_of(values.output, TITLE):
    page = _evaluate(values)
  print(f"evaluate_landmarks: open {page}")


def _evaluate(values: flags.FlagValues) -> pathlib.Path:
  for kind in values.locator:
    if kind not in _MEASURED:
      raise UserError(
        f"--locator: expected some of {', '.join(_MEASURED)}, got {kind!r}"
      )
  check_locator_flags(
    values.locator, [name for name in values if values[name].present]
  )
  sets = [
    read(folder, photos=values.num_photos)
    for read, folder in (
      (aflw2000_set, values.aflw2000),
      (synthetic_set, values.synthetic_photos),
    )
    if folder
  ]
  if not sets:
    raise UserError(
      "--aflw2000, --synthetic_photos: expected one at least, got none"
    )
  locators = {
    kind: make_locator(kind, points=values.points, weights=values.weights)
    for kind in values.locator
  }
  return evaluate_landmarks(values.output, sets, locators)


if __name__ == "__main__":
  command_line.run(main, define_flags)
