"""A Ray cluster of two nodes on this machine, in processes, for tests."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import signal
import time
from typing import Any
import unittest


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
  # Busy machines take their time.
  os.environ["RAY_raylet_start_wait_time_s"] = "180"
  cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 0, "include_dashboard": False},
  )
  try:
    for _ in range(2):
      cluster.add_node(num_cpus=1)
    yield cluster
  finally:
    cluster.shutdown()


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
