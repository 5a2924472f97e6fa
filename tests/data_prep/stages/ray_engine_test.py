import pathlib
import tempfile
import threading
import time

from absl.testing import absltest
import jax
import pytest

from data_prep.stages import ray_engine
from data_prep.stages.engine import LOCAL, ShardWork
from data_prep.stages.folder import ALONE, digest, open_stage
from data_prep.stages.ray_engine import GIVEN_UP, RayEngine
from data_prep.stages.rows import PhotoRow, read_rows
from data_prep.stages.shard_loop import fill_shards
from data_prep.stages.shard_rows import ShardRows
from disentangle3d.types import UserError
from tests.data_prep import ray_nodes

_SHARDS, _A_SHARD = 6, 4


def _names(shard: int) -> list[str]:
  return [f"s{shard}/{number}" for number in range(_A_SHARD)]


def _row(name: str, reason: str = "") -> PhotoRow:
  return PhotoRow(
    pathlib.Path("/photos") / name,
    subject=name.split("/")[0],
    image_id=name,
    status="rejected" if reason else "ok",
    reason=reason,
    box=[0, 0, 1, 1],
    five_points=[[0, 0]] * 5,
  )


class RayEngineTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def _fill(self, name, engine, *, deadly=(), wait_s=0.0, error=None):
    # Nested, so that workers are sent the code and import no test.
    die, row = ray_nodes.die, _row

    def rows(shard, names, progress):
      time.sleep(wait_s)
      if error:
        raise error
      for one in names:
        if one in deadly:
          die()
        progress(1)
      return [row(one) for one in names]

    with open_stage(
      self.folder / name,
      "cut",
      num_shards=_SHARDS,
      settings={},
      licences={},
      inputs=digest([b"a"]),
    ) as folder:
      work = ShardWork(ShardRows(folder, list, rows, row), part=_names)
      return fill_shards(
        folder, ALONE, work, num_photos=_SHARDS * _A_SHARD, engine=engine
      )

  def _files(self, name):
    return {
      path.name: path.read_bytes() for path in (self.folder / name).iterdir()
    }

  def test_a_lost_node_changes_no_byte(self):
    self._fill("local", LOCAL)
    with ray_nodes.two_nodes() as cluster:
      killer = threading.Thread(
        target=ray_nodes.kill_node_after,
        args=(cluster, self.folder / "lost", "manifest-*"),
        daemon=True,
      )
      killer.start()
      self._fill("lost", RayEngine(cluster.address), wait_s=0.5)
      killer.join()
    self.assertEqual(self._files("lost"), self._files("local"))

  def test_a_worker_takes_programs_from_where_its_driver_does(self):
    for name in (
      "jax_compilation_cache_dir",
      "jax_persistent_cache_min_compile_time_secs",
      "jax_persistent_cache_min_entry_size_bytes",
    ):
      self.addCleanup(jax.config.update, name, getattr(jax.config, name))
    jax.config.update("jax_compilation_cache_dir", None)
    ray_engine._Worker(None, str(self.folder))
    (kind,) = self.folder.iterdir()
    self.assertEqual(jax.config.jax_compilation_cache_dir, str(kind))

  @pytest.mark.slow
  @pytest.mark.timeout(900)
  def test_a_deadly_photo_is_given_up_and_the_rest_made(self):
    self._fill("local", LOCAL)
    with ray_nodes.two_nodes() as cluster:
      engine = RayEngine(cluster.address)
      counts = self._fill("deadly", engine, deadly={"s3/2"})
      with self.assertRaisesRegex(UserError, "^no such thing$"):
        self._fill("error", engine, error=UserError("no such thing"))
    self.assertEqual(counts, {"ok": 23, f"rejected, {GIVEN_UP}": 1})
    reasons = {
      row.image_id: row.reason
      for row in read_rows(self.folder / "deadly")
      if row.status != "ok"
    }
    self.assertEqual(reasons, {"s3/2": GIVEN_UP})
    deadly, local = self._files("deadly"), self._files("local")
    for name in ("manifest-00003-of-00006.jsonl", "about.json"):
      del deadly[name], local[name]
    self.assertEqual(deadly, local)


if __name__ == "__main__":
  absltest.main()
