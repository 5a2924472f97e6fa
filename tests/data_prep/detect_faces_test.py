import pathlib
import shutil
import tempfile

from absl.testing import absltest
import numpy as np
from PIL import Image

from data_prep.faces.detection import detect_faces, list_source, mtcnn_source
from data_prep.faces.mtcnn.detector import Settings
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.about import read_licences
from data_prep.stages.folder import Share
from data_prep.stages.rows import list_manifests, read_rows
from disentangle3d.geometry import five_points
from tests.data_prep import orl_faces


class DetectFacesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.images = self.folder / "images"
    self.output = self.folder / "detected"

  def test_faces_of_photographs(self):
    photos = orl_faces.skip_unless_there(self)
    locator = orl_faces.locator()
    for person in ("s2", "s10"):
      (self.images / person).mkdir(parents=True)
      for name in ("1.pgm", "2.pgm"):
        shutil.copy(photos / person / name, self.images / person / name)
    blank = np.full((112, 92), 90, np.uint8)
    Image.fromarray(blank).save(self.images / "s2" / "3.png")
    source = mtcnn_source(Settings(factor=0.709))
    everything = list_photos(self.images)
    counts = detect_faces(
      everything, self.output, source, photos_per_shard=3, photo_licence="mine"
    )
    self.assertEqual(counts, {"ok": 4, "rejected, no face found": 1})
    rows = read_rows(self.output)
    self.assertLen(list_manifests(self.output), 2)
    self.assertEqual(
      [row.image_id for row in rows if row.status != "ok"], ["s2/3.png"]
    )
    for row in rows:
      if row.status != "ok":
        continue
      # Another detector's opinion; its landmarks are good to some pixels.
      with Image.open(row.image_path) as file:
        photo = np.asarray(file.convert("RGB"))
      landmarks = locator.locate(photo, None).landmarks
      apart = row.five_points - np.asarray(five_points(landmarks))
      self.assertLess(np.linalg.norm(apart, axis=-1).max(), 6.0)
      x, y = row.five_points.mean(0)
      self.assertTrue(row.box[0] < x < row.box[2])
      self.assertTrue(row.box[1] < y < row.box[3])
    licences = read_licences(self.output)
    self.assertEqual(licences["photographs"], "mine")
    self.assertIn("MIT", licences["MTCNN weights"])
    with self.assertRaisesRegex(ValueError, "begun with factor 0.709"):
      other = mtcnn_source(Settings(factor=0.85))
      detect_faces(everything, self.output, other, photos_per_shard=3)

  def test_points_from_a_list_in_shares(self):
    for name in ("1", "2", "3"):
      (self.images / "ann").mkdir(parents=True, exist_ok=True)
      (self.images / "ann" / f"{name}.png").touch()
    path = self.folder / "list.txt"
    path.write_text("ann/2.png 10 20 30 20 20 30 12 40 28 40\n")
    photos = list_photos(self.images)

    def detect(share):
      return detect_faces(
        photos, self.output, list_source(path), photos_per_shard=2, share=share
      )

    self.assertIsNone(detect(Share(1, 2)))
    self.assertEqual(
      detect(Share(0, 2)),
      {"ok": 1, "rejected, not in the list of five points": 2},
    )
    rows = read_rows(self.output)
    np.testing.assert_array_equal(rows[1].five_points[4], [28, 40])
    path.write_text("ann/2.png 10 20 30 20 20 30 12 40 28 41\n")
    with self.assertRaisesRegex(ValueError, "begun with list_sha256"):
      detect(Share(0, 1))


if __name__ == "__main__":
  absltest.main()
