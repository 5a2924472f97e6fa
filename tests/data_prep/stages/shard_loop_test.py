import pathlib
import tempfile

from absl.testing import absltest, parameterized

from data_prep.stages.about import read_counts
from data_prep.stages.engine import ShardWork
from data_prep.stages.folder import ALONE, Share, digest, open_stage
from data_prep.stages.rows import PhotoRow, read_rows
from data_prep.stages.shard_loop import fill_shards, split_shards
from data_prep.stages.shard_rows import ShardRows


class SplitShardsTest(parameterized.TestCase):
  @parameterized.parameters((0, 3), (1, 3), (6, 3), (7, 3))
  def test_every_position_is_in_one_shard(self, count, per_shard):
    shards = split_shards(count, per_shard)
    self.assertEqual([i for shard in shards for i in shard], list(range(count)))
    self.assertTrue(all(0 < len(shard) <= per_shard for shard in shards))

  def test_none_a_shard_is_refused(self):
    with self.assertRaisesRegex(ValueError, "expected 1 or more, got 0"):
      split_shards(3, 0)


class FillShardsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "out"
    self.made = []

  def _fill(self, share: Share = ALONE, *, ok: bool = True):
    def make_rows(shard, parts, progress):
      self.assertEqual(parts, [shard])
      self.made.append(shard)
      progress(1)
      row = PhotoRow(
        self.path / "a.png",
        subject="s",
        image_id=f"s/{shard}.png",
        status="rejected",
        reason="too dark: 3",
      )
      if ok and shard == 2:
        row = PhotoRow(
          self.path / "b.png",
          subject="s",
          image_id="s/2.png",
          status="ok",
          box=[0, 0, 1, 1],
          five_points=[[0, 0]] * 5,
        )
      return [row]

    with open_stage(
      self.path,
      "cut",
      num_shards=3,
      settings={},
      licences={},
      inputs=digest([b"a"]),
    ) as folder:
      make = ShardRows(folder, lambda part: part, make_rows, PhotoRow.rejected)
      work = ShardWork(make, part=lambda shard: [shard])
      return fill_shards(folder, share, work, num_photos=3)

  def test_the_last_of_several_machines_counts(self):
    self.assertIsNone(self._fill(Share(0, 2)))
    self.assertEqual(self.made, [0, 2])
    self.assertEqual(read_counts(self.path), {})
    counts = self._fill(Share(1, 2))
    self.assertEqual(self.made, [0, 2, 1])
    self.assertEqual(counts, {"ok": 1, "rejected, too dark": 2})
    self.assertEqual(read_counts(self.path), counts)
    self.assertLen(read_rows(self.path), 3)

  def test_what_is_done_is_not_done_again(self):
    self._fill()
    before = (self.path / "about.json").read_bytes()
    self.assertEqual(self._fill(), {"ok": 1, "rejected, too dark": 2})
    self.assertEqual(self.made, [0, 1, 2])
    self.assertEqual((self.path / "about.json").read_bytes(), before)

  def test_no_photo_at_all_is_an_error_with_its_reasons(self):
    with self.assertRaisesRegex(
      ValueError, "none of 3 photos is ok after cut: 3 rejected, too dark"
    ):
      self._fill(ok=False)


if __name__ == "__main__":
  absltest.main()
