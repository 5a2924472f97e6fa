"""Photographs of published sets, aligned on the way to the table."""

import pathlib

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image
import skimage.data

from data_prep.faces.network_locator import NetworkLocator
from data_prep.photos.crops import crop_matrix, warp_crop
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.rows import read_rows
from disentangle3d.crop_templates import crop_from_landmarks
from experiments.measures.verification import measure_faces
from experiments.sets.alignment import PhotoSource, aligned_folder
from experiments.sets.published import read_face_sets
from tests.data_prep.evaluation_sets.cfp_layout import (
  face_points,
  pattern,
  write_cfp,
)


class AlignmentTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    self.cfp = self.folder / "cfp-dataset"
    self.points = write_cfp(self.cfp)

  def _source(self, **changes):
    settings = {
      "five_points": str(self.points),
      "workdir": str(self.folder / "work"),
      "aligned_by": "five_points",
    }
    return PhotoSource("cfp", **settings | changes)

  def test_cfp_becomes_two_sets_of_its_photographs(self):
    both = read_face_sets(cfp=(str(self.cfp), self._source()))
    self.assertEqual(
      [faces.name for faces in both],
      ["CFP frontal-frontal", "CFP frontal-profile"],
    )
    expected = warp_crop(pattern(1, 12), crop_matrix(face_points()))
    crop = both[1].images[both[1].pairs.second[:1]][0]
    np.testing.assert_allclose(crop.astype(int), expected, atol=1)
    for faces in both:
      self.assertEqual(
        measure_faces(faces, {}).rows["raw pixels"].result.auc.mean, 100
      )

  def test_cfp_goes_on_without_a_face_as_it_is_told_to(self):
    # One of the profile protocol, of person 1.
    lines = self.points.read_text().splitlines()
    gone = "001/profile/02.jpg"
    kept = [line for line in lines if not line.startswith(gone)]
    self.assertLen(kept, len(lines) - 1)
    whole = read_face_sets(cfp=(str(self.cfp), self._source()))
    self.points.write_text("\n".join(kept))
    source = self._source(workdir=str(self.folder / "some"))
    for missing, apart in (("crop", 1), ("score", 256)):
      frontal, profile = read_face_sets(
        cfp=(str(self.cfp), source), missing=missing
      )
      self.assertEqual((frontal.missing.sum(), profile.missing.sum()), (0, 1))
      crops, expected = (
        faces.images[np.arange(len(faces.images))].astype(int)
        for faces in (profile, whole[1])
      )
      difference = np.abs(crops - expected).max((1, 2, 3))
      self.assertLessEqual(difference.max(), apart)
      self.assertEqual(profile.refused is None, missing == "crop")
    with self.assertRaisesRegex(ValueError, "1 have none, .*'001/profile/02'"):
      read_face_sets(cfp=(str(self.cfp), source), missing="fail")

  def test_a_later_run_takes_what_is_there(self):
    read_face_sets(cfp=(str(self.cfp), self._source()))
    crops = sorted((self.folder / "work").rglob("crops/**/*.png"))
    # Of each person one frontal and both profile photos are in no pair.
    self.assertLen(crops, 4 * (2 + 1))
    before = [crop.stat().st_mtime_ns for crop in crops]
    read_face_sets(cfp=(str(self.cfp), self._source()))
    self.assertEqual([crop.stat().st_mtime_ns for crop in crops], before)

  def test_lfw_goes_the_same_way(self):
    pairs = self.folder / "pairs.txt"
    pairs.write_text("1\nAnn\t1\t2\nAnn\t1\tBob\t1\n")
    lines = []
    for person, name in enumerate(("Ann", "Bob"), start=1):
      for photo in (1, 2):
        image_id = f"{name}/{name}_{photo:04d}.jpg"
        path = self.folder / "lfw" / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        source = self.cfp / f"Data/Images/{person:03d}/frontal/{photo:02d}.jpg"
        path.write_bytes(source.read_bytes())
        numbers = self.points.read_text().splitlines()[0].split()[1:]
        lines.append(" ".join([image_id, *numbers]))
    self.points.write_text("\n".join(lines))
    source = self._source(photos=str(self.folder / "lfw"))
    (faces,) = read_face_sets(lfw=(str(pairs), source))
    self.assertLen(faces.images, 3)
    rows = read_rows(self.folder / "work" / "cfp" / "aligned_by_five_points")
    self.assertEqual(
      [row.image_id for row in rows],
      ["Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg"],
    )

  def test_the_locator_that_is_asked_for_aligns(self):
    photo = skimage.data.astronaut()[:256, 96:352]
    path = self.folder / "photos" / "Ann" / "Ann_0001.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(photo).save(path)
    source = PhotoSource("lfw", workdir=str(self.folder), locator="synthetic")
    names = ["Ann/Ann_0001"]
    photos = list_photos(self.folder / "photos")
    aligned = aligned_folder(source, names, photos)
    self.assertEqual(aligned.name, "aligned_by_landmarks_synthetic")
    (row,) = read_rows(aligned)
    located = NetworkLocator().locate(photo, row)
    np.testing.assert_allclose(row.landmarks, located.landmarks, atol=0.1)

  def test_crops_are_those_that_the_networks_see(self):
    photo = skimage.data.astronaut()[:256, 96:352]
    path = self.folder / "photos" / "Ann" / "Ann_0001.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(photo).save(path)
    photos = list_photos(self.folder / "photos")
    source = PhotoSource(
      "lfw",
      workdir=str(self.folder),
      locator="synthetic",
      template="whole_face",
    )
    aligned = aligned_folder(source, ["Ann/Ann_0001"], photos)
    self.assertEqual(aligned.name, "aligned_by_landmarks_synthetic_whole_face")
    (row,) = read_rows(aligned)
    np.testing.assert_allclose(
      row.crop_from_photo,
      crop_from_landmarks(row.landmarks, "whole_face"),
      rtol=1e-4,
      atol=1e-3,
    )
    given = PhotoSource("lfw", aligned=str(aligned), template="whole_face")
    self.assertEqual(aligned_folder(given, [], []), aligned)
    with self.assertRaisesRegex(
      ValueError, "'sphereface', which .* got 'whole_face'"
    ):
      aligned_folder(PhotoSource("lfw", aligned=str(aligned)), [], [])
    with self.assertRaisesRegex(ValueError, "--aligned_by: expected landmarks"):
      self._source(template="whole_face").check()

  @parameterized.parameters(
    ({"photos": "p", "aligned": "a"}, "--cfp_aligned, --cfp_photos: .*one of"),
    ({"photos": "p", "workdir": None}, "--workdir: expected a folder"),
    ({"photos": "p"}, "photographs of --cfp: expected 1 photos .*'Ann/1'"),
  )
  def test_what_is_missing_is_told(self, changes, problem):
    with self.assertRaisesRegex(ValueError, problem):
      aligned_folder(self._source(**changes), ["Ann/1"], [])


if __name__ == "__main__":
  absltest.main()
