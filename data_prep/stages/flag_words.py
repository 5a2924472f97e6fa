"""The words that every binary uses for the same thing, and their old names.

| flag | what it takes |
|---|---|
| `--network` | a trained network: `PATH`, or `NAME=PATH` where it gets a name |
| `--morphable_model` | a 3DMM, the `.npz` of `convert_morphable_model` |
| `--landmark_calibration` | `auto`, `none`, a detector or a calibration file |
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

from collections.abc import Callable, Mapping, Sequence
import os

from absl import flags

from data_prep.stages.flag_values import split_names
from disentangle3d.output_files import check_folder, check_output_file

flags.disclaim_key_flags()

NETWORK = (
  "A trained network, which is a training workdir or an exported folder."
)
NETWORK_OR_SHIPPED = f"{NETWORK} Without it, the network that ships."
NETWORKS = (
  "A trained network as NAME=PATH or PATH, which is a training workdir or an"
  " exported folder."
)
MORPHABLE_MODEL = "The 3D morphable model, an .npz of convert_morphable_model."
INSTEAD_OF_PROCEDURAL = (
  "The 3D morphable model, an .npz of convert_morphable_model; the procedural"
  " model where it is not given."
)
OUTPUT = "The folder to write."
STAGE_OUTPUT = "The folder to write, or to go on with."
DATASET = "The folder of build_dataset or render_synthetic."
ENGINES = ("local", "ray")
_OLD: dict[str, str] = {}


def expand(path: str) -> str:
  """The path with the home folder for a `~`, after a `NAME=` too."""
  name, equals, rest = path.partition("=")
  if equals and rest.startswith("~"):
    return f"{name}={os.path.expanduser(rest)}"
  return os.path.expanduser(path)


class PathParser(flags.ArgumentParser):
  """Expands `~`."""

  def parse(self, argument: str) -> str:
    """See `expand`."""
    return expand(argument)

  def flag_type(self) -> str:
    """What help calls it."""
    return "path"


class OutputParser(PathParser):
  """A path that can become what is written."""

  def __init__(self, check: Callable[[str], None]) -> None:
    """Takes what raises where a path cannot."""
    self._check = check

  def parse(self, argument: str) -> str:
    """Expands `~`, and checks it before any work."""
    path = expand(argument)
    self._check(path)
    return path


class PathListParser(flags.ListParser):
  """Paths with commas between them, `~` expanded.

  A path that has a comma is given by itself, if it is there, or in double
  quotes.
  """

  def parse(self, argument: str | list[str]) -> list[str]:
    """See `expand`."""
    if isinstance(argument, str):
      argument = (
        [argument]
        if os.path.exists(expand(argument))
        else split_names(argument)
      )
    return [expand(path) for path in argument]

  def flag_type(self) -> str:
    """What help calls it."""
    return "paths with commas between them"


class NumbersParser(flags.ArgumentParser):
  """Numbers with commas between them; see `flag_values.numbers_of`."""

  def flag_type(self) -> str:
    """What help calls it."""
    return "numbers with commas between them"


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
    *(PathParser(), name, default, help),
    serializer=flags.ArgumentSerializer(),
    required=required,
  )


def define_paths(name: str, help: str, *, required: bool = False) -> None:
  """Defines a flag for paths, or `NAME=PATH`, that may be given repeatedly.

  Args:
    name: Of the flag.
    help: A whole sentence.
    required: Whether it must be given at least once.
  """
  flags.DEFINE_multi(
    *(PathParser(), flags.ArgumentSerializer(), name),
    None if required else [],
    help,
    required=required,
  )


def define_path_list(name: str, help: str, *, required: bool = False) -> None:
  """Defines a flag for paths with commas between them; see `define_path`."""
  flags.DEFINE(
    *(PathListParser(), name, None, help),
    serializer=flags.CsvListSerializer(","),
    required=required,
  )


def define_network(help: str = NETWORK, *, required: bool = False) -> None:
  """Defines `--network`, one trained network."""
  define_path("network", help, required=required)


def define_networks(help: str = NETWORKS, *, required: bool = True) -> None:
  """Defines `--network`, any number of trained networks."""
  define_paths("network", help, required=required)


def define_morphable_model(
  help: str = MORPHABLE_MODEL, *, required: bool = False
) -> None:
  """Defines `--morphable_model`."""
  define_path("morphable_model", help, required=required)


def define_landmark_calibration() -> None:
  """Defines `--landmark_calibration`; `calibrated_model` reads it."""
  define_path(
    "landmark_calibration",
    "Where on the 3D morphable model the detector marks the landmarks, an .npz"
    " of calibrate_landmarks; auto takes the model's own, else the one that"
    " ships for this detector and model, else none; none takes the model's"
    " vertices; a detector's name, as 'dlib 68', the one that ships for it.",
    default="auto",
  )


def define_output(
  help: str = OUTPUT,
  *,
  required: bool = True,
  check: Callable[[str], None] = check_folder,
) -> None:
  """Defines `--output`, a folder; `check` raises where it cannot become one."""
  flags.DEFINE(
    *(OutputParser(check), "output", None, help),
    serializer=flags.ArgumentSerializer(),
    required=required,
  )


def define_output_file(help: str, *, required: bool = True) -> None:
  """Defines `--output_file`, where a single file is the product."""
  flags.DEFINE(
    *(OutputParser(check_output_file), "output_file", None, help),
    serializer=flags.ArgumentSerializer(),
    required=required,
  )


def define_dataset(help: str = DATASET, *, required: bool = True) -> None:
  """Defines `--dataset`, one folder."""
  define_path("dataset", help, required=required)


def define_photos(instead_of: str | None = None) -> None:
  """Defines `--photos`, a set of photographs with a folder a person.

  Args:
    instead_of: The flag that may be given in place of it.
  """
  where = (
    "a folder with a folder a person, a .zip, .tar or .tar.gz of such a folder,"
    " or a .rec file"
  )
  define_path(
    "photos",
    f"In place of --{instead_of}, where the photographs are: {where}."
    if instead_of
    else f"Where the photographs are: {where}.",
    required=not instead_of,
  )
  flags.DEFINE_string(
    "photo_licence",
    "not given",
    "The terms of use of the photographs, which are written into all that is"
    " made of them.",
  )


def define_most_megapixels(default: float) -> None:
  """Defines `--most_megapixels`."""
  flags.DEFINE_float(
    "most_megapixels",
    default,
    "Photographs with more pixels than this are refused before they are"
    " decoded; each takes about 10 bytes a pixel of memory.",
    lower_bound=0,
  )


def define_detection_side(default: int) -> None:
  """Defines `--detection_side`."""
  flags.DEFINE_integer(
    "detection_side",
    default,
    "Photographs with a longer side are shrunk to it where faces are looked"
    " for; smaller ones stay as they are.",
    lower_bound=32,
  )


def define_photos_per_shard(default: int) -> None:
  """Defines `--photos_per_shard`."""
  flags.DEFINE_integer(
    "photos_per_shard",
    default,
    "How many photographs a manifest shard has; a killed run loses one shard"
    " at most.",
    lower_bound=1,
  )


def define_heldout_people() -> None:
  """Defines `--heldout_people`; `datasets.building` reads it."""
  flags.DEFINE_string(
    "heldout_people",
    None,
    "How many people to hold out, or their names with commas between them (a"
    " name that has a comma in double quotes).",
    required=True,
  )


def define_shard() -> None:
  """Defines `--shard`; read it by `stages.folder.parse_share`."""
  flags.DEFINE_string(
    "shard",
    "0/1",
    "Which part of the work is this machine's, i/n with i from 0 to n - 1.",
  )


def define_engine() -> None:
  """Defines `--engine` and its own; read by `engines.engine_from_flags`."""
  flags.DEFINE_enum(
    "engine",
    "local",
    ENGINES,
    "Who makes the shards, this process or the workers of a Ray cluster.",
  )
  flags.DEFINE_string(
    "ray_address",
    None,
    "With --engine=ray, the cluster's address as host:port, or auto for the one"
    " that this machine belongs to; without it one is started on this machine.",
  )
  flags.DEFINE_integer(
    "worker_cpus",
    1,
    "With --engine=ray, how many cores a worker has.",
    lower_bound=1,
  )


def define_batch_sizes(default: Sequence[int], help: str) -> None:
  """Defines `--batch_sizes`, a list of numbers; see `flag_values.numbers_of`.

  It may also be given repeatedly, of which no help tells.

  Args:
    default: Where it is not given.
    help: A whole sentence.
  """
  flags.DEFINE_multi(
    *(NumbersParser(), flags.ArgumentSerializer(), "batch_sizes"),
    [",".join(str(size) for size in default)],
    help,
  )


def was(**old_names: str) -> None:
  """Tells today's names of flags: `was(params="network")`.

  The old name goes on working for this release, with a warning, and no help
  lists it. A name with dots stands for all that begins with it, which is how
  parts of a config are renamed: `was(**{"config.old": "config.new"})`. Today's
  name may bring the beginning of the value: `was(after="network=after")`.

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
  rest = iter(argv[1:])
  for word in rest:
    dashes = word[: len(word) - len(word.lstrip("-"))]
    name, equals, value = word[len(dashes) :].partition("=")
    new = _todays(name, renamed) if dashes in ("-", "--") else None
    if new is None:
      words.append(word)
      continue
    if "=" in new and not equals:
      equals, value = "=", next(rest, "")
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
