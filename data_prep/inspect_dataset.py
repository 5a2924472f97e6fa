r"""Looks at every record of a dataset: a page, and an exit status.

    python -m data_prep.inspect_dataset --dataset=dataset \
      --output_file=page.html

Checks the files' checksums and counts against manifest.json; that nobody is in
two splits; that no photo of one split is in another, neither with the same
pixels nor as a near copy (see `datasets/fingerprints.py`), and none is two
people's; that labels count from 0 and belong to one person each; that
coefficients, landmarks and cameras are finite and of sane size, and that no
crop is blank.

Each violation is one line on stderr, `kind: where: what`, and there is exit
status 1 if there is any. The page shows them, and a contact sheet.
"""

import pathlib
import sys

from absl import flags

from data_prep.datasets.checks import check_dataset
from data_prep.datasets.content import Limits
from data_prep.datasets.inspection_page import inspection_page
from data_prep.stages import command_line
from data_prep.stages.flag_words import define_dataset, define_output_file, was
from disentangle3d.reporting.html_page import write_page


def define_flags() -> None:
  """Defines --dataset, --output_file, the limits, --shown, --seed."""
  limits = Limits()
  define_dataset()
  define_output_file("The HTML file to write.")
  was(output="output_file")
  flags.DEFINE_float(
    "max_coefficient",
    limits.max_coefficient,
    "The largest size of a coefficient in standard deviations.",
    lower_bound=0,
  )
  flags.DEFINE_float(
    "landmark_margin_px",
    limits.landmark_margin_px,
    "How far a visible landmark may lie outside the crop, in its pixels.",
  )
  flags.DEFINE_float(
    "min_contrast",
    limits.min_contrast,
    "The least standard deviation of a crop's grey levels.",
    lower_bound=0,
  )
  flags.DEFINE_integer(
    "near_bits",
    limits.near_bits,
    "In how many of the 64 bits of their hashes near copies differ at most.",
    lower_bound=0,
    upper_bound=15,
  )
  flags.DEFINE_float(
    "near_correlation",
    limits.near_correlation,
    "How much the thumbnails of near copies correlate at least.",
  )
  flags.DEFINE_integer(
    "shown",
    40,
    "How many photographs of each split the page shows.",
    lower_bound=0,
  )
  flags.DEFINE_integer("seed", 0, "Decides which photographs are shown.")


def main() -> None:
  """Checks, writes, reports."""
  values = flags.FLAGS
  found = check_dataset(
    pathlib.Path(values.dataset),
    Limits(
      max_coefficient=values.max_coefficient,
      landmark_margin_px=values.landmark_margin_px,
      min_contrast=values.min_contrast,
      near_bits=values.near_bits,
      near_correlation=values.near_correlation,
    ),
  )
  output = pathlib.Path(values.output_file)
  output.parent.mkdir(parents=True, exist_ok=True)
  write_page(
    output, inspection_page(found, shown=values.shown, seed=values.seed)
  )
  if found.violations:
    sys.stderr.writelines(f"{violation}\n" for violation in found.violations)
    sys.exit(1)
  for name, photos in found.splits.items():
    people = len({photo.subject for photo in photos})
    print(f"{name}: {len(photos)} photos, {people} people")
  print(f"{values.dataset}: nothing wrong was found; {values.output_file}")


if __name__ == "__main__":
  command_line.run(main, define_flags)
