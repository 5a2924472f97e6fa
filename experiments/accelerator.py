r"""Every check and benchmark that an accelerator is asked for, in one command.

    python -m experiments.accelerator --output=runs/accelerator

Each part is a process of its own with a time limit (memory is given back, and
a part that fails takes none with it). After each the report is written anew:
a table of goals and figures, then what every part printed. Parts that are done
are not done again, so another machine wants another folder; --part=... takes
some. `--tiny` is the same program small, with a folder and a page of its own.
"""

import pathlib

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_output
from disentangle3d.folder_use import sole_use
from disentangle3d.output_files import replace_file
from disentangle3d.types import UserError
from experiments.benchmarks.accelerator import PARTS, report, run_part


def define_flags() -> None:
  """Defines the folder, the parts and the small way."""
  define_output("The folder to write, or to go on with, a folder a part.")
  flags.DEFINE_multi_enum(
    "part", list(PARTS), list(PARTS), "The parts to run, one flag each."
  )
  flags.DEFINE_bool(
    "tiny", False, "Whether sizes are small, to see that it runs at all."
  )


def main() -> None:
  """Runs the parts and reports after each.

  Raises:
    UserError: A part failed; the report says how.
  """
  values = flags.FLAGS
  root = pathlib.Path(values.output) / ("tiny" if values.tiny else "parts")
  page = root.with_name("tiny.md" if values.tiny else "accelerator.md")
  failed = []
  with sole_use(values.output):
    for name in values.part:
      if not run_part(name, root / name, tiny=values.tiny):
        failed.append(name)
      replace_file(page, report(root, list(PARTS)))
  print(page.read_text().split("\n## ")[0])
  if failed:
    raise UserError(f"{page}: {', '.join(failed)} failed; see there")


if __name__ == "__main__":
  command_line.run(main, define_flags)
