"""The flag `--config`, for every binary that trains."""

from collections.abc import Iterable
import difflib
import os
import pathlib
import re
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from disentangle3d.input_files import existing_file
from disentangle3d.types import UserError
from experiments import configs
from experiments.configs._old_names import Renamed

flags.disclaim_key_flags()

_NAME = "config"
# `--config.a.b=1`, and `--noconfig.a.b` for False.
_OVERRIDE = re.compile(rf"--?(?:no)?{_NAME}\.([^=]*)")


def define_config(
  help: str = (
    "The config, a file or the name of one of experiments/configs, e.g. demo."
  ),
  *,
  default: str | None = None,
) -> None:
  """Defines `--config`, of a file with `get_config`, and what overrides it.

  `--config.a.b=1` overrides an entry; its earlier name goes on working, with a
  warning (see `configs._old_names`), and a misspelt one is refused.

  Args:
    help: A whole sentence.
    default: Where it is not given; None makes it required.
  """
  config_flags.DEFINE_config_file(_NAME, None, help, lock_config=True)
  flag = flags.FLAGS[_NAME]
  flag.parser = _CheckedParser(flag.parser)
  if default is None:
    flags.mark_flag_as_required(_NAME)
  else:
    flags.FLAGS.set_default(_NAME, default)


class _CheckedParser(flags.ArgumentParser):
  """Checks the file, and the names that the command line overrides."""

  def __init__(self, parser: flags.ArgumentParser):
    self._parser = parser

  def flag_type(self) -> str:
    """What help calls it."""
    return self._parser.flag_type()

  def parse(self, path: str) -> ConfigDict:
    """Loads the config."""
    path = _with_file(path)
    try:
      config = self._parser.parse(path)
    except AttributeError as error:
      if error.name != "get_config":
        raise
      raise UserError(
        f"{path}: expected a file with get_config(), got one without"
      ) from error
    except (TypeError, ValueError) as error:
      # A defect of the config, which absl would take for a bad flag.
      raise RuntimeError(f"{path}: get_config() failed") from error.__context__
    words = flags.FLAGS.read_flags_from_files(sys.argv, force_gnu=False)
    for match in filter(None, map(_OVERRIDE.match, words[1:])):
      _check_key(config, match[1])
    return config


def _with_file(path: str) -> str:
  """A config's file, and what it is given after a colon.

  Args:
    path: A file; or one of this project's by its name (`demo`) or as it is
      called in the source (`experiments/configs/demo.py`), wherever that is
      installed.

  Raises:
    UserFileNotFoundError: There is no such file.
  """
  name, colon, given = path.partition(":")
  folder = pathlib.Path(configs.__file__).parent
  ours = folder / f"{pathlib.PurePath(name).stem}.py"
  above = pathlib.PurePath(name).parent.as_posix()
  if os.path.isfile(name) or above not in (".", "experiments/configs"):
    existing_file(name)
  elif ours.is_file():
    name = str(ours)
  else:
    names = [file.stem for file in sorted(folder.glob("[a-z]*.py"))]
    existing_file(
      name, otherwise=f", nor a config of this name: {', '.join(names)}"
    )
  return f"{name}{colon}{given}"


def _check_key(config: ConfigDict, path: str) -> None:
  """Checks that a config has an entry.

  Args:
    config: The config.
    path: The entry's, "a.b".

  Raises:
    UserError: It has not, and the nearest that it has is named; or it is a
      group whose keys have to be set one by one.
  """
  holder, above = config, _NAME
  for name in path.split("."):
    key, index, _ = name.partition("[")
    if not isinstance(holder, ConfigDict):
      raise UserError(f"--{_NAME}.{path}: no such key; {above} is a value")
    if key not in holder:
      raise UserError(f"--{_NAME}.{path}: no such key; {_instead(key, holder)}")
    holder, above = holder[key], f"{above}.{key}"
    if index and isinstance(holder, tuple):
      raise UserError(f"--{_NAME}.{path}: no such key; set {above} as a whole")
    if index:
      return
  if isinstance(holder, Renamed):
    raise UserError(
      f"--{_NAME}.{path}: expected a value of one of its keys"
      f" {', '.join(holder)}, got one for all"
    )


def _instead(key: str, choices: Iterable[str]) -> str:
  choices = list(choices)
  near = difflib.get_close_matches(key, choices, n=1)
  if near:
    return f"did you mean {near[0]}?"
  return f"expected one of {', '.join(choices)}"
