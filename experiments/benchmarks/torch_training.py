"""The train step of phase III written in PyTorch, for comparing speed."""

from collections.abc import Callable, Mapping, Sequence
import functools
import os
from typing import Any

import jax
import numpy as np
import torch
from torch.nn import functional

from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.mobileface import FEATURE_DIMS
from disentangle3d.reporting.html_page import Table
from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.optimizers import learning_rate
from disentangle3d.training.phases import HEAD, Phase
from experiments.benchmarks.steps import (
  first_params,
  noise_batch,
  paper_phase,
  prepare_step,
)
from experiments.benchmarks.timing import time_in_turn
from experiments.benchmarks.torch_inference import torch_trunk
from experiments.benchmarks.torch_network import (
  codes_of,
  decode,
  pixels_of,
  tensors_beside_trunk,
)

JAX, PYTORCH = "JAX", "PyTorch"
# Does one update, waits for it, gives the loss before it.
_Update = Callable[[], float]


def torch_update(
  model: FaceModel, phase: Phase, params: Mapping[str, Any], batch: TrainBatch
) -> _Update:
  """The phase's step in PyTorch on the CPU, on one batch again and again.

  A MobileFaceNet lies channel-last in memory, where PyTorch is faster; a
  SphereFace channel-first.

  Args:
    model: Any network with decoders.
    phase: Phase III with a softmax head.
    params: What it starts from, `identity_head` among them.
    batch: Crops, labels, coefficients and basis, on the host.

  Returns:
    The update.
  """
  torch.set_num_threads(os.cpu_count() or 1)
  weights = tensors_beside_trunk(params)
  layers: list[torch.Tensor] = []
  trunk = torch_trunk(
    params["encoder"]["trunk"], model, functools.partial(_place, model, layers)
  )
  weights["encoder"]["trunk"] = layers
  weights[HEAD] = [
    torch.from_numpy(np.array(params[HEAD]["kernel"].T, order="C")),
    torch.from_numpy(np.array(params[HEAD]["bias"])),
  ]
  mean = weights.pop("mean_shape")
  for tensor in _leaves(weights):
    tensor.requires_grad_(True)
  optimizers = [
    _optimizer(phase.optimizers[name], _leaves(weights[name]))
    for name in phase.optimizers
  ]
  # Crops come as bytes: a step maps them, as ours does.
  image = torch.from_numpy(np.array(batch.image))
  label = torch.from_numpy(np.asarray(batch.label, np.int64))
  coefficients = [
    torch.from_numpy(np.array(value))
    for value in (batch.identity_coefficients, batch.expression_coefficients)
  ]
  basis = [
    torch.from_numpy(np.array(value))
    for value in (batch.basis.identity, batch.basis.expression)
  ]
  vertices = model.num_vertices

  def update() -> float:
    pixels = _laid_out(pixels_of(image), model)
    identity, residual = codes_of(weights["encoder"], trunk(pixels))
    shape = decode(weights, mean, identity, residual)
    with torch.no_grad():
      target = mean + sum(
        c @ rows for c, rows in zip(coefficients, basis, strict=True)
      )
    reconstruction = (shape - target).square().sum() / (len(image) * vertices)
    identification = functional.cross_entropy(
      functional.linear(identity, *weights[HEAD]), label
    )
    loss = (
      phase.weights["reconstruction"] * reconstruction
      + phase.weights["identification"] * identification
    )
    for optimizer in optimizers:
      optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
      optimizer.step()
    return float(loss.detach())

  return update


def jax_update(
  model: FaceModel, params: dict[str, Any], batch: TrainBatch
) -> _Update:
  """The real train step on one device, on the same batch again and again."""
  prepared = prepare_step(
    model,
    jax.devices()[:1],
    batch_size=len(batch.label),
    input="device_resident",
    batch=batch.replace(basis=None),
    params=params,
  )
  compiled = prepared.mapped.lower(
    prepared.state, prepared.batch, prepared.key
  ).compile(compiler_options=cpu_compiler_options())
  states = [prepared.state]

  def update() -> float:
    state, metrics = compiled(states.pop(), prepared.batch, prepared.key)
    states.append(jax.block_until_ready(state))
    total, count = metrics["loss"]
    return float(total) / float(count)

  return update


def compare_steps(
  model: FaceModel, *, batch_size: int, rounds: int
) -> dict[str, dict[str, Any]]:
  """Times both in turn, from the same params on the same batch.

  Args:
    model: The network.
    batch_size: B.
    rounds: Updates of each, after the first.

  Returns:
    For each: first_call_s, `Timing.milliseconds`, and losses, those of all
    updates.
  """
  phase, num_classes = paper_phase(
    batch_size=batch_size, input="device_resident"
  )
  params = first_params(model, num_classes)
  batch = noise_batch(model, batch_size, num_classes)
  updates = {
    JAX: jax_update(model, params, batch),
    PYTORCH: torch_update(model, phase, params, batch),
  }
  losses: dict[str, list[float]] = {name: [] for name in updates}
  timings = time_in_turn(
    {
      name: functools.partial(_record, losses[name], update)
      for name, update in updates.items()
    },
    rounds=rounds,
  )
  return {
    name: {
      "first_call_s": timing.first_s,
      **timing.milliseconds(),
      "losses": losses[name],
    }
    for name, timing in timings.items()
  }


def _record(losses: list[float], update: _Update) -> None:
  losses.append(update())


def comparison_table(times: Mapping[str, Mapping[str, Any]]) -> Table:
  """The comparison; ratios are to PyTorch's median."""
  reference = times[PYTORCH]["p50_ms"]
  return Table(
    (
      *("step", "p25, ms", "p50, ms", "p75, ms", "p95, ms", "of PyTorch's"),
      *("first loss", "last loss"),
    ),
    [
      (
        name,
        *(round(row[f"p{percent}_ms"]) for percent in (25, 50, 75, 95)),
        row["p50_ms"] / reference,
        *(f"{row['losses'][place]:.4f}" for place in (0, -1)),
      )
      for name, row in times.items()
    ],
  )


def _place(
  model: FaceModel, layers: list[torch.Tensor], tensor: torch.Tensor
) -> torch.Tensor:
  """A tensor of the trunk as it computes; `layers` keeps it, to be trained."""
  layers.append(_laid_out(tensor, model))
  return layers[-1]


def _laid_out(tensor: torch.Tensor, model: FaceModel) -> torch.Tensor:
  if tensor.ndim < 4 or model.trunk not in FEATURE_DIMS:
    return tensor
  return tensor.contiguous(memory_format=torch.channels_last)


def _leaves(weights: Any) -> list[torch.Tensor]:
  if isinstance(weights, torch.Tensor):
    return [weights]
  values = weights.values() if isinstance(weights, Mapping) else weights
  return [leaf for value in values for leaf in _leaves(value)]


def _optimizer(setting: Any, leaves: Sequence[torch.Tensor]) -> Any:
  rate = float(learning_rate(setting, 0))
  # As ours: biases and slopes do not decay.
  groups = [
    {
      "params": [leaf for leaf in leaves if (leaf.ndim > 1) == is_kernel],
      "weight_decay": setting.weight_decay if is_kernel else 0.0,
    }
    for is_kernel in (True, False)
  ]
  groups = [group for group in groups if group["params"]]
  told = setting.arguments
  if setting.name == "sgd":
    momentum = told.get("momentum", 0.9)
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, fused=True)
  # Where nothing is told, both libraries have the same numbers.
  betas, eps = (
    (told.get("b1", 0.9), told.get("b2", 0.999)),
    told.get("eps", 1e-8),
  )
  return torch.optim.Adam(groups, lr=rate, betas=betas, eps=eps, fused=True)
