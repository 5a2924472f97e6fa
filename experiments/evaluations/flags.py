"""Flags that several evaluations have."""

from absl import flags

from data_prep.stages.flag_words import define_output, define_paths
from experiments.sets.alignment import LOCATED_BY

flags.disclaim_key_flags()


def define_findings() -> None:
  """Defines `--output`, where an evaluation writes what it found."""
  define_output("The folder to write, new or of an earlier evaluation.")


def define_people() -> None:
  """Defines `--people`, how many of the people never trained on."""
  flags.DEFINE_integer(
    "people",
    0,
    "How many held-out people a set has; 0 takes all.",
    lower_bound=0,
  )


def define_slow_parts() -> None:
  """Defines `--bound_people` and `--protocol_photos`."""
  flags.DEFINE_integer(
    "bound_people",
    4,
    "Of how many people the true shapes are projected into the span of the 3D"
    " morphable model, which is slow.",
    lower_bound=0,
  )
  flags.DEFINE_integer(
    "protocol_photos",
    10,
    "How many photographs of the first synthetic set, and of each set of scans,"
    " are compared by every protocol, which is slow.",
    lower_bound=0,
  )


def define_set_locator() -> None:
  """Defines `--locator`, for the photographs of `--workdir`."""
  flags.DEFINE_enum(
    "locator",
    LOCATED_BY[0],
    LOCATED_BY,
    "What finds the 68 landmarks of the photographs of --workdir.",
  )


def define_meshes() -> None:
  """Defines `--meshes`, other methods' reconstructions."""
  define_paths(
    "meshes",
    "The meshes of another method as NAME=PATH or PATH, a folder with a mesh a"
    " photograph (see experiments/sets/meshes.py).",
  )
