"""A Ray cluster of two nodes on this machine, in processes, for tests."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import signal
import time
from typing import Any
import unittest

import jax

_TRIES = 4


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
  """`ray.cluster_utils.Cluster` with a core on each of two nodes.

  The driver's node has no core of its own, so that either may be killed.
  """
  try:
    from ray.cluster_utils import Cluster
  except ModuleNotFoundError as error:
    raise unittest.SkipTest("ray is not installed (extra `ray`)") from error
  os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
  # Workers compute as this process does, to the last bit.
  os.environ["JAX_NUM_CPU_DEVICES"] = str(jax.config.jax_num_cpu_devices)
  cluster = Cluster()
  try:
    add_node(cluster, num_cpus=0, include_dashboard=False)
    for _ in range(2):
      add_node(cluster, num_cpus=1)
    yield cluster
  finally:
    cluster.shutdown()


def add_node(cluster: Any, **settings: Any) -> None:
  """Adds a node; Ray gives it 30 s, which a busy machine may exceed."""
  for left in reversed(range(_TRIES)):
    try:
      cluster.add_node(**settings)
      return
    except Exception as error:
      if not left or "timed out during startup" not in str(error):
        raise


def kill_node(cluster: Any) -> None:
  """Kills one of the nodes that have a core, and its workers."""
  worker_nodes = [node for node in cluster.worker_nodes if not node.head]
  cluster.remove_node(worker_nodes[0], allow_graceful=False)


def kill_node_after(cluster: Any, folder: pathlib.Path, pattern: str) -> None:
  """Kills a node as soon as a file is there."""
  while not any(folder.glob(pattern)):
    time.sleep(0.02)
  kill_node(cluster)


def die() -> None:
  """What a broken decoder does to its process."""
  os.kill(os.getpid(), signal.SIGSEGV)
