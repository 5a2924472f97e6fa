"""One timer for all that is timed."""

from collections.abc import Callable, Mapping
import dataclasses
import math
import time
from typing import Any

import jax
import numpy as np

from disentangle3d.types import UserError

Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Timing:
  """What the calls of one thing took.

  Attributes:
    first_s: Seconds of the first call, which compiles; NaN if nothing was
      called before those that count.
    wall_s: Seconds of each call that counts, in order.
    cpu_s: Seconds of processor time of each, all threads of this process:
      where other work shares the machine, only these can be compared.
  """

  first_s: float
  wall_s: tuple[float, ...]
  cpu_s: tuple[float, ...]

  @property
  def median_s(self) -> float:
    """Seconds of the median call."""
    return float(np.median(self.wall_s))

  @property
  def median_cpu_s(self) -> float:
    """Seconds of processor time of the median call."""
    return float(np.median(self.cpu_s))

  def milliseconds(self) -> dict[str, float]:
    """The median, both quartiles and the 95th percentile, by name."""
    return {
      f"p{percent}_ms": 1e3 * float(np.percentile(self.wall_s, percent))
      for percent in (25, 50, 75, 95)
    }


def time_in_turn(
  works: Mapping[str, Callable[[], Any]],
  *,
  rounds: int,
  warmup: int = 1,
  clock: Clock = time.perf_counter,
  processor_clock: Clock = time.process_time,
) -> dict[str, Timing]:
  """Calls several things in turn, so that they share what else is going on.

  A call ends when all JAX arrays that it returns are there.

  Args:
    works: What to call, by name.
    rounds: Calls of each that count.
    warmup: Calls of each before them; the first one compiles.
    clock: Seconds.
    processor_clock: Seconds of processor time.

  Returns:
    By name.

  Raises:
    UserError: `rounds` is not positive, or `warmup` is negative.
  """
  if rounds < 1 or warmup < 0:
    raise UserError(
      f"rounds, warmup: expected at least 1 and 0, got {rounds}, {warmup}"
    )

  def once(work: Callable[[], Any]) -> tuple[float, float]:
    start, busy = clock(), processor_clock()
    jax.block_until_ready(work())
    busy = processor_clock() - busy
    return clock() - start, busy

  first = dict.fromkeys(works, math.nan)
  for name, work in works.items():
    for number in range(warmup):
      seconds, _ = once(work)
      if not number:
        first[name] = seconds
  taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
  for _ in range(rounds):
    for name, work in works.items():
      taken[name].append(once(work))
  return {
    name: Timing(first[name], *zip(*calls, strict=True))
    for name, calls in taken.items()
  }


def time_calls(
  work: Callable[[], Any],
  *,
  rounds: int,
  warmup: int = 1,
  clock: Clock = time.perf_counter,
  processor_clock: Clock = time.process_time,
) -> Timing:
  """Times one thing; see `time_in_turn`."""
  (timing,) = time_in_turn(
    {"": work},
    rounds=rounds,
    warmup=warmup,
    clock=clock,
    processor_clock=processor_clock,
  ).values()
  return timing
