"""The paper's run and what is left out of it or changed in it, as values."""

from collections.abc import Mapping
import copy
import dataclasses
import types
from typing import Any

from ml_collections import ConfigDict

from experiments.configs.default import JOINT

# As heavy as the paper's L_R in its first joint phase.
_IDENTITY_SHAPE_WEIGHT = 0.5
_FEWER_MODES = 99


@dataclasses.dataclass(frozen=True)
class Variant:
  """One way to train.

  Attributes:
    title: As tables print it.
    changes: Entries of the config and their values.
    own_pretraining: Whether phases I and II differ from the paper's; if not,
      the run starts from the params that the run `paper` had after them.
    identity_modes: Of the fitter and the network; None is the world's.
    true_shapes: Whether targets are true shapes in place of fitted ones.
  """

  title: str
  changes: Mapping[str, Any] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({})
  )
  own_pretraining: bool = False
  identity_modes: int | None = None
  true_shapes: bool = False


def _joint_weights(**weights: float) -> dict[str, Any]:
  return {
    f"phases.{phase}.weights.{name}": weight
    for phase in JOINT
    for name, weight in weights.items()
  }


PAPER = "paper"
CONTROL = "no_identification"
VARIANTS: Mapping[str, Variant] = types.MappingProxyType(
  {
    PAPER: Variant("after III", own_pretraining=True),
    CONTROL: Variant(
      "control: III without L_C", _joint_weights(identification=0.0)
    ),
    "identity_shape": Variant(
      "III with the identity-shape term",
      _joint_weights(identity_shape=_IDENTITY_SHAPE_WEIGHT),
    ),
    "no_residual": Variant(
      "no residual branch", {"residual_branch": False}, own_pretraining=True
    ),
    "a_softmax": Variant(
      "III with A-Softmax", {"identity_head.kind": "a_softmax"}
    ),
    "arcface": Variant("III with ArcFace", {"identity_head.kind": "arcface"}),
    "latents99": Variant(
      f"{_FEWER_MODES} identity latents",
      own_pretraining=True,
      identity_modes=_FEWER_MODES,
    ),
    "true_shape": Variant(
      "targets are true shapes", own_pretraining=True, true_shapes=True
    ),
  }
)


def config_of(variant: Variant, config: ConfigDict) -> ConfigDict:
  """The config of a variant; the paper's is left as it is."""
  config = copy.deepcopy(config)
  config.update_from_flattened_dict(variant.changes)
  if not variant.own_pretraining:
    config.run_phases = JOINT
    config.export_phases = ()
  return config
