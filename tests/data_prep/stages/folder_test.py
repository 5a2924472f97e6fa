import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from data_prep.stages.folder import Share, digest, open_stage, parse_share
from data_prep.stages.rows import PhotoRow, list_manifests, write_manifest
from disentangle3d.folder_use import sole_use


class ShareTest(parameterized.TestCase):
  def test_shares_cover_every_shard_once(self):
    taken = [
      shard for index in range(3) for shard in Share(index, 3).shards(10)
    ]
    self.assertCountEqual(taken, range(10))
    self.assertEqual(parse_share("2/3"), Share(2, 3))

  @parameterized.parameters("3/3", "1", "a/b", "-1/2", "1/0", "")
  def test_other_texts_are_refused(self, text):
    with self.assertRaisesRegex(ValueError, "--shard: expected i/n"):
      parse_share(text)


class StageFolderTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "out"

  def _open(self, **changes):
    options = {
      "num_shards": 3,
      "settings": {"margin": 1.5, "sizes": (1, 2)},
      "licences": {"photos": "x"},
      "inputs": digest([b"a", b"b"]),
    } | changes
    with open_stage(self.path, "cut", **options) as folder:
      return folder

  def _write(self, folder, shard):
    row = PhotoRow(
      image_path=self.path / "a.png",
      subject="s",
      image_id=f"s/{shard}.png",
      status="rejected",
      reason="too dark: 3",
    )
    write_manifest(folder.manifest(shard), [row])

  def test_what_is_there_is_done(self):
    folder = self._open()
    self.assertEqual(folder.pending(Share()), [0, 1, 2])
    self._write(folder, 1)
    again = self._open()
    self.assertEqual(again.pending(Share()), [0, 2])
    self.assertEqual(again.pending(Share(1, 2)), [])
    self.assertFalse(again.is_complete())
    with self.assertRaisesRegex(ValueError, "00000-of-00003"):
      list_manifests(self.path)
    self._write(again, 0)
    self._write(again, 2)
    self.assertTrue(again.is_complete())
    self.assertEqual(again.finish(), {"ok": 0, "rejected, too dark": 3})
    about = json.loads((self.path / "about.json").read_text())
    self.assertEqual(about["counts"], {"ok": 0, "rejected, too dark": 3})
    self.assertEqual(about["licences"], {"photos": "x"})
    self.assertEqual(about["settings"]["sizes"], [1, 2])
    before = (self.path / "about.json").read_bytes()
    self._open().finish()
    self.assertEqual((self.path / "about.json").read_bytes(), before)

  def test_what_a_kill_left_is_removed_from_its_own_share_only(self):
    folder = self._open()
    mine = self.path / ".fits-00001-of-00003.npz.77.partial"
    others = self.path / ".manifest-00002-of-00003.jsonl.78.partial"
    mine.touch()
    others.touch()
    folder.pending(Share(1, 3))
    self.assertFalse(mine.exists())
    self.assertTrue(others.exists())

  def test_another_job_does_not_go_on_here(self):
    self._write(self._open(), 1)
    for changes, named in (
      ({"settings": {"margin": 2.0, "sizes": (1, 2)}}, "margin 1.5.*got 2.0"),
      ({"num_shards": 4}, "num_shards 3.*got 4"),
      ({"inputs": digest([b"ab"])}, "begun with other input"),
    ):
      with self.assertRaisesRegex(ValueError, named):
        self._open(**changes)

  def test_until_a_shard_is_whole_another_job_may_begin_here(self):
    self._open()
    unfinished = self.path / "fits-00002-of-00003.npz"
    unfinished.touch()
    (self.path / "mine.txt").touch()
    # Nothing is left of the first; but others may be at work on it.
    changes = {"settings": {"margin": 2.0}, "num_shards": 4}
    with sole_use(self.path, part=0, parts=2):
      with self.assertRaisesRegex(ValueError, "begun with margin 1.5"):
        self._open(share=Share(1, 2), **changes)
    self._open(share=Share(1, 2), **changes)
    self.assertFalse(unfinished.exists())
    self.assertTrue((self.path / "mine.txt").exists())
    about = json.loads((self.path / "about.json").read_text())
    self.assertEqual(about["settings"]["margin"], 2.0)
    self._write(self._open(**changes), 0)
    with self.assertRaisesRegex(ValueError, "begun with margin 2.0"):
      self._open()

  def test_a_folder_is_one_processes_at_once(self):
    with sole_use(self.path), self.assertRaisesRegex(ValueError, "in use by"):
      self._open()
    with sole_use(self.path, part=0, parts=2):
      self._open(share=Share(1, 2))
      with self.assertRaisesRegex(ValueError, "in use by"):
        self._open()

  def test_other_folders_are_refused_and_kept(self):
    self.path.mkdir()
    (self.path / "mine.txt").write_text("x")
    with self.assertRaisesRegex(ValueError, "files in it and no about.json"):
      self._open()
    self.assertEqual([p.name for p in self.path.iterdir()], ["mine.txt"])
    (self.path / "mine.txt").unlink()
    (self.path / "about.json").write_text('{"stage": "sew", "settings": {}}')
    with self.assertRaisesRegex(ValueError, "begun by sew"):
      self._open()
    (self.path / "about.json").write_text("{}")
    with self.assertRaisesRegex(ValueError, "about.json: expected what cut"):
      self._open()

  def test_a_file_in_the_way(self):
    self.path.write_text("x")
    with self.assertRaisesRegex(ValueError, "got a file"):
      self._open()


if __name__ == "__main__":
  absltest.main()
