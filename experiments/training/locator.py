"""Trains the locator of landmarks: one device, one loop, one checkpoint."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
import pathlib
from typing import Any

from absl import logging
import flax.serialization
import flax.struct
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import optax

from data_prep.datasets.landmark_photo_set import read_landmark_photos
from disentangle3d.evaluation.landmark_scores import by_yaw, normalised_errors
from disentangle3d.faces.landmark_photos import LandmarkPhotos
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.landmark_files import (
  load_landmark_params,
  save_landmark_params,
)
from disentangle3d.network.landmark_network import (
  CROP_PX,
  LandmarkNetwork,
  find_points,
)
from disentangle3d.output_files import replace_file
from disentangle3d.training.landmark_augmentation import (
  Jitter,
  LandmarkExample,
  plain_crop,
  training_crop,
)
from disentangle3d.training.landmark_losses import (
  LandmarkWeights,
  landmark_loss,
)
from disentangle3d.types import UserError

EXPORT, _CHECKPOINT, _METRICS = (
  "locator.npz",
  "checkpoint.msgpack",
  "metrics.jsonl",
)
_EVALUATED_AT_ONCE = 64
_MOST_EVALUATED = 2048


class LocatorState(flax.struct.PyTreeNode):
  """All that training goes on from.

  Attributes:
    step: Steps done.
    params: The network's.
    mean_params: Their running mean.
    opt_state: Adam's memory.
  """

  step: jax.Array
  params: Any
  mean_params: Any
  opt_state: Any


@dataclasses.dataclass(frozen=True)
class PhotoStore:
  """Rendered photos in memory, in the shards that they were read in."""

  shards: Sequence[LandmarkPhotos]

  def __len__(self) -> int:
    return sum(len(shard.image) for shard in self.shards)

  @functools.cached_property
  def _places(self) -> np.ndarray:
    """Shard and row of every photo, `[N, 2]`."""
    return np.concatenate(
      [
        np.stack(
          [np.full(len(shard.image), number), np.arange(len(shard.image))], -1
        )
        for number, shard in enumerate(self.shards)
      ]
    )

  def examples(self, places: np.ndarray) -> LandmarkExample:
    """Some of them, as a batch."""
    chosen = self._places[places].tolist()

    def field(name: str) -> jax.Array:
      return jnp.asarray(
        np.stack(
          [getattr(self.shards[shard], name)[row] for shard, row in chosen]
        )
      )

    return LandmarkExample(
      image=jnp.concatenate([field("image"), field("head")[..., None]], -1),
      points=field("points"),
      silhouette=field("silhouette"),
      visibility=field("visibility"),
    )

  def yaw_rad(self, count: int) -> np.ndarray:
    """Of the first so many."""
    return np.concatenate([shard.yaw_rad for shard in self.shards])[:count]


def read_photos(config: ConfigDict, *, heldout: bool) -> PhotoStore:
  """The photos of a config's folders to train on, or those held out."""
  folders = [name for name in config.photos.split(",") if name]
  if not folders:
    raise UserError(
      "--config.photos: expected folders of data_prep.render_landmark_photos,"
      " got none"
    )
  every = config.heldout_every

  def keep(shard: int) -> bool:
    return (shard % every == every - 1) == heldout

  return PhotoStore(
    [
      shard
      for name in folders
      for shard in read_landmark_photos(pathlib.Path(name), keep=keep)
    ]
  )


def train_locator(
  config: ConfigDict,
  workdir: pathlib.Path,
  *,
  should_stop: Callable[[], bool] = lambda: False,
) -> bool:
  """Trains to the config's last step, or until it is told to stop.

  Args:
    config: See `configs.locator`.
    workdir: Checkpoint, metrics and export go there; a run that is there goes
      on.
    should_stop: Asked after every step.

  Returns:
    Whether the last step is done and the export written.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  train, heldout = (read_photos(config, heldout=h) for h in (False, True))
  optimizer = _optimizer(config)
  state = _restored(workdir, _initial(config, optimizer))
  step = _train_step(config, optimizer)
  metrics: list[Any] = []
  while int(state.step) < config.steps:
    number = int(state.step)
    rng = np.random.default_rng([config.seed, number])
    places = rng.integers(len(train), size=config.batch_size)
    state, loss = step(state, train.examples(places), jax.random.key(number))
    metrics.append(loss)
    done = number + 1
    if done % config.log_every == 0:
      _log(
        workdir, {"step": done, "loss": float(np.mean(jax.device_get(metrics)))}
      )
      metrics = []
    last = done == config.steps or should_stop()
    if done % config.evaluate_every == 0 or last:
      _save(workdir, state)
      _log(workdir, {"step": done, **evaluate(state.mean_params, heldout)})
    if last and done < config.steps:
      return False
  return True


def _optimizer(config: ConfigDict) -> optax.GradientTransformation:
  rate = optax.warmup_cosine_decay_schedule(
    0.0,
    config.learning_rate,
    config.warmup_steps,
    max(config.steps, config.warmup_steps + 1),
    end_value=0.01 * config.learning_rate,
  )
  return optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.adamw(rate, weight_decay=config.weight_decay),
  )


def _initial(
  config: ConfigDict, optimizer: optax.GradientTransformation
) -> LocatorState:
  if config.init_from:
    params = load_landmark_params(config.init_from)
  else:
    crops = jnp.zeros((1, CROP_PX, CROP_PX, 3), jnp.float32)
    params = LandmarkNetwork().init(jax.random.key(config.seed), crops)[
      "params"
    ]
  return LocatorState(
    step=jnp.int32(0),
    params=params,
    # Each its own buffers: both are donated.
    mean_params=jax.tree.map(jnp.copy, params),
    opt_state=optimizer.init(params),
  )


def _train_step(
  config: ConfigDict, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[LocatorState, jax.Array]]:
  jitter, weights = Jitter(**config.jitter), LandmarkWeights(**config.weights)

  def step(
    state: LocatorState, photos: LandmarkExample, key: jax.Array
  ) -> tuple[LocatorState, jax.Array]:
    keys = jax.random.split(key, len(photos.image))
    others = jnp.roll(photos.image, 1, 0)
    crops = jax.vmap(training_crop, (0, 0, None, 0))(
      photos, others, jitter, keys
    )

    def loss_of(params: Any) -> jax.Array:
      found = find_points(params, crops.image)
      return jnp.mean(landmark_loss(found, crops, weights))

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    updates, opt_state = optimizer.update(
      gradients, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    # A young mean forgets its start.
    decay = jnp.minimum(config.mean_decay, (1 + state.step) / (10 + state.step))
    return state.replace(
      step=state.step + 1,
      params=params,
      mean_params=optax.incremental_update(
        params, state.mean_params, 1 - decay
      ),
      opt_state=opt_state,
    ), loss

  return jax.jit(
    step, donate_argnums=0, compiler_options=cpu_compiler_options()
  )


@jax.jit
def _located(
  params: Any, photos: LandmarkExample, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Points found in plain crops of photos, and the true ones."""
  crops = jax.vmap(plain_crop, (0, None, 0))(
    photos, Jitter(wide_share=0.0), keys
  )
  found = find_points(params, crops.image)
  return found.points[..., :2], crops.points[..., :2]


def evaluate(params: Any, photos: PhotoStore) -> dict[str, float]:
  """Mean error on photos by range of yaw, percent of the points' box."""
  at_once = min(_EVALUATED_AT_ONCE, len(photos))
  count = min(len(photos), _MOST_EVALUATED) // at_once * at_once
  pairs = [
    _located(
      params,
      photos.examples(np.arange(first, first + at_once)),
      jax.random.split(jax.random.key(first), at_once),
    )
    for first in range(0, count, at_once)
  ]
  found, truth = (np.concatenate(part) for part in zip(*pairs, strict=True))
  return {
    f"error_{one.low_deg:.0f}_{one.high_deg:.0f}": one.mean
    for one in by_yaw(
      normalised_errors(found, truth), np.rad2deg(photos.yaw_rad(count))
    )
    if one.photos
  }


def _log(workdir: pathlib.Path, numbers: dict[str, float]) -> None:
  logging.info("%s", "  ".join(f"{k} {v:.4g}" for k, v in numbers.items()))
  with (workdir / _METRICS).open("a", encoding="utf-8") as file:
    file.write(json.dumps(numbers) + "\n")


def _save(workdir: pathlib.Path, state: LocatorState) -> None:
  replace_file(workdir / _CHECKPOINT, flax.serialization.to_bytes(state))
  save_landmark_params(workdir / EXPORT, jax.device_get(state.mean_params))


def _restored(workdir: pathlib.Path, state: LocatorState) -> LocatorState:
  path = workdir / _CHECKPOINT
  if not path.is_file():
    return state
  try:
    restored = flax.serialization.from_bytes(state, path.read_bytes())
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"{path}: expected a checkpoint of this config ({error}); give another"
      " --workdir"
    ) from error
  return jax.tree.map(jnp.asarray, restored)
