"""Examples that the devices hold: no step waits for a host.

The host says which examples a step takes, by the same order as for a dataset
on disk (`input_pipeline.example_indices`); the step takes them, inside
the map over the axis "data".

The set is cut over the devices, not repeated: of n examples each of D devices
holds ceil(n / D), 32.3 kB a crop (488,848 of them are 15.8 GB, on one device
or over all), and each process reads only its devices' part. A step gathers
its batch by one reduce-scatter, 33 MB a device at 1,024 examples; on one
device there is nothing to gather. Crops are held flat, because a trailing axis
of 3 would be padded to a whole tile on some devices.
"""

from collections.abc import Iterable, Sequence
import functools
from typing import Any

import flax.struct
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from disentangle3d.geometry import Camera
from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.input_pipeline import Examples, read_chunks
from disentangle3d.training.placement import (
  AXIS,
  first_shard,
  place_shards,
  whole_rows,
)
from disentangle3d.types import (
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  UserError,
  check_array,
)

_CROP = (IMAGE_HEIGHT, IMAGE_WIDTH, 3)
_CROP_BYTES = IMAGE_HEIGHT * IMAGE_WIDTH * 3
_WORD_BYTES = 4
_FIELDS = ("image", "label", "identity_coefficients", "expression_coefficients")


class ResidentExamples(flax.struct.PyTreeNode):
  """A whole split on the devices; see `resident_examples`.

  Attributes:
    image: Flat crops, `[D, R, 32256]` uint8, R = ceil(n / D); of one device
      `[n, 32256]`, and so below.
    label: `[D, R]` int32.
    identity_coefficients: `[D, R, I]`, standard deviations.
    expression_coefficients: `[D, R, E]`, standard deviations.
    camera: Of the crops, `Camera` of `[D, R]`; None where it is not known.
    num_examples: n.
  """

  image: UInt8[Array, "*D R P"]
  label: Int[Array, "*D R"]
  identity_coefficients: Float[Array, "*D R I"]
  expression_coefficients: Float[Array, "*D R E"]
  camera: Camera | None
  num_examples: int = flax.struct.field(pytree_node=False)

  @property
  def mapped_axis(self) -> int | None:
    """See `HeldExamples`."""
    return None if self.label.ndim == 1 else 0

  def __len__(self) -> int:
    """The number of examples."""
    return self.num_examples

  def examples(self, batch: TrainBatch) -> TrainBatch:
    """See `HeldExamples`."""
    taken = jax.tree.map(
      lambda leaf: _taken(leaf, batch.index),
      {name: getattr(self, name) for name in (*_FIELDS, "camera")},
    )
    return batch.replace(
      **taken | {"image": taken["image"].reshape(-1, *_CROP)}
    )

  def class_targets(self) -> tuple[np.ndarray, np.ndarray]:
    """See `HeldExamples`; every process has to ask for it."""
    whole = first_shard if self.mapped_axis is None else whole_rows
    labels, coefficients = (
      whole(leaf) for leaf in (self.label, self.identity_coefficients)
    )
    return labels[: len(self)], coefficients[: len(self)]


def resident_examples(
  reader: Examples, *, devices: Sequence[jax.Device], rows_a_turn: int = 1024
) -> ResidentExamples:
  """Reads a whole split onto the devices, a chunk at a time.

  Args:
    reader: The examples, as NumPy arrays or as arrays on a device: whatever
      makes them there needs memory for one chunk beside the set.
    devices: What trains; each gets its part, read by its own process.
    rows_a_turn: Examples a chunk.

  Returns:
    The examples.

  Raises:
    UserError: There are none, or a device has no room for its part.
  """
  total = len(reader)
  if not total:
    raise UserError("reader: expected at least one example, got none")
  rows = -(-total // len(devices))
  like = _flat(reader.read(range(min(total, rows_a_turn))))
  parts = []
  for number, device in enumerate(devices):
    if device.process_index == jax.process_index():
      part = range(total)[number * rows : (number + 1) * rows]
      empty = _empty_rows(like, rows, device)
      parts.append(_filled(empty, reader, part, rows_a_turn, device))
  return _joined(parts, devices, total)


def resident_from_arrays(
  image: UInt8[Any, "n ..."],
  label: Int[Any, "n"],
  identity_coefficients: Float[Any, "n I"],
  expression_coefficients: Float[Any, "n E"],
  *,
  devices: Sequence[jax.Device],
) -> ResidentExamples:
  """Holds arrays that are there already, on a device or in NumPy.

  On one device nothing is copied that lies there; crops `[n, 112, 96, 3]` of
  JAX are given away for that (their array is deleted), flat ones are not.

  Args:
    image: Crops, `[n, 112, 96, 3]` or flat `[n, 32256]`, uint8.
    label: Classes, `[n]` int32, in [0, K).
    identity_coefficients: alpha, `[n, I]` float32, standard deviations.
    expression_coefficients: beta, `[n, E]` float32, standard deviations.
    devices: What trains. Among several processes each gives the whole arrays.

  Returns:
    The examples.

  Raises:
    ValueError: The shapes disagree.
    TypeError: A dtype is another.
  """
  crops = "112 96 3" if image.ndim == 4 else str(_CROP_BYTES)
  arrays = (image, label, identity_coefficients, expression_coefficients)
  sizes: dict[str, int] = {}
  for name, array, shape, dtype in zip(
    _FIELDS,
    arrays,
    (f"n {crops}", "n", "n I", "n E"),
    (np.uint8, np.int32, np.float32, np.float32),
    strict=True,
  ):
    sizes = check_array(name, array, shape, dtype="any", sizes=sizes)
    if array.dtype != dtype:
      raise TypeError(f"{name}: expected {np.dtype(dtype)}, got {array.dtype}")
  whole = TrainBatch(None, *arrays)
  if len(devices) > 1:
    return resident_examples(_ArrayReader(whole), devices=devices)
  there = jax.device_put(whole, devices[0])
  if there.image.ndim == 4:
    flat = jax.jit(
      lambda crops: crops.reshape(-1, _CROP_BYTES), donate_argnums=0
    )(there.image)
    there = there.replace(image=flat)
  return _joined([there], devices, sizes["n"])


class _ArrayReader:
  """Reads ranges of whole arrays."""

  def __init__(self, whole: TrainBatch):
    self._whole = whole

  def __len__(self) -> int:
    return len(self._whole.label)

  def read(self, indices: Iterable[int]) -> TrainBatch:
    rows = list(indices)
    part = slice(rows[0], rows[-1] + 1)
    return jax.tree.map(lambda leaf: leaf[part], self._whole)


def check_room(num_bytes: int, free_bytes: int, where: str) -> None:
  """Refuses a set that a device has no room for.

  Raises:
    UserError: Names both sizes, in GB.
  """
  if num_bytes > free_bytes:
    raise UserError(
      f"input.kind: expected {num_bytes / 1e9:.1f} GB free on {where} for its"
      f" part of the examples, got {free_bytes / 1e9:.1f} GB; take grain, or"
      " more devices"
    )


def _flat(batch: TrainBatch) -> TrainBatch:
  """Without positions, and crops `[n, 32256]`."""
  flat = batch.image.reshape(-1, _CROP_BYTES)
  return batch.replace(position=None, image=flat)


def _empty_rows(like: TrainBatch, rows: int, device: jax.Device) -> TrainBatch:
  leaves = jax.tree.leaves(like)
  needed = rows * sum(leaf[0].size * leaf.dtype.itemsize for leaf in leaves)
  memory = device.memory_stats()
  if memory and "bytes_limit" in memory:
    free = memory["bytes_limit"] - memory["bytes_in_use"]
    check_room(needed, free, str(device))
  return jax.tree.map(
    lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype, device=device),
    like,
  )


def _filled(
  rows: TrainBatch,
  reader: Examples,
  part: range,
  rows_a_turn: int,
  device: jax.Device,
) -> TrainBatch:
  ranges = [
    part[first : first + rows_a_turn]
    for first in range(0, len(part), rows_a_turn)
  ]
  if not ranges:
    return rows
  chunks = read_chunks(reader, ranges)
  for chunk, wanted in zip(chunks, ranges, strict=True):
    there = jax.device_put(_flat(chunk), device)
    rows = _write(rows, there, np.int32(wanted.start - part.start))
  return rows


@functools.partial(jax.jit, donate_argnums=0)
def _write(rows: TrainBatch, chunk: TrainBatch, first: Array) -> TrainBatch:
  return jax.tree.map(
    lambda whole, part: lax.dynamic_update_slice_in_dim(whole, part, first, 0),
    rows,
    chunk,
  )


def _joined(
  parts: Sequence[TrainBatch], devices: Sequence[jax.Device], total: int
) -> ResidentExamples:
  def placed(name: str) -> Any:
    return jax.tree.map(
      lambda *leaves: place_shards(leaves, devices),
      *(getattr(part, name) for part in parts),
    )

  return ResidentExamples(
    num_examples=total, **{name: placed(name) for name in (*_FIELDS, "camera")}
  )


def _taken(held: Array, index: Int[Array, "b"]) -> Array:
  """The rows of the whole set that this device asks for, `[b, ...]`."""
  if lax.axis_size(AXIS) == 1:
    return jnp.take(held, index, axis=0, mode="clip")
  wanted = lax.all_gather(index, AXIS, tiled=True)
  row = wanted - lax.axis_index(AXIS) * len(held)
  here = (row >= 0) & (row < len(held))
  rows = jnp.take(held, row, axis=0, mode="clip")
  # Each row is on one device, and adding zeros changes nothing.
  rows = jnp.where(here.reshape(-1, *[1] * (held.ndim - 1)), rows, 0)
  if held.dtype != jnp.uint8:
    return _scattered(rows)
  # Not every backend adds up bytes.
  words = rows.reshape(len(rows), -1, _WORD_BYTES)
  words = _scattered(lax.bitcast_convert_type(words, jnp.uint32))
  crops = lax.bitcast_convert_type(words, jnp.uint8)
  return crops.reshape(len(crops), -1)


def _scattered(rows: Array) -> Array:
  return lax.psum_scatter(rows, AXIS, scatter_dimension=0, tiled=True)
