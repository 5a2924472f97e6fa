"""How arrays lie on the devices of all processes, and what maps over them.

`jax.pmap` is this project's sharding, and stands here only. Each device runs
the program of one device on its rows, and what crosses devices is written out
(`lax.pmean`, `lax.all_gather`): the same bits wherever an example lies, and no
partitioner that decides.

Everything is a global array over one mesh axis, "data". A replicated array is
whole on every device; rows `[devices, ...]` have one a device. A sharded entry
of the params has its classes (the last axis) padded with zeros to a multiple
of the devices and cut: `[devices, ..., K_padded / devices]`. On the host, and
so in checkpoints, every array is whole and without padding.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
from jax.experimental import multihost_utils
import jax.random
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from disentangle3d.training.batches import HeldExamples, TrainBatch
from disentangle3d.training.state import TrainState

AXIS = "data"


def over_devices(
  function: Callable[..., Any], devices: Sequence[jax.Device], **axes: Any
) -> Any:
  """`jax.pmap` of a function over the axis "data".

  Args:
    function: What each device does.
    devices: Which.
    **axes: What else `jax.pmap` takes: `in_axes`, `out_axes`,
      `donate_argnums`.
  """
  return jax.pmap(function, axis_name=AXIS, devices=list(devices), **axes)


def map_step(
  step: Callable[[TrainState, TrainBatch, jax.Array], tuple[TrainState, Any]],
  devices: Sequence[jax.Device],
  *,
  state: TrainState,
  held: HeldExamples | None = None,
) -> Any:
  """A train step over the devices; its state is donated.

  Args:
    step: Of state, batch and key, to the new state and metrics that are the
      same on every device.
    devices: What trains.
    state: The mapped axes of the state, of `state_axes`.
    held: What the batches take their examples from, if anything.
  """
  # Each device has its own rows of everything but the basis.
  held_axis = None if held is None else held.mapped_axis
  batch = TrainBatch(
    *(0, 0, 0, 0, 0),
    camera=0,
    basis=None,
    index=0,
    held=held_axis,
    feature=0,
    mirrored_feature=0,
  )
  return over_devices(
    step,
    devices,
    in_axes=(state, batch, None),
    out_axes=(state, None),
    donate_argnums=0,
  )


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """The same whole arrays on every device."""
  return _place(tree, devices, PartitionSpec())


def replicated_key(seed: int, devices: Sequence[jax.Device]) -> jax.Array:
  """`jax.random.key(seed)` on every device."""
  data = jax.random.key_data(jax.random.key(seed))
  return jax.random.wrap_key_data(replicate(data, devices))


def place_rows(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """This process's examples, `[b, ...]`, an equal share a local device."""
  local = [d for d in devices if d.process_index == jax.process_index()]
  sharding = NamedSharding(_mesh(devices), PartitionSpec(AXIS))

  def put(leaf: np.ndarray) -> jax.Array:
    rows = leaf.reshape(len(local), 1, -1, *leaf.shape[1:])
    shards = [
      jax.device_put(row, device)
      for row, device in zip(rows, local, strict=True)
    ]
    return jax.make_array_from_single_device_arrays(
      (len(devices), *rows.shape[2:]), sharding, shards
    )

  return jax.tree.map(put, tree)


def place_shards(
  parts: Sequence[jax.Array], devices: Sequence[jax.Device]
) -> jax.Array:
  """One array of what each local device has: `[devices, ...]`, a row each.

  Of one device it is that device's array itself, without an axis of devices.
  """
  if len(devices) == 1:
    sharding = NamedSharding(_mesh(devices), PartitionSpec())
    return jax.make_array_from_single_device_arrays(
      parts[0].shape, sharding, list(parts)
    )
  sharding = NamedSharding(_mesh(devices), PartitionSpec(AXIS))
  rows = [_with_leading_axis(part) for part in parts]
  return jax.make_array_from_single_device_arrays(
    (len(devices), *parts[0].shape), sharding, rows
  )


@functools.partial(jax.jit, donate_argnums=0)
def _with_leading_axis(part: jax.Array) -> jax.Array:
  return part[None]


def first_shard(array: Any) -> np.ndarray:
  """The host's view of an array that is whole on every device."""
  return np.asarray(array.addressable_shards[0].data)


def whole_rows(array: jax.Array) -> np.ndarray:
  """`[devices, R, ...]` as `[devices R, ...]`; every process has to ask."""
  if jax.process_count() > 1:
    array = multihost_utils.process_allgather(array, tiled=True)
  rows = np.asarray(array)
  return rows.reshape(-1, *rows.shape[2:])


def place_state(
  state: TrainState, devices: Sequence[jax.Device], sharded: Sequence[str]
) -> TrainState:
  """A host state on the devices; `sharded` names entries cut by class."""

  def cut(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: cut_classes(leaf, len(devices)), tree)

  return _by_entry(
    state,
    sharded,
    whole=lambda tree: replicate(tree, devices),
    cut=lambda tree: _place(cut(tree), devices, PartitionSpec(AXIS)),
  )


def state_axes(state: TrainState, sharded: Sequence[str]) -> TrainState:
  """The mapped axes of a state, as `map_step` takes them.

  None where a leaf is replicated: with an axis of devices there, XLA would
  copy Adam's moments.
  """
  return _by_entry(
    state,
    sharded,
    whole=lambda tree: jax.tree.map(lambda leaf: None, tree),
    cut=lambda tree: jax.tree.map(lambda leaf: 0, tree),
  )


def host_copy(
  state: TrainState, *, sharded: Sequence[str] = (), num_classes: int = 0
) -> TrainState:
  """A state as whole NumPy arrays; every process has to ask for it."""

  def merge(leaf: jax.Array) -> np.ndarray:
    if jax.process_count() > 1:
      return merge_classes(
        multihost_utils.process_allgather(leaf, tiled=True), num_classes
      )
    return merge_classes(np.asarray(leaf), num_classes)

  return _by_entry(
    state,
    sharded,
    # A copy: the buffer is donated to the next step.
    whole=lambda tree: jax.tree.map(
      lambda leaf: np.array(leaf.addressable_shards[0].data), tree
    ),
    cut=lambda tree: jax.tree.map(merge, tree),
  )


def cut_classes(array: np.ndarray, shards: int) -> np.ndarray:
  """`[..., K]` to `[shards, ..., K_padded / shards]`; a scalar is repeated."""
  array = np.asarray(array)
  if not array.ndim:
    return np.broadcast_to(array, (shards,))
  padding = [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % shards)]
  return np.stack(np.split(np.pad(array, padding), shards, axis=-1))


def merge_classes(parts: np.ndarray, num_classes: int) -> np.ndarray:
  """Inverts `cut_classes`."""
  if parts.ndim == 1:
    return np.array(parts[0])
  return np.array(np.concatenate(list(parts), -1)[..., :num_classes])


def _by_entry(
  state: TrainState,
  sharded: Sequence[str],
  *,
  whole: Callable[[Any], Any],
  cut: Callable[[Any], Any],
) -> TrainState:
  """Maps a state, the entries that are sharded apart from the rest."""

  def entries(by_name: dict[str, Any]) -> dict[str, Any]:
    return {
      name: (cut if name in sharded else whole)(entry)
      for name, entry in by_name.items()
    }

  return TrainState(
    step=whole(state.step),
    params=entries(state.params),
    opt_state=entries(state.opt_state),
    plateau=whole(state.plateau),
    average=None if state.average is None else entries(state.average),
    code_norms=whole(state.code_norms),
  )


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
  return Mesh(np.array(devices), (AXIS,))


def _place(
  tree: Any, devices: Sequence[jax.Device], spec: PartitionSpec
) -> Any:
  sharding = NamedSharding(_mesh(devices), spec)

  def put(leaf: Any) -> jax.Array:
    array = np.asarray(leaf)
    places = sharding.addressable_devices_indices_map(array.shape)
    # The host's copy must survive the donation of the device's.
    shards = [
      jax.device_put(np.asarray(array[index]), device, may_alias=False)
      for device, index in places.items()
    ]
    return jax.make_array_from_single_device_arrays(
      array.shape, sharding, shards
    )

  return jax.tree.map(put, tree)
