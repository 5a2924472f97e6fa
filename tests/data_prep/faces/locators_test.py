import pathlib
import tempfile

from absl.testing import absltest
import numpy as np

from data_prep.faces.locators import NoFaceError, PtsLocator, inside_photo
from data_prep.stages.rows import PhotoRow


def _pts(points: np.ndarray) -> str:
  lines = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in points]
  body = "\n".join(lines)
  return f"version: 1\nn_points: {len(lines)}\n{{\n{body}\n}}\n"


def _row(name: str, **changes) -> PhotoRow:
  values = {"image_path": pathlib.Path(name), "subject": "a", "status": "ok"}
  return PhotoRow(image_id=name, **(values | changes))


class InsidePhotoTest(absltest.TestCase):
  def test_pixels_reach_half_a_pixel_around_their_centres(self):
    photo = np.zeros((20, 30, 3), np.uint8)
    points = [[0, 0], [-0.5, 5], [-0.6, 5], [29.4, 19.4], [29.6, 5], [3, 19.6]]
    np.testing.assert_array_equal(
      inside_photo(np.array(points), photo), [1, 1, 0, 1, 0, 0]
    )


class PtsLocatorTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.photo = np.zeros((100, 80, 3), np.uint8)
    rng = np.random.default_rng(0)
    self.points = rng.uniform(5, 75, (68, 2)).astype(np.float32)
    (self.folder / "a").mkdir()
    self.locator = PtsLocator(self.folder, licence="mine")

  def test_points_come_from_the_file_of_the_photos_name(self):
    self.points[3] = [90, 50]
    (self.folder / "a" / "1.pts").write_text(_pts(self.points))
    face = self.locator.locate(self.photo, _row("a/1.jpg"))
    np.testing.assert_allclose(face.landmarks, self.points, atol=1e-3)
    np.testing.assert_allclose(face.box[2:], self.points.max(0), atol=1e-3)
    self.assertEqual(np.flatnonzero(face.visibility == 0).tolist(), [3])
    box = np.array([1, 2, 3, 4], np.float32)
    face = self.locator.locate(self.photo, _row("a/1.jpg", box=box))
    np.testing.assert_array_equal(face.box, box)
    self.assertEqual(self.locator.licences, {"landmarks (.pts)": "mine"})

  def test_missing_and_malformed_files_are_reasons(self):
    with self.assertRaisesRegex(NoFaceError, "^no .pts file$"):
      self.locator.locate(self.photo, _row("a/2.jpg"))
    (self.folder / "a" / "3.pts").write_text(_pts(self.points[:5]))
    with self.assertRaisesRegex(
      NoFaceError, "^malformed .pts file: expected 68 points, got 5$"
    ):
      self.locator.locate(self.photo, _row("a/3.jpg"))

  def test_a_missing_folder_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "gone: no such folder"):
      PtsLocator(self.folder / "gone")


if __name__ == "__main__":
  absltest.main()
