"""Several processes that train together: joining, agreeing, and losing one."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import re
import sys

import jax
from jax.experimental import multihost_utils
import numpy as np

from disentangle3d.training.lifeline import lifeline
from disentangle3d.types import UserError


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
      raise UserError(
        f"num_processes: expected at least 1, got {self.num_processes}"
      )
    if not 0 <= self.process_id < self.num_processes:
      raise UserError(
        f"process_id: expected 0 to {self.num_processes - 1}, got"
        f" {self.process_id}"
      )
    if self.num_processes > 1 and not self.coordinator:
      raise UserError(
        "coordinator: expected host:port of process 0 for"
        f" {self.num_processes} processes, got none"
      )
    if self.coordinator not in ("", "auto") and not re.fullmatch(
      r".+:\d+", self.coordinator
    ):
      raise UserError(
        "coordinator: expected host:port of process 0, or auto, got"
        f" {self.coordinator!r}"
      )


def join(cluster: Cluster) -> None:
  """Joins the other processes; call it before any array is made.

  Raises:
    UserError: It is "auto", and the environment says nothing.
    RuntimeError: The others did not come.
  """
  if not cluster.coordinator:
    return
  # What CPU devices of different processes talk through.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  if cluster.coordinator == "auto":
    try:
      jax.distributed.initialize()
    except ValueError as error:
      raise UserError(
        "coordinator: expected an environment of SLURM, Open MPI or a TPU pod"
        f" for auto, got none ({error}); give host:port of process 0"
      ) from error
    return
  jax.distributed.initialize(
    cluster.coordinator, cluster.num_processes, cluster.process_id
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
def watched(cluster: Cluster) -> Iterator[None]:
  """Ends this process when another is gone, with one message and status 1.

  What JAX raises of it becomes the same message. Neither leaves in order,
  which would wait for the one that is gone.
  """
  host = cluster.coordinator.rpartition(":")[0]
  try:
    with lifeline(host, lambda number: _end(f"process {number} is gone")):
      yield
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1:
      raise
    _end(str(error).splitlines()[0][:200] if str(error) else repr(error))


def _end(reason: str) -> None:
  sys.stderr.write(
    f"ERROR: process {jax.process_index()} of {jax.process_count()}: another"
    " process is gone or cannot be reached; run the same command on all of"
    f" them to go on from the last checkpoint ({reason})\n"
  )
  sys.stderr.flush()
  os._exit(1)
