"""LFW where a photograph has no face, from zip and lists to the caption."""

import dataclasses
import pathlib
from unittest import mock
import zipfile

from absl.testing import absltest
import numpy as np

from data_prep.faces.alignment import align_faces
from data_prep.faces.detection import detect_faces, list_source
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.rows import read_rows
from disentangle3d.reporting.pictures import picture_png
from disentangle3d.types import CROP_TEMPLATE
from experiments.measures.verification import measure_faces
from experiments.pages.verification import face_sections
from experiments.sets import published as published_sets

_PEOPLE = ("Ann", "Bob", "Cid", "Dan")
_SIDE, _SCALE = 250, 1.25
_PAIRS = (
  "2\t2\nAnn\t1\t2\nBob\t1\t3\nAnn\t1\tBob\t2\nBob\t3\tAnn\t2\n"
  "Cid\t1\t2\nDan\t1\t3\nCid\t1\tDan\t2\nDan\t3\tCid\t2\n"
)


def _photo(person, photo):
  """A pattern of the person's, with a little noise of the photo's."""
  shared = np.random.default_rng(person).integers(40, 200, (25, 25, 3))
  rng = np.random.default_rng([person, photo])
  noise = rng.integers(0, 40, (_SIDE, _SIDE, 3))
  return (np.kron(shared, np.ones((10, 10, 1))) + noise).astype(np.uint8)


class MissingFacesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    (self.folder / "pairs.txt").write_text(_PAIRS)
    # Every face is upright, in the middle of its photo.
    centred = CROP_TEMPLATE - CROP_TEMPLATE.mean(0)
    points = _SCALE * centred + (_SIDE - 1) / 2
    numbers = " ".join(map(str, points.ravel()))
    lines = []
    with zipfile.ZipFile(self.folder / "photos.zip", "w") as archive:
      for person, name in enumerate(_PEOPLE):
        for photo in (1, 2, 3):
          path = f"{name}/{name}_{photo:04d}.png"
          archive.writestr(path, picture_png(_photo(person, photo)))
          lines.append(f"{path} {numbers}")
    self.all = self._aligned("all", lines)
    self.some = self._aligned(
      "some", [line for line in lines if "Bob_0003" not in line]
    )

  def _aligned(self, name, lines):
    listed = self.folder / f"{name}.txt"
    listed.write_text("\n".join(lines))
    detected, aligned = (self.folder / f"{name}_{s}" for s in ("det", "align"))
    photos = list_photos(self.folder / "photos.zip")
    detect_faces(photos, detected, list_source(listed))
    align_faces(detected, aligned)
    return aligned

  def _lfw(self, aligned, **how):
    return published_sets.lfw_set(self.folder / "pairs.txt", aligned, **how)

  def test_the_middle_of_the_photo_stands_for_the_face(self):
    whole, faces = self._lfw(self.all), self._lfw(self.some, missing="crop")
    self.assertIsNone(faces.refused)
    self.assertEqual((whole.missing.sum(), faces.missing.sum()), (0, 1))
    everything = np.arange(len(whole.images))
    difference = np.abs(
      faces.images[everything].astype(int) - whole.images[everything]
    )
    # Where the face was, to the rounding of its similarity.
    self.assertLessEqual(difference.max(), 1)

  def test_or_its_pairs_get_the_lowest_score(self):
    whole, faces = self._lfw(self.all), self._lfw(self.some, missing="score")
    expected = measure_faces(whole, {}).rows["raw pixels"]
    results = measure_faces(faces, {})
    found = results.rows["raw pixels"]
    without = (
      faces.missing[faces.pairs.first] | faces.missing[faces.pairs.second]
    )
    self.assertEqual(without.sum(), 2)
    np.testing.assert_array_equal(found.scores[without], -1)
    np.testing.assert_array_equal(
      found.scores[~without], expected.scores[~without]
    )
    self.assertLess(found.result.accuracy.mean, expected.result.accuracy.mean)

  def test_a_photo_that_cannot_be_read_has_no_middle(self):
    rows = list(read_rows(self.some))
    (place,) = (i for i, row in enumerate(rows) if "Bob_0003" in row.image_id)
    broken = self.folder / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0broken")
    rows[place] = dataclasses.replace(rows[place], image_path=broken)
    with mock.patch.object(published_sets, "read_rows", lambda aligned: rows):
      faces = self._lfw(self.some, missing="crop")
      broken.unlink()
      with self.assertRaisesRegex(FileNotFoundError, "broken.jpg"):
        self._lfw(self.some, missing="crop")
      broken.write_bytes(b"\xff\xd8\xff\xe0broken")
    np.testing.assert_array_equal(faces.refused, faces.missing)
    self.assertEqual(faces.images[np.flatnonzero(faces.missing)].max(), 0)
    results = measure_faces(faces, {})
    self.assertIn(
      "1 of these cannot be read: their pairs have the lowest score.",
      face_sections(results)[0].blocks[0].caption,
    )

  def test_the_caption_says_how_many(self):
    for how, said in (
      ("crop", "the middle of the picture stands for it"),
      ("score", "their pairs have the lowest score"),
    ):
      results = measure_faces(self._lfw(self.some, missing=how), {})
      table = face_sections(results)[0].blocks[0]
      self.assertEndsWith(
        table.caption,
        f"No face was found in 1 of 10 photos or videos: {said}. Printed rows"
        " are the paper's.",
      )
    table = face_sections(measure_faces(self._lfw(self.all), {}))[0].blocks[0]
    self.assertNotIn("No face", table.caption)

  def test_or_the_set_is_refused(self):
    with self.assertRaisesRegex(
      ValueError, "1 have none, the first 'Bob/Bob_0003'; --missing=crop"
    ):
      self._lfw(self.some, missing="fail")
    self.assertLen(self._lfw(self.all, missing="fail").images, 10)

  def test_a_photo_that_is_not_there_at_all_is_another_matter(self):
    pairs = self.folder / "pairs.txt"
    pairs.write_text(pairs.read_text().replace("Dan\t1\t3", "Dan\t1\t9"))
    for how in ("crop", "score"):
      with self.assertRaisesRegex(ValueError, "'Dan/Dan_0009'"):
        self._lfw(self.some, missing=how)


if __name__ == "__main__":
  absltest.main()
