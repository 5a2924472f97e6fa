"""The train state: all that a step changes."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from disentangle3d.network.margins import CodeNorms, initial_code_norms
from disentangle3d.training.optimizers import initial_memory
from disentangle3d.training.phases import (
  HEAD,
  Phase,
  PlateauState,
  initial_plateau,
  sharded_entries,
  split_params,
)
from disentangle3d.types import UserError


@flax.struct.dataclass
class TrainState:
  """All that a step changes; arrays only.

  Attributes:
    step: Updates of this phase done so far, int32.
    params: Top-level entries by name, those that do not train among them.
    opt_state: Optimizer memory by the name of the entry that trains.
    plateau: What the phase's stop rule remembers.
    average: Running average of the entries that train; None without one.
    code_norms: What AdaFace remembers; None for other heads.
  """

  step: Int[Array, "*D"]
  params: dict[str, Any]
  opt_state: dict[str, Any]
  plateau: PlateauState
  average: dict[str, Any] | None = None
  code_norms: CodeNorms | None = None


def initial_state(phase: Phase, params: Mapping[str, Any]) -> TrainState:
  """The state before a phase's first step, with fresh optimizer memory.

  Raises:
    ValueError: The phase does not cover the params (see `split_params`).
  """
  trained, _ = split_params(params, phase)
  memory = {
    name: initial_memory(phase.optimizers[name], entry)
    for name, entry in trained.items()
  }
  for name in set(sharded_entries(phase)) & set(trained):
    _check_memory(phase, name, memory[name], trained[name])
  adaptive = phase.head.kind == "adaface" and HEAD in trained
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=dict(params),
    opt_state=memory,
    plateau=initial_plateau(),
    average=trained if phase.average_decay else None,
    code_norms=initial_code_norms() if adaptive else None,
  )


def _check_memory(phase: Phase, name: str, memory: Any, params: Any) -> None:
  """Refuses memory that cannot be cut by class as the params are."""
  classes = {leaf.shape[-1] for leaf in jax.tree.leaves(params)}
  for leaf in jax.tree.leaves(memory):
    if leaf.ndim and leaf.shape[-1] not in classes:
      raise UserError(
        f"{phase.name}.optimizers: expected one that remembers scalars and"
        f" arrays like the params of the sharded {name}, got one with an array"
        f" {list(leaf.shape)}"
      )


def final_params(state: TrainState) -> dict[str, Any]:
  """What a phase hands on to users: averaged where there is an average."""
  return state.params | (state.average or {})
