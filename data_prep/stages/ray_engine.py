"""Shards made by the workers of a Ray cluster (the extra `ray`).

A worker is an actor: a process that is sent the stage's work once, with models
and weights, and then makes the shards that it is given. The driver gives each
worker that is free the next shard, so that what is under way is never more than
one shard a worker, however many photos there are; and asks for as many workers
as the cluster has room for, again and again, since nodes come and go.

A shard whose worker is lost, with its node or alone, is given to another. If
its workers die every time, the photo that kills them is looked for by halves,
and given up with the reason; where no single photo does, the run stops.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
import dataclasses
import logging as python_logging
import os
import time
from typing import Any

from absl import logging

from data_prep.stages.compiled_programs import ENVIRONMENT, keep_programs
from data_prep.stages.engine import Progress, ShardWork
from data_prep.stages.extras import require
from data_prep.stages.shard_rows import ShardRows
from disentangle3d.types import UserError

# How often a shard's workers may die before a photo is suspected.
_TRIES = 3
# How often a photo is tried by itself before it is given up.
_TRIES_OF_A_PHOTO = 2
# Seconds between looks at how many workers the cluster has room for.
_LOOK_AGAIN_S = 5.0
_MOST_DEATHS = 4 * _TRIES
GIVEN_UP = "kills the process that works on it"
STARTED = "the first worker has started: %.1f s"


@dataclasses.dataclass(frozen=True)
class RayEngine:
  """See the module's text.

  Attributes:
    address: Of a cluster, host:port, or "auto" for the one that this machine
      belongs to; None starts one on this machine, for this run.
    worker_cpus: How many cores a worker has.
  """

  address: str | None = None
  worker_cpus: int = 1

  def run(
    self, work: ShardWork, shards: Sequence[int], progress: Progress
  ) -> None:
    """See `engine.Engine`.

    Raises:
      UserError: A shard's workers die whatever is given up, or a worker raised
        one.
    """
    if not shards:
      return
    with connected(self.address) as ray:
      gpus = 1 if work.gains_from_gpu and _total(ray, "GPU") >= 1 else 0
      pool = _Pool(ray, work, self.worker_cpus, gpus)
      try:
        _Run(pool, work, shards, progress).go()
      finally:
        pool.close()


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
  """Ray, connected to a cluster; one that was there before is kept.

  Raises:
    UserModuleNotFoundError: The extra `ray` is not installed.
    UserError: There is no cluster at the address.
  """
  require("ray", "for --engine=ray", "ray")
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
  os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
  import ray

  if ray.is_initialized():
    yield ray
    return
  try:
    ray.init(
      address=address or "local",
      include_dashboard=None if address else False,
      logging_level=python_logging.ERROR,
    )
  except (ConnectionError, ValueError, RuntimeError) as error:
    raise UserError(
      f"--ray_address: expected the address of a Ray cluster, got {address!r}"
      f" ({str(error).splitlines()[0]})"
    ) from error
  try:
    yield ray
  finally:
    ray.shutdown()


def address_of(ray: Any) -> str:
  """The address of the cluster that this process is connected to."""
  return str(ray.get_runtime_context().gcs_address)


def _total(ray: Any, resource: str) -> float:
  return float(ray.cluster_resources().get(resource, 0))


class _Worker:
  """What runs in a worker's process."""

  def __init__(self, make: Any, programs: str | None = None):
    """Takes a stage's work, and where the driver keeps compiled programs."""
    keep_programs(programs)
    self._make = make

  def ready(self) -> None:
    """Returns when the models are loaded."""

  def count(self, part: Any) -> int:
    return self._make.count(part)

  def attempt(self, shard: int, part: Any, places: Sequence[int]) -> None:
    self._make.attempt(shard, part, places)

  def make(self, shard: int, part: Any, reasons: Mapping[int, str]) -> int:
    counts: list[int] = []
    if reasons:
      self._make.without(shard, part, counts.append, reasons)
    else:
      self._make(shard, part, counts.append)
    return sum(counts)


class _Pool:
  """As many workers as a cluster has room for."""

  def __init__(self, ray: Any, work: ShardWork, cpus: int, gpus: int):
    self.ray = ray
    self._cpus, self._gpus = cpus, gpus
    self._make = ray.put(work.make)
    self._kind = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(
      _Worker
    )
    self.workers: set[Any] = set()

  def room(self) -> int:
    """How many workers the cluster has room for, one at least."""
    most = _total(self.ray, "CPU") // self._cpus
    if self._gpus:
      most = min(most, _total(self.ray, "GPU") // self._gpus)
    return max(int(most), 1)

  def start(self) -> Any:
    """Asks for another worker, which comes when there is room."""
    worker = self._kind.remote(self._make, os.environ.get(ENVIRONMENT))
    self.workers.add(worker)
    return worker

  def drop(self, worker: Any) -> None:
    """Ends a worker, which may be gone."""
    self.workers.discard(worker)
    self.ray.kill(worker)

  def close(self) -> None:
    """Ends all."""
    for worker in list(self.workers):
      self.drop(worker)


class _Run:
  """One stage's shards over a pool."""

  def __init__(
    self,
    pool: _Pool,
    work: ShardWork,
    shards: Sequence[int],
    progress: Progress,
  ):
    self._pool, self._work, self._progress = pool, work, progress
    self._waiting = collections.deque(shards)
    self._idle: list[Any] = []
    # Who loads models (None) or makes a shard, by what will call its end.
    self._busy: dict[Any, tuple[Any, int | None]] = {}
    self._deaths: collections.Counter[int | None] = collections.Counter()
    self._given_up: dict[int, dict[int, str]] = {}
    self._searches: dict[concurrent.futures.Future[None], int] = {}
    self._begun, self._started = time.monotonic(), False

  def go(self) -> None:
    """Makes all; raises what a worker raised."""
    with concurrent.futures.ThreadPoolExecutor() as searchers:
      while self._waiting or self._searches or self._makes():
        self._employ()
        self._staff()
        for reference in self._some_that_ended():
          self._end(reference, searchers)
        for search in [one for one in self._searches if one.done()]:
          self._waiting.appendleft(self._searches.pop(search))
          search.result()

  def _some_that_ended(self) -> list[Any]:
    if self._busy:
      return self._pool.ray.wait(list(self._busy), timeout=_LOOK_AGAIN_S)[0]
    concurrent.futures.wait(self._searches, timeout=_LOOK_AGAIN_S)
    return []

  def _makes(self) -> bool:
    return any(shard is not None for _, shard in self._busy.values())

  def _employ(self) -> None:
    """Gives the idle work; without any they make room for who searches."""
    while self._idle and self._waiting:
      self._give(self._idle.pop(), self._waiting.popleft())
    while self._idle and self._searches:
      self._pool.drop(self._idle.pop())

  def _staff(self) -> None:
    """Asks for as many workers as there is room and work for."""
    work = len(self._waiting) + len(self._busy) + len(self._searches)
    while len(self._pool.workers) < min(self._pool.room(), work):
      worker = self._pool.start()
      self._busy[worker.ready.remote()] = worker, None

  def _end(
    self, reference: Any, searchers: concurrent.futures.Executor
  ) -> None:
    """A worker has loaded its models or made a shard, or is lost."""
    worker, shard = self._busy.pop(reference)
    try:
      count = _answer(self._pool.ray, reference)
    except WorkerLostError as lost:
      self._pool.drop(worker)
      self._lost(shard, str(lost), searchers)
      return
    if shard is not None:
      self._progress(count)
    elif not self._started:
      self._started = True
      logging.info(STARTED, time.monotonic() - self._begun)
    self._idle.append(worker)

  def _give(self, worker: Any, shard: int) -> None:
    part = self._work.part(shard)
    given_up = self._given_up.get(shard, {})
    self._busy[worker.make.remote(shard, part, given_up)] = worker, shard

  def _lost(
    self, shard: int | None, why: str, searchers: concurrent.futures.Executor
  ) -> None:
    """Has a shard made by another worker, or what kills them looked for."""
    self._deaths[shard] += 1
    if shard is None:
      if self._deaths[None] > _TRIES * self._pool.room():
        raise UserError(f"--engine=ray: workers die as they start ({why})")
    elif self._deaths[shard] % _TRIES:
      logging.warning("Shard %d: its worker is lost; again.", shard)
      self._waiting.appendleft(shard)
    elif isinstance(self._work.make, ShardRows):
      logging.warning("Shard %d: looking for what kills its workers.", shard)
      search = searchers.submit(self._give_up, shard, why, _Probe(self._pool))
      self._searches[search] = shard
    else:
      raise UserError(f"shard {shard}: {_TRIES} workers died of it ({why})")

  def _give_up(self, shard: int, why: str, probe: "_Probe") -> None:
    """Finds a photo that kills every worker, and gives it up."""
    part = self._work.part(shard)
    given_up = self._given_up.setdefault(shard, {})
    try:
      places = [
        place for place in range(probe.count(part)) if place not in given_up
      ]
      while len(places) > 1:
        half = places[: len(places) // 2]
        places = half if probe.dies(shard, part, half) else places[len(half) :]
      if places and all(
        probe.dies(shard, part, places) for _ in range(_TRIES_OF_A_PHOTO)
      ):
        given_up[places[0]] = GIVEN_UP
      elif self._deaths[shard] >= _MOST_DEATHS:
        raise UserError(
          f"shard {shard}: its workers die, but of no single photo ({why})"
        )
    finally:
      probe.close()


class _Probe:
  """A worker that may die, with another in its place then."""

  def __init__(self, pool: _Pool):
    self._pool = pool
    self._worker = pool.start()

  def count(self, part: Any) -> int:
    """How many photos a part has."""
    return _answer(self._pool.ray, self._worker.count.remote(part))

  def dies(self, shard: int, part: Any, places: Sequence[int]) -> bool:
    """Whether some photos of a part kill it."""
    try:
      _answer(self._pool.ray, self._worker.attempt.remote(shard, part, places))
    except WorkerLostError:
      dead, self._worker = self._worker, self._pool.start()
      self._pool.drop(dead)
      return True
    return False

  def close(self) -> None:
    """Ends it."""
    self._pool.drop(self._worker)


class WorkerLostError(Exception):
  """A worker died, or its node."""


def _answer(ray: Any, reference: Any) -> Any:
  """What a worker returned.

  Raises:
    WorkerLostError: It died.
    UserError: It raised one; so with what the system refused it.
  """
  errors = ray.exceptions
  try:
    return ray.get(reference)
  except (
    errors.RayActorError,
    errors.WorkerCrashedError,
    errors.NodeDiedError,
    errors.OutOfMemoryError,
    errors.ObjectLostError,
  ) as error:
    raise WorkerLostError(str(error).splitlines()[0]) from error
  except errors.RayTaskError as error:
    if isinstance(error.cause, (UserError, OSError)):
      raise error.cause from error
    raise
