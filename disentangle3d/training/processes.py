"""Several processes that train together: joining, agreeing, and losing one."""

from collections.abc import Iterator
import contextlib
import dataclasses

import jax
from jax.experimental import multihost_utils
import numpy as np

# A lost process is noticed after this long where its sockets stay open.
_HEARTBEAT_S = 30


class LostProcessError(RuntimeError):
  """Another process ended, and this one cannot go on."""


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Which processes there are; the defaults are one process alone.

  Attributes:
    coordinator: Address "host:port" of process 0; "auto" takes all from the
      environment that SLURM, Open MPI or a TPU pod sets; "" is one process.
    num_processes: How many; ignored with "auto".
    process_id: Which one this is, from 0; ignored with "auto".
  """

  coordinator: str = ""
  num_processes: int = 1
  process_id: int = 0

  def __post_init__(self):
    if self.num_processes < 1:
      raise ValueError(
        f"num_processes: expected at least 1, got {self.num_processes}"
      )
    if not 0 <= self.process_id < self.num_processes:
      raise ValueError(
        f"process_id: expected 0 to {self.num_processes - 1}, got"
        f" {self.process_id}"
      )
    if self.num_processes > 1 and not self.coordinator:
      raise ValueError(
        "coordinator: expected host:port of process 0 for"
        f" {self.num_processes} processes, got none"
      )


def join(cluster: Cluster) -> None:
  """Joins the other processes; call it before any array is made.

  Raises:
    RuntimeError: The others did not come, or the environment says nothing.
  """
  if not cluster.coordinator:
    return
  # What CPU devices of different processes talk through.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  if cluster.coordinator == "auto":
    jax.distributed.initialize(heartbeat_timeout_seconds=_HEARTBEAT_S)
    return
  jax.distributed.initialize(
    cluster.coordinator,
    cluster.num_processes,
    cluster.process_id,
    heartbeat_timeout_seconds=_HEARTBEAT_S,
  )


def agree(wish: bool, *, ask: bool) -> bool:
  """Whether any process wishes it, so that all do the same.

  Args:
    wish: This process's.
    ask: Whether to ask the others now, the same on all; until then nobody
      does it. One process needs not ask.

  Returns:
    The same on every process.
  """
  if jax.process_count() == 1:
    return wish
  if not ask:
    return False
  return bool(np.any(multihost_utils.process_allgather(np.array(wish))))


def is_first_process() -> bool:
  """Whether this process is the one that writes."""
  return jax.process_index() == 0


@contextlib.contextmanager
def lost_processes_named() -> Iterator[None]:
  """Turns what JAX raises when another process is gone into one message.

  Raises:
    LostProcessError: An error of the runtime, among several processes.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1:
      raise
    reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
    raise LostProcessError(
      f"process {jax.process_index()} of {jax.process_count()}: another"
      " process is gone or cannot be reached; run the same command on all of"
      f" them to go on from the last checkpoint ({reason})"
    ) from error
