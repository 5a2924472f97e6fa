"""The flag `--config`, for every binary that trains."""

from absl import flags
from ml_collections import config_flags

flags.disclaim_key_flags()


def define_config(
  help: str = "The config file, see experiments/configs.",
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
  config_flags.DEFINE_config_file("config", default, help, lock_config=True)
  if default is None:
    flags.mark_flag_as_required("config")
