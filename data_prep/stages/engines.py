"""The engine that a binary's flags ask for."""

from absl import flags

from data_prep.stages.engine import LOCAL, Engine
from data_prep.stages.extras import require
from data_prep.stages.folder import ALONE, parse_share
from data_prep.stages.ray_engine import RayEngine
from disentangle3d.types import UserError


def engine_from_flags() -> Engine:
  """The engine of `--engine`, as `flag_words.define_engine` defines it.

  Raises:
    UserError: A flag of Ray's without it, or `--shard` with it.
    UserModuleNotFoundError: The extra `ray` is not installed.
  """
  values = flags.FLAGS
  if values.engine == "local":
    for name in ("ray_address", "worker_cpus"):
      if values[name].using_default_value:
        continue
      raise UserError(f"--{name}: expected --engine=ray with it, got local")
    return LOCAL
  if parse_share(values.shard) != ALONE:
    raise UserError(
      "--shard: expected none with --engine=ray, whose workers take shards as"
      f" they come free, got {values.shard}"
    )
  require("ray", "for --engine=ray", "ray")
  return RayEngine(values.ray_address, values.worker_cpus)
