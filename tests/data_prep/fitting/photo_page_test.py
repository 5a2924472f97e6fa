"""The page of pictures, on hand-made stages."""

import base64
import io
import pathlib
import re
import tempfile

from absl.testing import absltest
import numpy as np
from PIL import Image

from data_prep.faces.alignment import align_faces
from data_prep.fitting.photo_page import write_photo_page
from data_prep.stages.about import read_passed_over, read_stages, write_about
from data_prep.stages.rows import (
  PhotoRow,
  count_rows,
  manifest_path,
  write_manifest,
)
from disentangle3d.types import CROP_TEMPLATE

_ORANGE, _BLUE, _GREEN = (255, 153, 26), (70, 170, 255), (51, 242, 89)


def _count(image: np.ndarray, color) -> int:
  apart = np.abs(image.astype(int) - np.array(color)).max(-1)
  return int((apart < 40).sum())


class PhotoPageTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def _stages(self) -> dict[str, pathlib.Path]:
    """Two good photos, one large and one without a face, to the crops."""
    photos = self.folder / "photos"
    photos.mkdir()
    rows = []
    for name, size in (("1", 1), ("2", 1), ("large", 5), ("empty", 1)):
      image = np.full((112 * size, 96 * size, 3), 90, np.uint8)
      Image.fromarray(image).save(photos / f"{name}.png")
      row = PhotoRow(
        photos / f"{name}.png",
        subject="ann",
        image_id=f"ann/{name}.png",
        status="ok",
        box=size * np.array([20, 30, 75, 105], np.float32),
        five_points=size * CROP_TEMPLATE,
        landmarks=size * np.linspace([20, 40], [70, 100], 68),
        visibility=np.ones(68),
      )
      if name == "empty":
        row = PhotoRow(row.image_path, "ann", row.image_id, "ok")
        row = row.rejected("no face found")
      rows.append(row)
    stages = {}
    for stage in ("detect_faces", "locate_landmarks"):
      folder = self.folder / stage
      folder.mkdir()
      write_manifest(manifest_path(folder), rows)
      write_about(
        folder,
        stage,
        settings={},
        licences={"photos <x>": "theirs"},
        counts=count_rows(rows),
        passed_over={".nef": 3} if not stages else {},
        stages_before=[
          stage for f in stages.values() for stage in read_stages(f)
        ],
      )
      stages[stage] = folder
    stages["align_faces"] = self.folder / "aligned"
    align_faces(stages["locate_landmarks"], stages["align_faces"])
    return stages

  def _pictures(self, most: int) -> dict[str, np.ndarray]:
    path = self.folder / "photos.html"
    write_photo_page(path, self._stages(), ["python -m a"], most=most)
    self.text = path.read_text()
    found = re.findall(r'jpeg;base64,([^"]+)" alt="([^"]+)"', self.text)
    return {
      caption: np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
      for content, caption in found
    }

  def test_each_picture_shows_how_far_a_photo_came(self):
    pictures = self._pictures(10)
    self.assertEqual(
      list(pictures),
      [
        "ann/empty.png: no face found",
        "ann/1.png: ok",
        "ann/2.png: ok",
        "ann/large.png: ok",
      ],
    )
    for caption, image in pictures.items():
      photo, crop = image[:, :240], image[:, 246:438]
      found = "ok" in caption
      # Four sides of 110 and 150 pixels, two wide; five points; landmarks.
      self.assertEqual(_count(photo, _BLUE) > 500, found, caption)
      self.assertEqual(_count(photo, _ORANGE) > 30, found, caption)
      self.assertEqual(_count(crop, _GREEN) > 60, found, caption)
      self.assertEqual(_count(image[:, 444:], (235, 235, 235)), 224 * 192)
    # A photo five times as large is shown at the same size.
    apart = pictures["ann/large.png: ok"].astype(int)
    apart -= pictures["ann/1.png: ok"]
    self.assertLess(np.mean(np.abs(apart) > 60), 0.01)
    self.assertIn("theirs", self.text)
    self.assertIn("photos &lt;x&gt;", self.text)
    self.assertIn("python -m a", self.text)
    self.assertRegex(self.text, r"passed over, \.nef(<[^>]*>\s*)+3")
    # It goes on from stage to stage.
    self.assertEqual(read_passed_over(self.folder / "aligned"), {".nef": 3})

  def test_no_more_than_wanted_and_some_of_both_kinds(self):
    self.assertEqual(
      list(self._pictures(3)),
      ["ann/empty.png: no face found", "ann/1.png: ok", "ann/large.png: ok"],
    )


if __name__ == "__main__":
  absltest.main()
