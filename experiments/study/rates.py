"""Measures in half a minute how fast a machine renders, fits and trains."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from data_prep.datasets.synthetic_set import (
  fit_labels,
  label_model,
  photos_without_shapes,
)
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.types import CASIA_NUM_CLASSES, CASIA_NUM_IMAGES
from experiments.benchmarks.steps import prepare_step
from experiments.benchmarks.timing import Timing, time_calls
from experiments.sets.heldout import fit_shapes
from experiments.study.people import MOST_PHOTOS
from experiments.study.plan import Rates
from experiments.training.inputs import face_model_of

_ROUNDS = 3
# Images of a batch over a person's photos: where there are many sizes of
# batches, and where all are as wide as the largest person.
_PADDING = 1.3
_PADDING_OF_ONE_SIZE = MOST_PHOTOS * CASIA_NUM_CLASSES / CASIA_NUM_IMAGES


def measure_rates(
  config: ConfigDict,
  world: SyntheticWorld,
  fitter: MorphableModel,
  *,
  seed: int,
  batch: int,
) -> Rates:
  """Times what a study does, with the programs that it goes on with.

  Args:
    config: Network and batch, of `configs/paper_scale.py`.
    world: The world.
    fitter: Its fitter's model.
    seed: Of the world's draws.
    batch: Photos rendered at a time.
  """
  world = world.replace(photos_per_person=MOST_PHOTOS)
  numbers = np.arange(batch, dtype=np.int32)

  def render() -> Any:
    return photos_without_shapes(world, jnp.uint32(seed), numbers)

  rendered = _time(render)
  photos = render()
  small = label_model(fitter, world.jaw)
  shape = fit_shapes()[-1]
  rows = np.arange(shape.images * shape.subjects) % batch
  marks, seen = (
    np.asarray(of)[rows] for of in (photos.landmarks, photos.visibility)
  )
  people = np.repeat(np.arange(shape.subjects), shape.images)
  fitted = _time(
    lambda: fit_labels(small, marks, seen, people, shapes=[shape]).rmse_px
  )
  stepped = _time(_step(config, fitter))
  on_cpu = jax.default_backend() == "cpu"
  padding = _PADDING if on_cpu else _PADDING_OF_ONE_SIZE
  timings = rendered, fitted, stepped
  return Rates(
    render=rendered.median_s / batch,
    fit=padding * fitted.median_s / len(rows),
    step=stepped.median_s / config.batch_size,
    compile=float(np.mean([max(t.first_s - t.median_s, 0) for t in timings])),
  )


def _time(work: Callable[[], Any]) -> Timing:
  return time_calls(work, rounds=_ROUNDS)


def _step(config: ConfigDict, fitter: MorphableModel) -> Callable[[], Any]:
  """A training step of phase III on noise."""
  config = config.copy_and_resolve_references()
  config.model.identity_dim = fitter.identity_dim
  config.model.residual_dim = fitter.expression_dim
  config.model.num_vertices = fitter.num_vertices
  step = prepare_step(
    face_model_of(config),
    jax.devices(),
    batch_size=config.batch_size,
    input="device_resident",
    num_crops=config.batch_size,
  )
  state = [step.state]

  def run() -> Any:
    state[0], metrics = step.mapped(state[0], step.batch, step.key)
    return metrics

  return run
