"""One writer of what was measured: tables for people, figures for programs."""

from collections.abc import Mapping, Sequence
import dataclasses
import datetime
import json
import math
import os
import pathlib
import shlex
import sys
from typing import Any

from absl import flags
import numpy as np

from data_prep.stages.flag_words import define_output
from disentangle3d.machine import machine_name, package_versions
from disentangle3d.output_files import check_folder, replace_file
from disentangle3d.reporting.html_page import Block, Paragraph, Section
from disentangle3d.reporting.markdown import markdown

flags.disclaim_key_flags()

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
_FILES = (".json", ".md")


def define_figures_output(*, required: bool = False) -> None:
  """Defines `--output`, the folder of `publish`."""
  define_output(
    "The folder to write, the tables as .md and the figures as .json.",
    required=required,
    check=lambda path: check_folder(folder_of(path)),
  )


def about() -> dict[str, Any]:
  """On what, with what, when and how something is measured."""
  program = pathlib.Path(sys.argv[0])
  command = f"python -m {program.parent.name}.{program.stem}"
  return {
    "machine": machine_name(),
    "date": datetime.date.today().isoformat(),
    "command": shlex.join([*command.split(), *sys.argv[1:]]),
    "versions": package_versions(_PACKAGES),
  }


def measured_by() -> list[str]:
  """The same in words, a paragraph each."""
  told = about()
  versions = ", ".join(f"{k} {v}" for k, v in told["versions"].items())
  return [
    f"{told['machine']}; {told['date']}; {versions}.",
    f"`{told['command']}`",
  ]


def publish(
  title: str,
  blocks: Sequence[Block],
  figures: Any,
  *,
  output: str | os.PathLike[str] | None,
  name: str,
  charts: Mapping[str, bytes] | None = None,
) -> None:
  """Prints what was measured; with `output`, writes it too.

  Args:
    title: What was measured.
    blocks: Tables, and words between them.
    figures: The same for programs: numbers, texts, dataclasses, arrays, and
      lists and mappings of these.
    output: The folder for `<name>.md`, `<name>.json` (`about`, `figures`) and
      the charts; None writes nothing.
    name: Of both files.
    charts: PNGs by file name.
  """
  words = map(Paragraph, measured_by())
  page = markdown([Section(title, [*words, *blocks])], level=1)
  print(page)
  if output is None:
    return
  folder = folder_of(output)
  folder.mkdir(parents=True, exist_ok=True)
  document = {"about": about(), "figures": _plain(figures)}
  text = json.dumps(document, indent=1, allow_nan=False) + "\n"
  replace_file(folder / f"{name}.json", text)
  replace_file(folder / f"{name}.md", page)
  for file, content in (charts or {}).items():
    replace_file(folder / file, content)


def folder_of(output: str | os.PathLike[str]) -> pathlib.Path:
  """The folder; of a file's name, as `--output` took it, without the ending."""
  path = pathlib.Path(output)
  return path.with_suffix("") if path.suffix in _FILES else path


def read_figures(path: str | os.PathLike[str]) -> Any:
  """The figures of a `.json` that `publish` wrote."""
  return json.loads(pathlib.Path(path).read_text("utf-8"))["figures"]


def _plain(value: Any) -> Any:
  """As JSON has it; no number is null."""
  match value:
    case float() | np.floating():
      return float(value) if math.isfinite(value) else None
    case np.generic() | np.ndarray():
      return _plain(value.tolist())
    case Mapping():
      return {str(key): _plain(item) for key, item in value.items()}
    case list() | tuple():
      return [_plain(item) for item in value]
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {
      field.name: _plain(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
  return value
