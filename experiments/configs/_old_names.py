"""Configs whose keys had other names: those go on working, with a warning.

`config.phases.encoder.optimizer.rate = 1e-3` and the same as a flag set
`config.phases.latents.optimizers.encoder.rate`.
"""

from collections.abc import Mapping
import functools
import logging
from typing import Any, ClassVar

from ml_collections import ConfigDict

_logger = logging.getLogger("disentangle3d.config")
_told: set[tuple[str, str]] = set()


class Renamed(ConfigDict):
  """A ConfigDict that knows its keys' earlier names.

  Attributes:
    WHERE: What it is in a config, for warnings.
    TODAY: Where what an earlier name meant is now, as a path from here.
  """

  WHERE: ClassVar[str] = "config"
  TODAY: ClassVar[Mapping[str, str]] = {}

  def path_of(self, path: str) -> str:
    """Today's path of an earlier or today's one, from here; warns of none."""
    key, _, rest = path.partition(".")
    today = self.TODAY.get(key, key)
    below = functools.reduce(_below, today.split("."), self)
    if rest and isinstance(below, Renamed):
      rest = below.path_of(rest)
    return f"{today}.{rest}" if rest else today

  def __getitem__(self, key: str) -> Any:
    return super().__getitem__(self._today(key))

  def __setitem__(self, key: str, value: Any) -> None:
    holder, last = self._place(key)
    if holder is self:
      super().__setitem__(last, value)
    else:
      holder[last] = value

  def __contains__(self, key: object) -> bool:
    return super().__contains__(key) or key in self.TODAY

  def get_type(self, key: str) -> Any:
    """As a ConfigDict's, by either name."""
    holder, last = self._place(key)
    return super().get_type(last) if holder is self else holder.get_type(last)

  def update(self, *other: Any, **kwargs: Any) -> None:
    """As a ConfigDict's, by either name."""
    for values in (*other, kwargs):
      for key, value in values.items():
        holder, last = self._place(key)
        ConfigDict.update(holder, {last: value})

  def _place(self, key: str) -> tuple[Any, str]:
    *above, last = self._today(key).split(".")
    return functools.reduce(lambda node, name: node[name], above, self), last

  def _today(self, key: str) -> str:
    if key not in self.TODAY or ConfigDict.__contains__(self, key):
      return key
    if (self.WHERE, key) not in _told:
      _told.add((self.WHERE, key))
      _logger.warning(
        "%s.%s is called %s.%s now",
        *(self.WHERE, key, self.WHERE, self.TODAY[key]),
      )
    return self.TODAY[key]


def _below(node: Any, key: str) -> Any:
  return node.get(key) if isinstance(node, ConfigDict) else None


class RunConfig(Renamed):
  """A whole config."""

  TODAY = {
    "dataset": "examples.path",
    "input": "examples",
    "fake": "examples",
    "verify_checksums": "examples.verify_checksums",
    "cache_mib": "examples.cache_mib",
  }


class ExamplesConfig(Renamed):
  """Where the examples come from."""

  WHERE = "config.examples"
  TODAY = {"scans": "mixed_in", "scans_repeat": "mixed_in_repeat"}


class ByPhase(Renamed):
  """What there is once for each phase."""

  WHERE = "config.phases"
  TODAY = {"encoder": "latents"}


class PhaseConfig(Renamed):
  """One phase."""

  WHERE = "config.phases.<phase>"
  TODAY = {"input": "examples"}


class LatentsConfig(PhaseConfig):
  """Phase I."""

  WHERE = "config.phases.latents"
  TODAY = PhaseConfig.TODAY | {"optimizer": "optimizers.encoder"}


class DecodersConfig(PhaseConfig):
  """Phase II."""

  WHERE = "config.phases.decoders"
  TODAY = PhaseConfig.TODAY | {"optimizer": "optimizers.decoders"}


class JointConfig(PhaseConfig):
  """Phase III, either half."""

  TODAY = PhaseConfig.TODAY | {
    "encoder": "optimizers.encoder",
    "decoders": "optimizers.decoders",
    "head": "optimizers.identity_head",
    "reconstruction": "weights.reconstruction",
    "identification": "weights.identification",
    "identity_shape": "weights.identity_shape",
  }


class OptimizerConfig(Renamed):
  """How a module trains."""

  WHERE = "config.phases.<phase>.optimizers.<module>"
  TODAY = {
    "kind": "name",
    "momentum": "arguments.momentum",
    "beta1": "arguments.b1",
    "beta2": "arguments.b2",
    "epsilon": "arguments.eps",
  }
