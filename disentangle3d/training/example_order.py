"""Which examples a step takes: the same on any number of processes.

Position i of the global batch B at a step is the example
`example_order(seed, epoch)[(step B + i) mod n]`.

With L lanes the batch and the examples are cut into L equal parts, and each
part of the batch goes through its own examples so, in an order of its own. A
process that feeds whole lanes reads no example of the others', so that of a
large set each process opens, stages and shuffles its own files only. How many
lanes there are decides the order; how many processes share them does not.
"""

from collections.abc import Callable, Sequence
import functools

from jaxtyping import Int
import numpy as np

from disentangle3d.types import UserError


@functools.lru_cache(maxsize=4)
def example_order(
  seed: int, epoch: int, num_examples: int
) -> Int[np.ndarray, "n"]:
  """The order of an epoch: a permutation, the same on every process."""
  return _shuffled((seed, epoch), num_examples)


@functools.lru_cache(maxsize=4)
def _lane_orders(
  seed: int, epoch: int, num_examples: int, lanes: int, first: int, stop: int
) -> Sequence[Int[np.ndarray, "m"]]:
  """The orders of an epoch in the lanes from `first` to `stop`."""
  return [
    _shuffled((seed, epoch, lane), len(lane_range(num_examples, lanes, lane)))
    for lane in range(first, stop)
  ]


def _shuffled(seed: Sequence[int], count: int) -> Int[np.ndarray, "n"]:
  # Four bytes an example do for what memory holds.
  order = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
  np.random.default_rng(seed).shuffle(order)
  order.setflags(write=False)
  return order


def lane_range(num_examples: int, lanes: int, lane: int) -> range:
  """The examples of a lane, in the order of the files."""
  return range(lane * num_examples // lanes, (lane + 1) * num_examples // lanes)


def example_indices(
  seed: int,
  step: int,
  positions: Int[np.ndarray, "b"],
  *,
  batch_size: int,
  num_examples: int,
  lanes: int = 1,
) -> Int[np.ndarray, "b"]:
  """The examples at positions of the global batch of a step.

  Args:
    seed: Of the phase.
    step: Updates done before this one.
    positions: i, in [0, B).
    batch_size: B.
    num_examples: n.
    lanes: L; divides B, and is at most n.

  Returns:
    Indices into the split, in [0, n).

  Raises:
    UserError: The lanes do not divide the batch, or are more than there are
      examples.
  """
  positions = np.asarray(positions, np.int64)
  if lanes == 1:
    places = step * batch_size + positions
    return _taken(
      places,
      num_examples,
      lambda epoch: example_order(seed, epoch, num_examples),
    )
  check_lanes(lanes, batch_size, num_examples)
  share = batch_size // lanes
  indices = np.empty(len(positions), np.int64)
  first, stop = positions.min() // share, positions.max() // share + 1
  for lane in range(first, stop):
    own = lane_range(num_examples, lanes, lane)
    here = positions // share == lane

    def order(epoch: int, lane: int = lane) -> Int[np.ndarray, "m"]:
      orders = _lane_orders(
        seed, epoch, num_examples, lanes, int(first), int(stop)
      )
      return orders[lane - first]

    places = step * share + positions[here] % share
    indices[here] = own.start + _taken(places, len(own), order)
  return indices


def _taken(
  places: Int[np.ndarray, "b"],
  count: int,
  order: Callable[[int], Int[np.ndarray, "n"]],
) -> Int[np.ndarray, "b"]:
  """What an endless row of epochs has at some places."""
  indices = np.empty(len(places), np.int64)
  for epoch in np.unique(places // count):
    here = places // count == epoch
    indices[here] = order(int(epoch))[places[here] % count]
  return indices


def check_lanes(lanes: int, batch_size: int, num_examples: int) -> None:
  """Refuses lanes that do not divide a batch, or have no examples.

  Raises:
    UserError: Names the numbers.
  """
  if not 1 <= lanes <= num_examples or batch_size % lanes:
    raise UserError(
      f"examples.lanes: expected a divisor of the batch size {batch_size}, at"
      f" most the {num_examples} examples, got {lanes}"
    )


def local_positions(
  batch_size: int, *, process: int = 0, num_processes: int = 1
) -> Int[np.ndarray, "b"]:
  """The positions of the global batch that one process feeds.

  Raises:
    UserError: The batch does not divide by the number of processes.
  """
  if batch_size % num_processes:
    raise UserError(
      f"batch_size: expected a multiple of the {num_processes} processes, got"
      f" {batch_size}"
    )
  share = batch_size // num_processes
  return np.arange(process * share, (process + 1) * share, dtype=np.int32)
