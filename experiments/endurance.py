r"""Tries readers and binaries where files, disks and clocks misbehave.

    python -m experiments.endurance --minutes=30 --photos=photos \
      --output=runs/endurance

Damaged files for every reader (a crash, an error that is not the user's or does
not name the file, more than 5 s or 1 GB are wrong); `prepare_dataset`, `train`
and `reconstruct` killed (kill -9) at random moments, on a disk that is full at
a random point, in a folder that cannot be written to, with a clock that jumps:
each must end in the same content as a run that nobody disturbed, or with one
line that names the path. Runs from a checkout, as the damaged files are the
tests'. The table of counts is printed; exit status 1 if anything was wrong.
"""

import pathlib
import shutil
import sys
import tempfile

from absl import flags

from data_prep.photos.photo_sets import list_photos
from data_prep.stages import command_line
from data_prep.stages.flag_words import define_path
from disentangle3d.types import UserError
from experiments.benchmarks.results import define_figures_output, publish
from experiments.resilience.commands import BINARIES, Command, make_commands
from experiments.resilience.trials import PARTS, blocks_of, endure

_PEOPLE, _PHOTOS = 3, 2


def define_flags() -> None:
  """Defines how long, what, and on which photographs."""
  flags.DEFINE_float("minutes", 30.0, "How long it takes, about.")
  flags.DEFINE_list("parts", list(PARTS), f"Some of {', '.join(PARTS)}.")
  flags.DEFINE_list(
    "binaries",
    list(BINARIES),
    f"Which are interrupted, some of {', '.join(BINARIES)}.",
  )
  flags.DEFINE_integer("seed", 0, "Decides damage, moments and sizes.")
  define_path(
    "photos",
    "Photographs with a face each, a folder a person, of which the first are"
    " taken; not needed for --parts=fuzz.",
  )
  define_figures_output()


def main() -> None:
  """Tries, prints and writes."""
  values = flags.FLAGS
  strange = sorted(set(values.binaries) - set(BINARIES))
  if strange or not values.binaries:
    raise UserError(
      f"--binaries: expected some of {', '.join(BINARIES)}, got"
      f" {', '.join(strange) or 'none'}"
    )
  unknown = sorted(set(values.parts) - set(PARTS))
  if unknown or not values.parts:
    raise UserError(
      f"--parts: expected some of {', '.join(PARTS)}, got {unknown}"
    )
  with tempfile.TemporaryDirectory() as folder:
    scratch = pathlib.Path(folder)
    commands: list[Command] = []
    if set(values.parts) != {"fuzz"}:
      if not values.photos:
        raise UserError("--photos: expected, or --parts=fuzz")
      commands = [
        command
        for command in make_commands(
          scratch, _few_people(values.photos, scratch)
        )
        if command.name in values.binaries
      ]
    result = endure(
      commands,
      scratch,
      minutes=values.minutes,
      parts=values.parts,
      seed=values.seed,
    )
  publish(
    "Endurance",
    blocks_of(result),
    result,
    output=values.output,
    name="endurance",
  )
  if result.wrong:
    sys.exit(1)


def _few_people(photos: str, scratch: pathlib.Path) -> pathlib.Path:
  """A few photographs of a few people, copied."""
  taken: dict[str, int] = {}
  for photo in list_photos(photos):
    count = taken.get(photo.subject, 0)
    if count >= _PHOTOS or (not count and len(taken) == _PEOPLE):
      continue
    taken[photo.subject] = count + 1
    place = scratch / "people" / photo.subject / photo.path.name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photo.path, place)
  return scratch / "people"


if __name__ == "__main__":
  command_line.run(main, define_flags)
