"""The one train step: gradients, updates, metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float
import optax

from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.margins import CodeNorms, update_code_norms
from disentangle3d.training.augmentation import augment_batch
from disentangle3d.training.batches import (
  TrainBatch,
  fake_batch,
  prior_batch,
  split_batch,
)
from disentangle3d.training.identification import Moment
from disentangle3d.training.optimizers import update_of
from disentangle3d.training.phase_losses import (
  LOSSES,
  Forward,
  Loss,
  phase_losses,
)
from disentangle3d.training.phases import (
  HEAD,
  Phase,
  PlateauState,
  sharded_entries,
  split_params,
  stop_still_trunk,
  update_plateau,
)
from disentangle3d.training.placement import AXIS
from disentangle3d.training.state import TrainState

# {name: (sum, count)}; divided once, on the host.
Metrics = dict[str, tuple[Array, Array]]
TrainStep = Callable[
  [TrainState, TrainBatch, Array], tuple[TrainState, Metrics]
]
# Params that train to the mean loss of a batch and its terms, each `[B]`.
_Loss = Callable[[dict[str, Any], TrainBatch], tuple[Array, dict[str, Array]]]


def make_train_step(
  model: FaceModel,
  phase: Phase,
  *,
  steps_per_epoch: int,
  num_classes: int = 1,
  losses: Mapping[str, Loss] = LOSSES,
) -> TrainStep:
  """Binds a phase to the step.

  Args:
    model: The network.
    phase: What trains, on what.
    steps_per_epoch: For the phase's stop rule.
    num_classes: K.
    losses: By name, those that the phase has weights for among them.

  Returns:
    `train_step(state, batch, key) -> (state, metrics)`: pure, to be mapped
    over the axis "data". `key` is the phase's, the same for every step and
    device.
  """
  complete = batch_completion(model, phase, num_classes)
  sharded = sharded_entries(phase)

  def train_step(
    state: TrainState, batch: TrainBatch, key: Array
  ) -> tuple[TrainState, Metrics]:
    moment = Moment(
      state.step, jax.random.fold_in(key, state.step), state.code_norms
    )
    batch = complete(moment.key, batch)
    trained, frozen = split_params(state.params, phase)

    def loss_of(
      trained: dict[str, Any], part: TrainBatch
    ) -> tuple[Array, dict[str, Array]]:
      forward = Forward(
        model,
        stop_still_trunk(trained, phase) | frozen,
        part,
        head=phase.head,
        num_classes=num_classes,
        moment=moment,
      )
      values = phase_losses(losses, phase, forward)
      total = sum(
        weight * jnp.mean(values[name])
        for name, weight in phase.weights.items()
      )
      return jnp.asarray(total), values | forward.diagnostics

    loss, examples, gradients = _accumulated(
      loss_of, trained, batch, phase.accumulate
    )
    loss = _mean_over_devices(loss)
    gradients = {
      name: _true_gradient(
        gradient,
        is_sharded=name in sharded,
        moved_as=jnp.dtype(phase.gradient_dtype),
      )
      for name, gradient in gradients.items()
    }
    updated, opt_state, norms = _update(phase, state, trained, gradients)
    params = state.params | updated
    metrics = _metrics(loss, examples, params, phase, num_classes) | norms
    new_state = TrainState(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      plateau=_next_plateau(phase, state.plateau, loss, steps_per_epoch),
      average=_next_average(phase, state, updated),
      code_norms=_next_code_norms(phase, state.code_norms, metrics),
    )
    return new_state, metrics

  return train_step


def batch_completion(
  model: FaceModel, phase: Phase, num_classes: int
) -> Callable[[Array, TrainBatch], TrainBatch]:
  """What fills in the parts of a batch that are made on the device.

  Args:
    model: The network.
    phase: Its `examples` and `augmentation` say what there is to do.
    num_classes: K.

  Returns:
    A function of the key of the step and the batch, to be called inside it.
  """
  sizes = {
    "identity_dim": model.identity_dim,
    "residual_dim": model.residual_dim,
  }
  completions: dict[str, Callable[[Array, TrainBatch], TrainBatch]] = {
    "dataset": lambda key, batch: augment_batch(
      key,
      phase.augmentation,
      batch if batch.held is None else batch.held.examples(batch),
    ),
    "prior": lambda key, batch: prior_batch(key, batch, **sizes),
    "fake": lambda key, batch: fake_batch(
      key, batch, num_classes=num_classes, **sizes
    ),
  }
  return completions[phase.examples]


def _accumulated(
  loss_of: _Loss, trained: dict[str, Any], batch: TrainBatch, parts: int
) -> tuple[Array, dict[str, Array], dict[str, Any]]:
  """Loss, terms `[B]` and gradients of a batch, taken in equal parts."""
  differentiate = jax.value_and_grad(loss_of, has_aux=True)
  if parts == 1:
    (loss, examples), gradients = differentiate(trained, batch)
    return loss, examples, gradients

  def add(sums: Any, part: TrainBatch) -> tuple[Any, dict[str, Array]]:
    (loss, examples), gradients = differentiate(
      trained, part.replace(basis=batch.basis)
    )
    return jax.tree.map(jnp.add, sums, (loss, gradients)), examples

  zero = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, trained))
  sums, examples = lax.scan(add, zero, split_batch(batch, parts))
  loss, gradients = jax.tree.map(lambda total: total / parts, sums)
  return loss, jax.tree.map(jnp.ravel, examples), gradients


def _true_gradient(
  gradient: Any, *, is_sharded: bool, moved_as: jnp.dtype
) -> Any:
  if not is_sharded:
    moved = jax.tree.map(lambda leaf: leaf.astype(moved_as), gradient)
    mean = _mean_over_devices(moved)
    return jax.tree.map(lambda m, g: m.astype(g.dtype), mean, gradient)
  # All devices' losses flow back into each shard, that many times the mean.
  return jax.tree.map(lambda leaf: leaf / lax.axis_size(AXIS), gradient)


def _mean_over_devices(tree: Any) -> Any:
  # Of one device it would be a copy of every gradient: 80 MB a step.
  return tree if lax.axis_size(AXIS) == 1 else lax.pmean(tree, AXIS)


def _update(
  phase: Phase,
  state: TrainState,
  trained: Mapping[str, Any],
  gradients: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
  """New params and optimizer memory; the norms of gradients that are cut."""
  updated, opt_state, norms = {}, {}, {}
  sharded = sharded_entries(phase)
  for name, optimizer in phase.optimizers.items():
    gradient = gradients[name]
    longest = getattr(optimizer, "clip_norm", 0.0)
    if longest:
      norm = _global_norm(gradient, is_sharded=name in sharded)
      factor = jnp.minimum(1.0, longest / jnp.maximum(norm, 1e-12))
      gradient = jax.tree.map(lambda g, f=factor: f * g, gradient)
      norms[f"gradient_norm_{name}"] = (norm, jnp.ones((), jnp.float32))
    update, opt_state[name] = update_of(
      optimizer, gradient, state.opt_state[name], trained[name], state.step
    )
    updated[name] = optax.apply_updates(trained[name], update)
  return updated, opt_state, norms


def _global_norm(gradient: Any, *, is_sharded: bool) -> Float[Array, ""]:
  square = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient))
  return jnp.sqrt(lax.psum(square, AXIS) if is_sharded else square)


def _next_plateau(
  phase: Phase,
  plateau: PlateauState,
  loss: Float[Array, ""],
  steps_per_epoch: int,
) -> PlateauState:
  if phase.plateau is None:
    return plateau
  return update_plateau(
    plateau,
    loss,
    relative=phase.plateau.relative,
    steps_per_epoch=steps_per_epoch,
  )


def _next_average(
  phase: Phase, state: TrainState, updated: Mapping[str, Any]
) -> dict[str, Any] | None:
  if state.average is None:
    return None
  # The first steps of a phase would otherwise hang on for 1 / (1 - decay).
  done = state.step.astype(jnp.float32)
  decay = jnp.minimum(phase.average_decay, (1 + done) / (10 + done))
  return jax.tree.map(
    lambda old, new: decay * old + (1 - decay) * new,
    state.average,
    dict(updated),
  )


def _next_code_norms(
  phase: Phase, norms: CodeNorms | None, metrics: Metrics
) -> CodeNorms | None:
  if norms is None or "code_norm" not in metrics:
    return norms
  mean, square = (
    metrics[name][0] / metrics[name][1]
    for name in ("code_norm", "code_norm_squared")
  )
  return update_code_norms(norms, mean, square, momentum=phase.head.momentum)


def _metrics(
  loss: Float[Array, ""],
  examples: Mapping[str, Float[Array, "B"]],
  params: Mapping[str, Any],
  phase: Phase,
  num_classes: int,
) -> Metrics:
  one = jnp.ones((), jnp.float32)
  metrics = {
    name: (jnp.sum(value), jnp.asarray(value.shape[0], jnp.float32))
    for name, value in examples.items()
  }
  metrics["loss"] = (loss, one)
  if HEAD in params:
    columns = jnp.sqrt(jnp.sum(jnp.square(params[HEAD]["kernel"]), 0))
    # Of a sharded head each device has its part, some of it padding.
    first = lax.axis_index(AXIS) * columns.size if phase.head.sharded else 0
    real = jnp.clip(num_classes - first, 0, columns.size)
    metrics["head_norm"] = (jnp.sum(columns), real.astype(jnp.float32))
  return lax.psum(metrics, AXIS)
