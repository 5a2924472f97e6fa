"""An accelerator's numbers against the same machine's CPU."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.datasets.synthetic_set import (
  SyntheticSet,
  fit_labels,
  label_model,
  world_of,
)
from disentangle3d.faces.synthetic import render_photos
from disentangle3d.inference import reconstruct
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.reporting.html_page import Table
from experiments.benchmarks.steps import (
  first_params,
  noise_batch,
  paper_phase,
  prepare_step,
)


@dataclasses.dataclass(frozen=True)
class Check:
  """One comparison.

  Attributes:
    what: Is compared, and in which unit.
    difference: Measured.
    bound: The most that is allowed.
  """

  what: str
  difference: float
  bound: float

  @property
  def passed(self) -> bool:
    """Whether the difference is a number within the bound."""
    return self.difference <= self.bound


def _both() -> tuple[jax.Device, jax.Device]:
  return jax.devices()[0], jax.devices("cpu")[0]


def on_both(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
  """Results on the default device and on the CPU, as host arrays."""
  results = []
  for device in _both():
    placed = jax.device_put(arguments, device)
    with jax.default_device(device):
      results.append(jax.device_get(jax.jit(function)(*placed)))
  return results[0], results[1]


def check_rendering(settings: SyntheticSet) -> list[Check]:
  """Crops and landmarks of synthetic people."""
  world, _ = world_of(settings)
  indices = jnp.arange(8, dtype=jnp.int32)
  there, here = on_both(render_photos, world, jnp.uint32(0), indices)
  apart = np.abs(there.image.astype(int) - here.image.astype(int))
  marks = np.abs(there.landmarks - here.landmarks).max()
  shape = np.abs(there.shape - here.shape).max()
  # A pixel on an edge may see the triangle beside.
  return [
    Check("rendering: share of pixels more than 2 of 255 apart",
          float((apart.max(-1) > 2).mean()), 0.005),
    Check("rendering: landmarks, px", float(marks), 0.01),
    Check("rendering: true shapes, mm", float(shape), 0.01),
  ]  # fmt: skip


def check_fit(settings: SyntheticSet) -> list[Check]:
  """Landmark fits of a few people, in standard deviations."""
  world, fitter = world_of(settings)
  indices = jnp.arange(4 * settings.photos_per_person, dtype=jnp.int32)
  photos = jax.device_get(jax.jit(render_photos)(world, jnp.uint32(0), indices))
  small = label_model(fitter, settings.jaw)
  fits = []
  for device in _both():
    with jax.default_device(device):
      marks = photos.landmarks, photos.visibility
      fits.append(fit_labels(small, *marks, photos.person))
  apart = np.abs(fits[0].identity_coefficients - fits[1].identity_coefficients)
  return [Check("fit: identity, standard deviations", float(apart.max()), 0.02)]


def check_network(model: FaceModel) -> list[Check]:
  """Identity codes of fresh params on noise."""
  params = init_params(jax.random.key(0), model)
  shape = 4, 112, 96, 3
  crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  checks = []
  for precision, bound in (("float32", 1e-3), ("bfloat16", 0.1)):
    one = model.clone(dtype=precision)

    def codes(params: Any, crops: jax.Array, one: FaceModel = one) -> jax.Array:
      with jax.default_matmul_precision("highest"):
        return reconstruct(params, crops, model=one).latents.identity

    there, here = on_both(codes, params, crops)
    apart = np.abs(there - here).max() / np.abs(here).max()
    what = f"network, {precision}: identity codes, of the largest"
    checks.append(Check(what, float(apart), bound))
  return checks


def check_step(model: FaceModel) -> list[Check]:
  """One train step: against the CPU, and against itself."""
  _, num_classes = paper_phase(batch_size=8, input="dataset")
  params = first_params(model, num_classes)
  batch = noise_batch(model, 8, num_classes).replace(basis=None)

  def step(device: jax.Device) -> tuple[float, Any]:
    prepared = prepare_step(
      model,
      [device],
      batch_size=8,
      input="device_resident",
      batch=batch,
      params=params,
    )
    with jax.default_matmul_precision("highest"):
      state, metrics = prepared.mapped(
        prepared.state, prepared.batch, prepared.key
      )
    return float(np.ravel(metrics["loss"])[0]), jax.device_get(state.params)

  there, again, here = (
    step(device) for device in (*jax.devices()[:1] * 2, jax.devices("cpu")[0])
  )
  same = jax.tree.map(np.array_equal, there[1], again[1])
  differing = sum(not equal for equal in jax.tree.leaves(same))
  return [
    Check("train step: loss, relative", abs(there[0] / here[0] - 1), 1e-3),
    Check("train step twice: arrays that differ", float(differing), 0.0),
  ]


def run_checks(*, tiny: bool) -> list[Check]:
  """All of them; `tiny` takes a small world and network."""
  model, settings = FaceModel(), SyntheticSet()
  if tiny:
    model = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=600)
    settings = SyntheticSet(
      num_vertices=600, identity_modes=12, expression_modes=5
    )
  return [
    *check_rendering(settings),
    *check_fit(settings),
    *check_network(model),
    *check_step(model),
  ]


def table_of(checks: Sequence[Check]) -> Table:
  """A line each."""
  return Table(
    ("check", "difference", "at most", "passed"),
    [
      (
        *(one.what, f"{one.difference:.2g}", f"{one.bound:g}"),
        "yes" if one.passed else "FAILED",
      )
      for one in checks
    ],
    text_columns=(0, 3),
  )
