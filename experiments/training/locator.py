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
import numpy as np
import optax

from data_prep.datasets.landmark_photo_set import read_landmark_photos
from disentangle3d.evaluation.landmark_scores import (
  YawBin,
  by_yaw,
  normalised_errors,
)
from disentangle3d.faces.landmark_photos import LandmarkPhotos
from disentangle3d.folder_use import sole_use
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
from disentangle3d.output_files import (
  check_folder,
  drop_half_line,
  named_errors,
  replace_file,
)
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
_MOST_EVALUATED = 512


@dataclasses.dataclass(frozen=True)
class LocatorSettings:
  """How the locator that ships is trained.

  Attributes:
    landmark_photos: Folders of render_landmark_photos, one at least; each step
      takes as many photos of each.
    steps: All.
    batch_size: Photos a step.
    learning_rate: The highest; rises over `warmup_steps`, falls as a cosine.
    seed: Of params, photos and what is done to them.
    init_from: Another run's export to start from; layers that it lacks, and
      with None all, start afresh.
    warmup_steps: See `learning_rate`.
    weight_decay: Of AdamW.
    clip_norm: Of gradients.
    mean_decay: Of the running mean of the params, which is what is exported.
    heldout_every: Of every so many shards of a folder the last is held out.
    log_every: Steps between two lines of metrics.
    evaluate_every: Steps between two checkpoints, exports and measurements.
  """

  landmark_photos: tuple[str, ...]
  steps: int = 30_000
  batch_size: int = 48
  learning_rate: float = 1.2e-3
  seed: int = 0
  init_from: str | None = None
  warmup_steps: int = 400
  weight_decay: float = 1e-4
  clip_norm: float = 5.0
  mean_decay: float = 0.998
  heldout_every: int = 4
  log_every: int = 100
  evaluate_every: int = 500


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


def read_stores(
  settings: LocatorSettings, *, heldout: bool
) -> list[PhotoStore]:
  """The photos of each folder to train on, or those held out."""
  every = settings.heldout_every

  def keep(shard: int) -> bool:
    return (shard % every == every - 1) == heldout

  return [
    PhotoStore(read_landmark_photos(pathlib.Path(name), keep=keep))
    for name in settings.landmark_photos
  ]


def draw_batch(
  stores: Sequence[PhotoStore], size: int, seed: int, step: int
) -> LandmarkExample:
  """Photos of a step, as many of each folder."""
  rng = np.random.default_rng([seed, step])
  parts = [
    store.examples(rng.integers(len(store), size=size // len(stores)))
    for store in stores
  ]
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def train_locator(
  settings: LocatorSettings,
  workdir: pathlib.Path,
  *,
  should_stop: Callable[[], bool] = lambda: False,
) -> bool:
  """Trains to the last step, or until it is told to stop.

  Args:
    settings: How.
    workdir: Checkpoint, metrics and export go there; a run that is there goes
      on.
    should_stop: Asked after every step.

  Returns:
    Whether the last step is done and the export written.
  """
  _check_settings(settings)
  check_folder(workdir)
  train, heldout = (read_stores(settings, heldout=h) for h in (False, True))
  initial = _initial(settings)
  with sole_use(workdir):
    return _run(settings, workdir, initial, train, heldout, should_stop)


def _check_settings(settings: LocatorSettings) -> None:
  folders = settings.landmark_photos
  if settings.batch_size < len(folders):
    raise UserError(
      f"batch_size: expected a photo of each of {len(folders)} folders or more,"
      f" got {settings.batch_size}"
    )


def _run(
  settings: LocatorSettings,
  workdir: pathlib.Path,
  state: LocatorState,
  train: Sequence[PhotoStore],
  heldout: Sequence[PhotoStore],
  should_stop: Callable[[], bool],
) -> bool:
  """From the checkpoint, or the state where none is there; see above."""
  state = _restored(workdir, state)
  drop_half_line(workdir / _METRICS)
  step = _train_step(settings)
  metrics: list[Any] = []
  while int(state.step) < settings.steps:
    number = int(state.step)
    photos = draw_batch(train, settings.batch_size, settings.seed, number)
    state, loss = step(state, photos, jax.random.key(number))
    metrics.append(loss)
    done = number + 1
    if done % settings.log_every == 0:
      _log(
        workdir, {"step": done, "loss": float(np.mean(jax.device_get(metrics)))}
      )
      metrics = []
    last = done == settings.steps or should_stop()
    if done % settings.evaluate_every == 0 or last:
      _save(workdir, state)
      _log(workdir, {"step": done, **errors_by_yaw(state.mean_params, heldout)})
    if last and done < settings.steps:
      return False
  return True


def _optimizer(settings: LocatorSettings) -> optax.GradientTransformation:
  rate = optax.warmup_cosine_decay_schedule(
    0.0,
    settings.learning_rate,
    settings.warmup_steps,
    max(settings.steps, settings.warmup_steps + 1),
    end_value=0.01 * settings.learning_rate,
  )
  return optax.chain(
    optax.clip_by_global_norm(settings.clip_norm),
    optax.adamw(rate, weight_decay=settings.weight_decay),
  )


def _initial(settings: LocatorSettings) -> LocatorState:
  crops = jnp.zeros((1, CROP_PX, CROP_PX, 3), jnp.float32)
  params = LandmarkNetwork().init(jax.random.key(settings.seed), crops)[
    "params"
  ]
  if settings.init_from:
    params = load_landmark_params(settings.init_from, fresh=params)
  return LocatorState(
    step=jnp.int32(0),
    params=params,
    # Each its own buffers: both are donated.
    mean_params=jax.tree.map(jnp.copy, params),
    opt_state=_optimizer(settings).init(params),
  )


def _train_step(
  settings: LocatorSettings,
) -> Callable[..., tuple[LocatorState, jax.Array]]:
  optimizer = _optimizer(settings)
  jitter, weights = Jitter(), LandmarkWeights()

  def step(
    state: LocatorState, photos: LandmarkExample, key: jax.Array
  ) -> tuple[LocatorState, jax.Array]:
    keys = jax.random.split(key, len(photos.image))
    others = jnp.roll(photos.image, 1, 0)
    crops = jax.vmap(training_crop, (0, 0, 0, None))(
      keys, photos, others, jitter
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
    decay = jnp.minimum(
      settings.mean_decay, (1 + state.step) / (10 + state.step)
    )
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
  crops = jax.vmap(plain_crop, (0, 0, None))(
    keys, photos, Jitter(wide_share=0.0)
  )
  found = find_points(params, crops.image)
  return found.points[..., :2], crops.points[..., :2]


def errors_by_yaw(
  params: Any, stores: Sequence[PhotoStore]
) -> dict[str, float]:
  """Mean error on photos by range of yaw, percent of the points' box."""
  found = {}
  for place, store in enumerate(stores):
    for one in _evaluate(params, store):
      found[f"error{place}_{one.low_deg:.0f}_{one.high_deg:.0f}"] = one.mean
  return found


def _evaluate(params: Any, photos: PhotoStore) -> list[YawBin]:
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
  return by_yaw(
    normalised_errors(found, truth), np.rad2deg(photos.yaw_rad(count))
  )


def _log(workdir: pathlib.Path, numbers: dict[str, float]) -> None:
  logging.info("%s", "  ".join(f"{k} {v:.4g}" for k, v in numbers.items()))
  path = workdir / _METRICS
  with named_errors(path), path.open("a", encoding="utf-8") as file:
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
      f"{path}: expected a checkpoint of these settings ({error}); give another"
      " --workdir"
    ) from error
  return jax.tree.map(jnp.asarray, restored)
