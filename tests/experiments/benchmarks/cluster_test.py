import dataclasses
import os
import subprocess
import sys
import time

from absl import logging
from absl.testing import absltest
import pytest

from data_prep.datasets.preparation import STAGES
from data_prep.stages.ray_engine import STARTED
from experiments.benchmarks.cluster import (
  Machines,
  StageCost,
  cluster_table,
  costs_of,
  simulate,
  simulate_stage,
)
from experiments.benchmarks.core_time import core_time
from experiments.benchmarks.ray_overhead import (
  WHOLE,
  EngineTimes,
  Seconds,
  overhead_table,
  told_seconds,
)

_COST = StageCost("detect_faces", 10.0, 0.0, 0.0, 0.0)
# Nothing but cores is waited for.
_IDEAL = Machines(
  nodes=2,
  cores=4,
  start_s=0.0,
  files_s=1e12,
  handed_out_s=1e12,
  indexed_s=1e12,
  hours_between_losses=1e12,
  spread=0.0,
)
_PHOTOS = 8 * 512 * 10


class ClusterTest(absltest.TestCase):
  def test_without_anything_to_wait_for_it_is_work_over_cores(self):
    stage = simulate_stage(_COST, _PHOTOS, _IDEAL)
    self.assertAlmostEqual(stage.hours, _PHOTOS * 0.01 / 8 / 3600)
    self.assertAlmostEqual(stage.efficiency, 1.0)
    self.assertEqual((stage.limit, stage.lost), ("cores", 0))

  def test_each_resource_limits_when_it_is_short(self):
    # 41 s of work in all on 8 cores.
    for limit, change in {
      "start": {"start_s": 200.0},
      "driver": {"handed_out_s": 0.2},
      "few shards": {"nodes": 200},
    }.items():
      cluster = dataclasses.replace(_IDEAL, **change)
      self.assertEqual(simulate_stage(_COST, _PHOTOS, cluster).limit, limit)
    reading = dataclasses.replace(_COST, files_read=1.0)
    slow = dataclasses.replace(_IDEAL, files_s=100.0)
    stage = simulate_stage(reading, _PHOTOS, slow)
    self.assertEqual(stage.limit, "files")
    # The file system serves no faster than it can.
    self.assertGreaterEqual(stage.hours, _PHOTOS / 100 / 3600)

  def test_an_index_is_read_before_the_first_shard(self):
    cost = dataclasses.replace(_COST, indexed=1.0)
    cluster = dataclasses.replace(_IDEAL, indexed_s=100.0)
    stage = simulate_stage(cost, _PHOTOS, cluster)
    self.assertAlmostEqual(
      stage.hours, (_PHOTOS / 100 + _PHOTOS * 0.01 / 8) / 3600
    )
    self.assertEqual(stage.limit, "driver")

  def test_lost_nodes_cost_what_they_were_making(self):
    cluster = dataclasses.replace(_IDEAL, hours_between_losses=0.01)
    stage = simulate_stage(_COST, _PHOTOS, cluster)
    self.assertGreater(stage.lost, 0)
    self.assertGreater(
      stage.hours, simulate_stage(_COST, _PHOTOS, _IDEAL).hours
    )

  def test_small_files_limit_and_tar_shards_do_not(self):
    core_ms = dict.fromkeys(
      *(
        ["detect_faces", "locate_landmarks", "align_faces", "fit_faces"]
        + ["build_dataset"],
      ),
      2.0,
    )
    cluster = Machines(nodes=128)
    hours = {
      tar: simulate(costs_of(core_ms, tar_crops=tar), 5_800_000, cluster)
      for tar in (False, True)
    }
    align = {tar: run.stages[2] for tar, run in hours.items()}
    self.assertEqual(align[False].limit, "files")
    self.assertLess(align[True].hours, align[False].hours / 3)
    table = cluster_table(list(hours.values())[:1])
    self.assertLen(table.header, len(table.rows[0]))
    self.assertIn("files (align_faces", table.rows[0][-1])

  def test_more_nodes_are_never_slower_but_less_efficient(self):
    costs = costs_of(
      dict.fromkeys(
        [
          *("detect_faces", "locate_landmarks", "align_faces"),
          *("fit_faces", "build_dataset"),
        ],
        4.0,
      ),
      tar_crops=True,
    )
    hours = [
      simulate(costs, 1_000_000, Machines(nodes=nodes)).hours
      for nodes in (1, 4, 16)
    ]
    self.assertTrue(hours[0] > hours[1] > hours[2])
    self.assertLess(hours[0] / hours[2], 16)


class OverheadTest(absltest.TestCase):
  def test_the_table_has_medians(self):
    local = [Seconds(4.0, 2.0), Seconds(4.0, 1.0), Seconds(9.0, 3.0)]
    times = [
      EngineTimes("align_faces", 9, local, [Seconds(5.0, 2.2, 0.5)], True),
      EngineTimes(WHOLE, 9, local, local, False),
    ]
    (line, whole) = overhead_table(times).rows
    self.assertEqual(line[1:4], ("2.0", "2.2", "+10%"))
    self.assertEqual(line[4:7], ("4.0", "5.0", "+25%"))
    self.assertEqual(line[7:], ("0.5", "yes"))
    self.assertEqual((whole[3], whole[8]), ("+0%", "no"))

  def test_what_prepare_dataset_logs_is_read(self):
    with self.assertLogs() as logs:
      for number, (stage, *_) in enumerate(STAGES):
        if number % 2:
          logging.info(STARTED, 0.25)
        logging.info("%s: %d of %d photos, %.1f/s", stage, 7, 8, 9.0)
        logging.info("%s: %.1f s", stage, number + 0.5)
    log = [f"I1 x.py:1] {r.getMessage()}\n" for r in logs.records]
    cores = iter((1.0, 3.0, 3.5, 9.0, 9.0)).__next__
    told = told_seconds(log, cores)
    self.assertEqual(
      list(told.values()),
      [
        Seconds(0.5, 1.0),
        Seconds(1.5, 2.0, 0.2),
        Seconds(2.5, 0.5),
        Seconds(3.5, 5.5, 0.2),
        Seconds(4.5, 0.0),
      ],
    )

  @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
  def test_core_time_is_that_of_all_that_a_command_starts(self):
    # Of 0.6 core seconds half are of a process that nobody waits for.
    spin = (
      "import os, time\nos.fork()\n"
      "while time.process_time() < 0.3: pass\ntime.sleep(1)"
    )
    with core_time() as cores:
      environment = os.environ | cores.environment
      subprocess.run([sys.executable, "-c", spin], env=environment, check=True)
      time.sleep(0.5)
    self.assertBetween(cores.seconds(), 0.55, 0.9)


if __name__ == "__main__":
  absltest.main()
