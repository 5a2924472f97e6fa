"""What a phase's state is made of, before there is one."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from disentangle3d.network.face_model import FaceModel
from disentangle3d.training.export import abstract_params
from disentangle3d.training.phases import HEAD, Phase, needed_head
from disentangle3d.training.state import TrainState, initial_state
from disentangle3d.types import UserError


def abstract_phase_params(
  model: FaceModel, phase: Phase, num_classes: int
) -> dict[str, Any]:
  """Shapes of all params that a phase has, its identity head among them."""
  params = abstract_params(model)
  if needed_head(phase):
    params[HEAD] = {
      "kernel": jax.ShapeDtypeStruct(
        (model.identity_dim, num_classes), np.float32
      )
    }
    if phase.head.has_bias:
      params[HEAD]["bias"] = jax.ShapeDtypeStruct((num_classes,), np.float32)
  return params


def abstract_state(
  phase: Phase, model: FaceModel, num_classes: int
) -> TrainState:
  """Shapes of the state that a phase starts with.

  Raises:
    ValueError: The phase does not go with the params.
  """
  return jax.eval_shape(
    lambda params: initial_state(phase, params),
    abstract_phase_params(model, phase, num_classes),
  )


def check_states(
  phases: Sequence[Phase], model: FaceModel, num_classes: int
) -> int:
  """Checks that every phase can start, before the first does.

  Args:
    phases: In order.
    model: The network.
    num_classes: Of the identity head.

  Returns:
    The bytes of the largest state.

  Raises:
    UserError: A phase does not go with the params, or is to take over the
      memory of other optimizers than its own.
  """
  states = [abstract_state(phase, model, num_classes) for phase in phases]
  for number in range(1, len(phases)):
    before, phase = phases[number - 1 : number + 1]
    memory: Any = jax.tree.structure(states[number - 1].opt_state)
    own = jax.tree.structure(states[number].opt_state)
    if phase.takes_over and memory != own:
      raise UserError(
        f"{phase.name}.takes_over: expected the optimizers of {before.name},"
        " got others"
      )
  return max(
    sum(
      leaf.size * np.dtype(leaf.dtype).itemsize
      for leaf in jax.tree.leaves(state)
    )
    for state in states
  )
