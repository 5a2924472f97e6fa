"""The words that every binary uses for the same thing, and their old names.

| flag | what it takes |
|---|---|
| `--network` | a trained network: `PATH`, or `NAME=PATH` where it gets a name |
| `--morphable_model` | a 3DMM, the `.npz` of `convert_morphable_model` |
| `--photos` | where photographs are |
| `--dataset` | a folder of `build_dataset` or `render_synthetic` |
| `--output` | always a folder |
| `--output_file` | the file, where a single one is the product |
| `--workdir` | the folder of a run that goes on where it stopped |
| `--batch_size`, `--batch_sizes` | a number, a list of numbers |
| `--people` | how many people |
| `--seed` | of everything random |

A path may begin with `~`. Flags defined here belong to the binary that calls.
"""

from collections.abc import Mapping, Sequence
import os

from absl import flags

from disentangle3d.types import UserError

flags.disclaim_key_flags()

NETWORK = (
  "A trained network, NAME=PATH or PATH: a training workdir, or an exported"
  " folder."
)
MORPHABLE_MODEL = "The 3D morphable model, an .npz of convert_morphable_model."
OUTPUT = "The folder to write."
_OLD: dict[str, str] = {}


class _PathParser(flags.ArgumentParser):
  """Expands `~`, after the `NAME=` of a named path too."""

  def parse(self, argument: str) -> str:
    name, equals, path = argument.partition("=")
    if equals and path.startswith("~"):
      return f"{name}={os.path.expanduser(path)}"
    return os.path.expanduser(argument)

  def flag_type(self) -> str:
    return "path"


def define_path(
  name: str, help: str, *, default: str | None = None, required: bool = False
) -> None:
  """Defines a flag for one path.

  Args:
    name: Of the flag.
    help: A whole sentence.
    default: Where it is not given.
    required: Whether it must be given.
  """
  flags.DEFINE(
    *(_PathParser(), name, default, help),
    serializer=flags.ArgumentSerializer(),
    required=required,
  )


def define_paths(name: str, help: str, *, required: bool = False) -> None:
  """Defines a flag for paths, or `NAME=PATH`, that may be given repeatedly.

  Args:
    name: Of the flag.
    help: A whole sentence; that it may be repeated is added.
    required: Whether it must be given at least once.
  """
  flags.DEFINE_multi(
    *(_PathParser(), flags.ArgumentSerializer(), name),
    None if required else [],
    f"{help} Repeat the flag for more.",
    required=required,
  )


def define_network(help: str = NETWORK, *, required: bool = False) -> None:
  """Defines `--network`, one trained network."""
  define_path("network", help, required=required)


def define_networks(help: str = NETWORK, *, required: bool = True) -> None:
  """Defines `--network`, any number of trained networks."""
  define_paths("network", help, required=required)


def define_morphable_model(
  help: str = MORPHABLE_MODEL, *, required: bool = False
) -> None:
  """Defines `--morphable_model`."""
  define_path("morphable_model", help, required=required)


def define_output(
  help: str = OUTPUT, *, default: str | None = None, required: bool = True
) -> None:
  """Defines `--output`, a folder."""
  define_path("output", help, default=default, required=required)


def define_batch_sizes(default: Sequence[int], help: str) -> None:
  """Defines `--batch_sizes`, a list of numbers; read it by `numbers_of`."""
  flags.DEFINE_list("batch_sizes", [str(size) for size in default], help)


def numbers_of(name: str, values: Sequence[str]) -> list[int]:
  """The numbers of a list flag.

  Args:
    name: The flag's, for the error.
    values: What was given.

  Raises:
    UserError: One is not a positive whole number.
  """
  for value in values:
    if not value.isdecimal() or int(value) < 1:
      raise UserError(
        f"--{name}: expected whole numbers from 1, separated by commas, got"
        f" {','.join(values)!r}"
      )
  return [int(value) for value in values]


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


def was(**old_names: str) -> None:
  """Tells today's names of flags: `was(params="network")`.

  The old name goes on working for this release, with a warning, and no help
  lists it. A name with dots stands for all that begins with it, which is how
  parts of a config are renamed: `was(**{"config.old": "config.new"})`.

  Args:
    **old_names: Today's name for each old one.
  """
  _OLD.update(old_names)


def today(
  argv: Sequence[str], renamed: Mapping[str, str] | None = None
) -> tuple[list[str], list[str]]:
  """A command line in today's names.

  Args:
    argv: The command line, with the program's name.
    renamed: Today's names by old ones; those told to `was` where not given.

  Returns:
    The command line with today's names, and a warning for each old one.
  """
  renamed = _OLD if renamed is None else renamed
  words, warnings = list(argv[:1]), []
  for word in argv[1:]:
    dashes = word[: len(word) - len(word.lstrip("-"))]
    name, equals, value = word[len(dashes) :].partition("=")
    new = _todays(name, renamed) if dashes in ("-", "--") else None
    if new is None:
      words.append(word)
      continue
    words.append(f"{dashes}{new}{equals}{value}")
    warnings.append(f"--{name} is called --{new} now")
  return words, warnings


def _todays(name: str, renamed: Mapping[str, str]) -> str | None:
  """Today's name of an old one, by its longest known beginning; or None."""
  beginning = name
  while beginning:
    if beginning in renamed:
      return renamed[beginning] + name[len(beginning) :]
    beginning = beginning.rpartition(".")[0]
  return None
