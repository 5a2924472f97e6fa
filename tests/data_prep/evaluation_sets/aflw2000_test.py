import pathlib
import tempfile

from absl.testing import absltest
import numpy as np

from data_prep.evaluation_sets.aflw2000 import read_aflw2000
from data_prep.photos.photo_sets import read_photo
from tests.data_prep.pictures import write_aflw2000


class Aflw2000Test(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.points = write_aflw2000(self.folder, yaws=[0.0, -70.0])

  def test_photos_points_and_yaw_go_together(self):
    read = read_aflw2000(self.folder)
    np.testing.assert_array_equal(read.points, self.points[..., :2])
    np.testing.assert_array_equal(read.yaw_deg, [0, -70])
    self.assertEqual(read.photos[1].image_id, "image00001.jpg")
    self.assertEqual(read_photo(read.photos[1].path).shape, (90, 80, 3))

  def test_what_is_missing_or_malformed_is_named(self):
    with np.load(self.folder / "points.npz") as content:
      arrays = dict(content)
    for name, array, text in (
      ("points", self.points[:1], r"points: expected finite numbers \[2, 68"),
      ("points", self.points * np.nan, "points: expected finite"),
      ("pitch_yaw_roll_deg", np.zeros((2, 2)), "pitch_yaw_roll_deg: expected"),
    ):
      np.savez(self.folder / "points.npz", **(arrays | {name: array}))
      with self.assertRaisesRegex(ValueError, text):
        read_aflw2000(self.folder)
    (self.folder / "photos.zip").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "photos.zip"):
      read_aflw2000(self.folder)


if __name__ == "__main__":
  absltest.main()
