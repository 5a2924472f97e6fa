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
  CASIA_NUM_PHOTOS,
  StageTime,
  repeat_rows,
  table,
  time_runs,
)
from experiments.benchmarks.timing import Timing


class BenchmarkPhotoStagesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def test_the_table_adds_up(self):
    def took(wall, cpu):
      return Timing(1.0, (wall / 2, wall, 2 * wall), (0.0, cpu, 2 * cpu))

    detect, _, every = table(
      "250 x 250",
      [
        StageTime("detect", 100, took(10.0, 15.0)),
        StageTime("fit", 400, took(4.0, 4.0)),
      ],
    ).rows
    hours = CASIA_NUM_PHOTOS / 3600
    self.assertEqual(detect[:4], ("detect", 100, "10.0", "1.50"))
    np.testing.assert_allclose(detect[4:], (150, hours * 0.1, hours * 0.15))
    self.assertEqual(every[:4], ("all", "", "9.1", "1.45"))
    np.testing.assert_allclose(every[4:], (160, hours * 0.11, hours * 0.16))

  def test_the_first_run_warms_up_and_is_not_counted(self):
    made = []
    times, last = time_runs("cut", 3, made.append, self.folder, 2)
    self.assertLen(made, 3)
    self.assertLen(set(made), 3)
    self.assertEqual(last, made[-1])
    self.assertEqual((times.stage, times.photos), ("cut", 3))
    self.assertLen(times.timing.wall_s, 2)

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
