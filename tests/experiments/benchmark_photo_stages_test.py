import pathlib
import tempfile

from absl.testing import absltest
import numpy as np

from data_prep.stages.about import write_about
from data_prep.stages.rows import (
  PhotoRow,
  manifest_path,
  read_rows,
  write_manifest,
)
from experiments.benchmarks.photo_stages import (
  CASIA_PHOTOS,
  StageTime,
  repeat_rows,
  table,
  time_runs,
)


class BenchmarkPhotoStagesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def test_the_table_adds_up(self):
    *_, detect, _, every = table(
      [StageTime("detect", 100, 10.0, 15.0), StageTime("fit", 400, 4.0, 4.0)]
    )
    hours = CASIA_PHOTOS / 3600
    self.assertEqual(
      detect,
      f"| detect | 100 | 10.0 | 1.50 | 150.00 | {hours * 0.1:.2f} |"
      f" {hours * 0.15:.2f} |",
    )
    self.assertEqual(
      every,
      f"| all |  | 9.1 | 1.45 | 160.00 | {hours * 0.11:.2f} |"
      f" {hours * 0.16:.2f} |",
    )

  def test_the_first_run_warms_up_and_is_not_counted(self):
    made = []
    times, last = time_runs("cut", 3, made.append, self.folder, 2)
    self.assertLen(made, 3)
    self.assertLen(set(made), 3)
    self.assertEqual(last, made[-1])
    self.assertEqual((times.stage, times.photos), ("cut", 3))
    self.assertGreater(times.wall_s, 0)

  def test_photos_come_again_under_other_names(self):
    aligned = self.folder / "aligned"
    aligned.mkdir()
    row = PhotoRow(
      image_path=aligned / "a.png",
      subject="ann",
      image_id="ann/a.png",
      status="ok",
      box=np.zeros(4),
      five_points=np.zeros((5, 2)),
      landmarks=np.zeros((68, 2)),
      visibility=np.ones(68),
      crop_from_photo=np.eye(2, 3),
      crop_path=aligned / "crops" / "a.png",
    )
    write_manifest(manifest_path(aligned), [row])
    write_about(
      aligned, "align_faces", settings={}, licences={"a": "b"}, counts={}
    )
    self.assertEqual(repeat_rows(aligned, self.folder / "many", 3), 3)
    many = read_rows(self.folder / "many", aligned=True)
    self.assertLen({row.image_id for row in many}, 3)
    self.assertLen({row.subject for row in many}, 3)
    self.assertEqual({row.crop_path for row in many}, {row.crop_path})


if __name__ == "__main__":
  absltest.main()
