"""The one train step: losses of a phase, gradients, updates, metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from disentangle3d.geometry import unflatten_vertices
from disentangle3d.network.decoders import LinearDecoder
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.identity_heads import identity_logits
from disentangle3d.network.sphereface import scale_images
from disentangle3d.training.batches import (
  TargetBasis,
  TrainBatch,
  fake_batch,
  prior_batch,
)
from disentangle3d.training.losses import (
  identification_loss,
  latent_loss,
  latent_targets,
  saturated_share,
  shape_loss,
)
from disentangle3d.training.optimizers import learning_rate, make_optimizer
from disentangle3d.training.phases import (
  HEAD,
  Phase,
  PlateauState,
  initial_plateau,
  split_params,
  update_plateau,
)
from disentangle3d.types import Latents

AXIS = "data"
# {name: (sum, count)}; divided once, on the host.
Metrics = dict[str, tuple[Array, Array]]
TrainStep = Callable[
  ["TrainState", TrainBatch, Array], tuple["TrainState", Metrics]
]


@flax.struct.dataclass
class TrainState:
  """All that a step changes; arrays only.

  Attributes:
    step: Updates of this phase done so far, int32.
    params: Top-level entries by name, those that do not train among them.
    opt_state: Optimizer memory by the name of the entry that trains.
    plateau: What the phase's stop rule remembers.
  """

  step: Int[Array, "*D"]
  params: dict[str, Any]
  opt_state: dict[str, Any]
  plateau: PlateauState


def initial_state(phase: Phase, params: Mapping[str, Any]) -> TrainState:
  """The state before a phase's first step, with fresh optimizer memory.

  Raises:
    ValueError: The phase does not cover the params (see `split_params`).
  """
  trained, _ = split_params(params, phase)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=dict(params),
    opt_state={
      name: make_optimizer(phase.optimizers[name]).init(entry)
      for name, entry in trained.items()
    },
    plateau=initial_plateau(),
  )


def make_train_step(
  model: FaceModel,
  phase: Phase,
  *,
  steps_per_epoch: int,
  num_classes: int = 1,
) -> TrainStep:
  """Binds a phase to the step.

  Args:
    model: The network.
    phase: What trains, on what.
    steps_per_epoch: For the phase's stop rule.
    num_classes: K, for fake labels.

  Returns:
    `train_step(state, batch, key) -> (state, metrics)`: pure, to be mapped
    over the axis "data". `key` is the phase's, the same for every step and
    device.
  """
  complete = _batch_completion(model, phase, num_classes)
  optimizers = {
    name: make_optimizer(setting) for name, setting in phase.optimizers.items()
  }

  def train_step(
    state: TrainState, batch: TrainBatch, key: Array
  ) -> tuple[TrainState, Metrics]:
    batch = complete(jax.random.fold_in(key, state.step), batch)
    trained, frozen = split_params(state.params, phase)

    def total_loss(trained: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
      values, diagnostics = phase_losses(model, phase, trained | frozen, batch)
      total = sum(
        weight * jnp.mean(values[term])
        for term, weight in phase.weights.items()
      )
      return jnp.asarray(total), values | diagnostics

    (loss, examples), gradients = jax.value_and_grad(total_loss, has_aux=True)(
      trained
    )
    loss, gradients = _mean_over_devices((loss, gradients))
    params, opt_state = dict(state.params), {}
    for name, optimizer in optimizers.items():
      direction, opt_state[name] = optimizer.update(
        gradients[name], state.opt_state[name], trained[name]
      )
      rate = learning_rate(phase.optimizers[name], state.step)
      params[name] = optax.apply_updates(
        trained[name], jax.tree.map(lambda d, r=rate: -r * d, direction)
      )
    new_state = TrainState(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      plateau=_next_plateau(phase, state.plateau, loss, steps_per_epoch),
    )
    return new_state, _metrics(loss, examples, params)

  return train_step


def phase_losses(
  model: FaceModel, phase: Phase, params: Mapping[str, Any], batch: TrainBatch
) -> tuple[dict[str, Array], dict[str, Array]]:
  """The loss terms that a phase has weights for, and what to log beside them.

  Args:
    model: The network.
    phase: Its `weights` say which terms.
    params: All top-level entries.
    batch: With everything the terms need.

  Returns:
    Loss terms, each `[B]`, and diagnostics, each `[B]`.
  """
  terms = phase.weights.keys()
  values: dict[str, Array] = {}
  diagnostics: dict[str, Array] = {}
  targets = latent_targets(
    batch.identity_coefficients, batch.expression_coefficients
  )
  if terms & {"identity_decoder", "residual_decoder"}:
    values |= _decoder_losses(model, params, batch, targets)
  if terms & {"latent", "reconstruction", "identity_shape", "identification"}:
    latents: Any = model.apply(
      {"params": {"encoder": params["encoder"]}},
      scale_images(batch.image),
      method="encode",
    )
    diagnostics["saturated_identity"] = saturated_share(latents.identity)
    diagnostics["saturated_residual"] = saturated_share(latents.residual)
    values |= _image_losses(model, terms, params, batch, latents, targets)
  return {term: values[term] for term in phase.weights}, diagnostics


def _image_losses(
  model: FaceModel,
  terms: Any,
  params: Mapping[str, Any],
  batch: TrainBatch,
  latents: Latents,
  targets: Latents,
) -> dict[str, Array]:
  values: dict[str, Array] = {}
  if "latent" in terms:
    values["latent"] = latent_loss(latents, targets)
  if "identification" in terms:
    logits = identity_logits(params[HEAD], latents.identity)
    values["identification"] = identification_loss(logits, batch.label)
  if terms & {"reconstruction", "identity_shape"}:
    decoding = {k: v for k, v in params.items() if k not in ("encoder", HEAD)}
    face: Any = model.apply({"params": decoding}, latents, method="decode")
    identity, residual = target_components(batch)
    mean = params["mean_shape"][None]
    if "reconstruction" in terms:
      target = mean + unflatten_vertices(identity + residual)
      values["reconstruction"] = shape_loss(face.shape, target)
    if "identity_shape" in terms:
      target = mean + unflatten_vertices(identity)
      values["identity_shape"] = shape_loss(face.identity_shape, target)
  return values


def target_components(
  batch: TrainBatch,
) -> tuple[Float[Array, "B V3"], Float[Array, "B V3"]]:
  """The fitted shape's identity and expression part, flat, mm."""
  basis: TargetBasis = batch.basis
  identity = batch.identity_coefficients @ basis.identity
  return identity, batch.expression_coefficients @ basis.expression


def _decoder_losses(
  model: FaceModel,
  params: Mapping[str, Any],
  batch: TrainBatch,
  targets: Latents,
) -> dict[str, Array]:
  decoder = LinearDecoder(model.num_vertices, model.dtype)
  identity, residual = target_components(batch)
  values = {}
  for name, codes, target in (
    ("identity_decoder", targets.identity, identity),
    ("residual_decoder", targets.residual, residual),
  ):
    decoded: Any = decoder.apply({"params": params[name]}, codes)
    values[name] = shape_loss(
      unflatten_vertices(decoded.astype(jnp.float32)),
      unflatten_vertices(target),
    )
  return values


def _batch_completion(
  model: FaceModel, phase: Phase, num_classes: int
) -> Callable[[Array, TrainBatch], TrainBatch]:
  """What fills in the parts of a batch that are drawn on the device."""
  sizes = {
    "identity_dim": model.identity_dim,
    "residual_dim": model.residual_dim,
  }
  completions: dict[str, Callable[[Array, TrainBatch], TrainBatch]] = {
    "dataset": lambda key, batch: batch,
    "prior": lambda key, batch: prior_batch(key, batch, **sizes),
    "fake": lambda key, batch: fake_batch(
      key, batch, num_classes=num_classes, **sizes
    ),
  }
  return completions[phase.input]


def _mean_over_devices(tree: Any) -> Any:
  # Of one device it would be a copy of every gradient: 80 MB a step.
  return tree if lax.axis_size(AXIS) == 1 else lax.pmean(tree, AXIS)


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


def _metrics(
  loss: Float[Array, ""],
  examples: Mapping[str, Float[Array, "B"]],
  params: Mapping[str, Any],
) -> Metrics:
  one = jnp.ones((), jnp.float32)
  metrics = {
    name: (jnp.sum(value), jnp.asarray(value.shape[0], jnp.float32))
    for name, value in examples.items()
  }
  metrics["loss"] = (loss, one)
  if HEAD in params:
    columns = jnp.sqrt(jnp.sum(jnp.square(params[HEAD]["kernel"]), 0))
    metrics["head_norm"] = (jnp.mean(columns), one)
  return lax.psum(metrics, AXIS)
