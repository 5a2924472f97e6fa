"""Data preparation on a cluster, simulated from the rate of each stage.

A clock and a heap of what ends next: workers load their models, ask the driver
for a shard, read and write through a file system that serves so many requests a
second, and work; the driver hands out so many shards a second, from an index
that it has to hold and to read first. What a stage's core takes a photo is
measured (`benchmark_photo_stages`, or a run's own rates); the rest are
assumptions that are flags.
"""

from collections.abc import Sequence
import dataclasses
import heapq
import math
import random

from disentangle3d.reporting.html_page import Row, Table


@dataclasses.dataclass(frozen=True)
class StageCost:
  """What a stage takes a photo.

  Attributes:
    stage: The binary's name.
    core_ms: Of a core.
    files_read: Requests to the file system; 0.01 where an archive is read.
    files_written: Same.
    indexed: What the driver does before the first shard, a photo, in rows that
      it reads and checks; a name that it lists is about a tenth of one.
  """

  stage: str
  core_ms: float
  files_read: float
  files_written: float
  indexed: float


@dataclasses.dataclass(frozen=True)
class Machines:
  """The machines.

  Attributes:
    nodes: How many.
    cores: Of a node.
    start_s: Until a worker has started, and loaded its models.
    files_s: Requests a second that the file system or store serves in all.
    handed_out_s: Shards a second that the driver hands out.
    indexed_s: Rows a second that the driver reads before the first shard.
    row_bytes: What the driver holds of a photo.
    photos_per_shard: Of a shard.
    hours_between_losses: Of a node, on average; what it was making is made
      again by another, and a node takes its place.
    spread: Standard deviation of a shard's time, a share of the mean.
  """

  nodes: int
  cores: int = 16
  start_s: float = 20.0
  files_s: float = 5_000.0
  handed_out_s: float = 500.0
  indexed_s: float = 7_400.0
  row_bytes: float = 700.0
  photos_per_shard: int = 512
  hours_between_losses: float = 1_000.0
  spread: float = 0.1


@dataclasses.dataclass(frozen=True)
class SimulatedStage:
  """What a stage took.

  Attributes:
    stage: The binary's name.
    hours: From its start to its last shard.
    efficiency: Of all cores, over one node that waits for nothing.
    limit: What was waited for most: "cores", "files", "driver", "start" or
      "few shards".
    driver_gb: What the driver holds.
    lost: Shards that were made again.
  """

  stage: str
  hours: float
  efficiency: float
  limit: str
  driver_gb: float
  lost: int


def simulate_stage(
  cost: StageCost, photos: int, cluster: Machines, *, seed: int = 0
) -> SimulatedStage:
  """One stage of so many photos on a cluster."""
  shards = math.ceil(photos / cluster.photos_per_shard)
  workers = min(cluster.nodes * cluster.cores, shards)
  # Beyond some ten thousand events only the sums count.
  grain = max(1, shards // 40_000, workers // 20_000)
  work_s = cluster.photos_per_shard * cost.core_ms / 1e3
  requests = cluster.photos_per_shard * (cost.files_read + cost.files_written)
  files_s = requests / cluster.files_s
  indexing_s = photos * cost.indexed / cluster.indexed_s
  draw = random.Random(seed)
  loss_rate = 1 / (3600 * cluster.hours_between_losses)
  ends = [(indexing_s + cluster.start_s, worker) for worker in range(workers)]
  heapq.heapify(ends)
  driver_free = files_free = indexing_s
  waited = {
    "files": 0.0,
    "driver": workers * indexing_s,
    "start": workers * cluster.start_s,
  }
  last, lost, left = 0.0, 0, shards
  while left > 0:
    now, worker = heapq.heappop(ends)
    some = min(grain, left)
    driver_free = max(driver_free, now) + some / cluster.handed_out_s
    waited["driver"] += driver_free - now
    files_free = max(files_free, driver_free) + some * files_s
    waited["files"] += files_free - driver_free
    took = some * work_s * max(0.1, draw.gauss(1, cluster.spread))
    # Reading and writing go on beside the work of others, not one's own.
    end = files_free + took
    if draw.random() < 1 - math.exp(-loss_rate * (end - now)):
      lost += 1
      end = now + draw.random() * (end - now) + cluster.start_s
    else:
      left -= some
      last = max(last, end)
    heapq.heappush(ends, (end, worker))
  ideal_s = photos * cost.core_ms / 1e3 / (cluster.nodes * cluster.cores)
  waited["few shards"] = max(
    0.0, last * cluster.nodes * cluster.cores - shards * work_s
  ) - sum(waited.values())
  limit = max(waited, key=waited.__getitem__)
  efficiency = min(1.0, ideal_s / last)
  return SimulatedStage(
    stage=cost.stage,
    hours=last / 3600,
    efficiency=efficiency,
    limit=limit if efficiency < 0.9 else "cores",
    driver_gb=photos * cluster.row_bytes / 1e9,
    lost=lost,
  )


def costs_of(core_ms: dict[str, float], *, tar_crops: bool) -> list[StageCost]:
  """The stages' costs, photographs in archives.

  Args:
    core_ms: By stage.
    tar_crops: Whether crops are in tar shards, not in a file each.
  """
  crop = 0.01 if tar_crops else 1.0
  read_written_indexed = {
    "detect_faces": (0.01, 0.01, 0.1),
    "locate_landmarks": (0.01, 0.01, 0.01),
    "align_faces": (0.01, crop, 0.01),
    "fit_faces": (0.01, 0.01, 1.0),
    "build_dataset": (crop, 0.01, 1.0),
  }
  return [
    StageCost(stage, core_ms[stage], *rest)
    for stage, rest in read_written_indexed.items()
  ]


@dataclasses.dataclass(frozen=True)
class SimulatedRun:
  """All stages one after another.

  Attributes:
    photos: How many.
    nodes: On how many nodes.
    stages: Each of them.
  """

  photos: int
  nodes: int
  stages: Sequence[SimulatedStage]

  @property
  def hours(self) -> float:
    """All together."""
    return sum(stage.hours for stage in self.stages)


def simulate(
  costs: Sequence[StageCost], photos: int, cluster: Machines
) -> SimulatedRun:
  """All stages of so many photos, one after another."""
  return SimulatedRun(
    photos,
    cluster.nodes,
    [simulate_stage(cost, photos, cluster) for cost in costs],
  )


def cluster_table(runs: Sequence[SimulatedRun]) -> Table:
  """A line a number of photos and of nodes."""

  def line(run: SimulatedRun) -> Row:
    alone = next(
      one for one in runs if (one.photos, one.nodes) == (run.photos, first)
    )
    efficiency = alone.hours * first / (run.hours * run.nodes)
    limits: dict[str, list[str]] = {}
    for stage in run.stages:
      if stage.limit != "cores":
        limits.setdefault(stage.limit, []).append(stage.stage)
    return (
      *(f"{run.photos / 1e6:g}", run.nodes, f"{run.hours:.2f}"),
      f"{efficiency:.0%}",
      *(f"{stage.hours:.2f}" for stage in run.stages),
      f"{max(stage.driver_gb for stage in run.stages):.1f}",
      sum(stage.lost for stage in run.stages),
      "; ".join(f"{k} ({', '.join(v)})" for k, v in limits.items()) or None,
    )

  first = min(run.nodes for run in runs)
  names = [stage.stage for stage in runs[0].stages]
  return Table(
    (
      *("million photos", "nodes", "hours", "efficiency"),
      *(f"{name}, hours" for name in names),
      *("driver, GB", "lost shards", "what limits"),
    ),
    [line(run) for run in runs],
    text_columns=(len(names) + 6,),
    caption=f"Simulated; efficiency is over {first} node.",
  )
