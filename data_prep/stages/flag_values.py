"""What the values of flags mean: names, numbers, paths that are there."""

from collections.abc import Sequence
import csv
import os

from absl import flags

from disentangle3d.stores import as_path
from disentangle3d.types import UserError, UserFileNotFoundError


def split_names(text: str) -> list[str]:
  """Names with commas between them; one that has a comma in double quotes.

  Raises:
    UserError: A line ends in it.
  """
  try:
    (names,) = csv.reader([text], skipinitialspace=True)
  except (csv.Error, ValueError) as error:
    raise UserError(
      f"expected names with commas between them, got {text!r}"
    ) from error
  return [name for name in map(str.strip, names) if name]


def numbers_of(name: str, values: Sequence[str]) -> list[int]:
  """The numbers of a list flag.

  Args:
    name: The flag's, for the error.
    values: What was given.

  Raises:
    UserError: One is not a positive whole number.
  """
  text = ",".join(values)
  numbers = text.split(",")
  for number in numbers:
    if not number.isdecimal() or int(number) < 1:
      raise UserError(
        f"--{name}: expected whole numbers from 1, separated by commas, got"
        f" {text!r}"
      )
  return [int(number) for number in numbers]


def parse_named(flag: str, text: str) -> tuple[str, str]:
  """Name and path of `NAME=PATH`; of `PATH`, the path is the name.

  A path that exists as a whole is one, whatever it holds.

  Args:
    flag: The flag's name, for the error.
    text: What was given.

  Returns:
    Name and path.

  Raises:
    UserError: The name or the path is empty.
  """
  name, equals, path = text.partition("=")
  if not equals or os.path.exists(text):
    name, path = text, text
  if not name or not path:
    raise UserError(f"--{flag}: expected NAME=PATH or PATH, got {text!r}")
  return name, path


def parse_all_named(flag: str, texts: Sequence[str]) -> dict[str, str]:
  """Paths by name, of a flag that may be repeated.

  Raises:
    UserError: A name or a path is empty, or a name is given twice.
  """
  found: dict[str, str] = {}
  for text in texts:
    name, path = parse_named(flag, text)
    if name in found:
      raise UserError(f"--{flag}: expected different names, got {name!r} twice")
    found[name] = path
  return found


def check_inputs(values: flags.FlagValues, *names: str) -> None:
  """Checks that what path flags name is there, before any of it is worked on.

  Args:
    values: Of all flags.
    names: Flags for one path, or for several, which may be `NAME=PATH`.

  Raises:
    UserFileNotFoundError: Something is not there; names the flag.
  """
  for name in names:
    value = values[name].value
    paths = [value] if isinstance(value, str) else value or ()
    for path in paths:
      if not isinstance(value, str):
        _, path = parse_named(name, path)
      # What comes after is in the file: set.zip::faces.
      if not (as_path(path).exists() or as_path(path.split("::")[0]).exists()):
        raise UserFileNotFoundError(f"--{name}: {path}: no such file or folder")
