import importlib.util
import pathlib
import unittest
from unittest import mock

from absl.testing import absltest
import numpy as np
from PIL import Image
import pytest

from data_prep.faces import network_locator
from data_prep.faces.found_faces import (
  FaceFinder,
  find_face,
  find_faces,
  precropped_face,
)
from data_prep.faces.landmark_looks import box_of_points
from data_prep.faces.locators import LocatedFace, NoFaceError
from data_prep.faces.mtcnn.detector import Faces
from data_prep.faces.network_locator import NetworkLocator
from disentangle3d.crop_templates import (
  LANDMARK_TEMPLATE,
  SPHEREFACE,
  template_scale,
)
from disentangle3d.crop_templates import WHOLE_FACE as WHOLE
from disentangle3d.geometry import five_points
from disentangle3d.types import CROP_TEMPLATE, UserError


def no_landmarks(photo, row):
  raise NoFaceError("no face found")


def two_boxes(photos):
  """A small face on the left and a large one on the right."""
  (photo,) = photos
  assert photo.shape == (1500, 2000, 3)  # The detector shrinks it itself.
  boxes = np.array([[100, 100, 300, 340], [900, 200, 1700, 1100]], np.float32)
  points = np.stack([CROP_TEMPLATE * 2 + 100, CROP_TEMPLATE * 8 + 900])
  return [Faces(boxes, points, np.array([0.99, 0.95]))]


class FaceFinderTest(absltest.TestCase):
  def test_a_crop_is_cut_from_the_photo_itself(self):
    photo = np.zeros((1500, 2000, 3), np.uint8)
    photo[:, :, 0] = np.arange(2000)[None] // 8
    large, small = FaceFinder(
      two_boxes, no_landmarks, template=SPHEREFACE
    ).find(photo)
    np.testing.assert_allclose(large.box, [900, 200, 1700, 1100], atol=1e-2)
    np.testing.assert_allclose(small.box, [100, 100, 300, 340], atol=1e-2)
    self.assertAlmostEqual(large.score, 0.95)
    # crop = (photo - 900) / 8
    np.testing.assert_allclose(
      large.crop_from_photo, [[1 / 8, 0, -112.5], [0, 1 / 8, -112.5]], atol=1e-2
    )
    expected = (np.arange(96) * 8 + 900) // 8
    np.testing.assert_allclose(large.crop[50, :, 0], expected, atol=2)
    self.assertIsNone(large.landmarks)
    self.assertEqual(large.visibility.sum(), 0)

  def test_landmarks_are_looked_for_around_the_box(self):
    seen = []

    def locate(part, row):
      seen.append((part.shape, row.box.tolist()))
      points = np.full((68, 2), 10, np.float32)
      points[36:48] += [[5, 0]]
      points[42:48] += [[80, 0]]
      points[30] += [45, 40]
      points[[48, 54]] += [[10, 80], [80, 80]]
      points[0] = -500
      return LocatedFace(np.zeros(4), points, np.ones(68, np.float32))

    photo = np.zeros((1500, 2000, 3), np.uint8)
    large, small = FaceFinder(two_boxes, locate, template=SPHEREFACE).find(
      photo
    )
    # 0.6 of the longer side around: 900 - 540 = 360; 0 is the photo's edge.
    self.assertEqual(seen[0][0], (1500, 1640, 3))
    np.testing.assert_allclose(seen[0][1], [540, 200, 1340, 1100], atol=1)
    np.testing.assert_allclose(large.landmarks[5], [360 + 10, 10])
    self.assertEqual(large.visibility[0], 0)
    self.assertEqual(large.visibility[1:].sum(), 67)
    np.testing.assert_allclose(small.landmarks[5], [10, 10])

  def test_a_network_of_whole_faces_gets_them(self):
    def locate(part, row):
      points = LANDMARK_TEMPLATE * 5 + row.box[:2]
      return LocatedFace(np.zeros(4), points, np.ones(68, np.float32))

    photo = np.zeros((1500, 2000, 3), np.uint8)
    for find, scale in ((locate, 5), (no_landmarks, 8 / template_scale(WHOLE))):
      finder = FaceFinder(two_boxes, find, template=WHOLE)
      large, _ = finder.find(photo)
      self.assertAlmostEqual(
        1 / large.crop_from_photo[0, 0], scale, delta=0.01 * scale
      )
    # The five points of the detector go onto those of the whole face.
    five = large.five_points @ large.crop_from_photo[:, :2].T
    five += large.crop_from_photo[:, 2]
    expected = five_points(LANDMARK_TEMPLATE)
    np.testing.assert_allclose(five, expected, atol=2.5)

  @pytest.mark.slow
  @unittest.skipUnless(
    importlib.util.find_spec("mtcnn"), "the extra `detect` is not installed"
  )
  def test_the_astronauts_face_is_found(self):
    import skimage.data

    face = find_face(skimage.data.astronaut(), template=SPHEREFACE)
    self.assertGreater(face.score, 0.9)
    x0, y0, x1, y1 = face.box
    self.assertTrue(170 < x0 < 200 and 250 < x1 < 280)
    self.assertTrue(50 < y0 < 90 and 150 < y1 < 190)
    nose = face.crop_from_photo @ [*face.landmarks[30], 1]
    np.testing.assert_allclose(nose, CROP_TEMPLATE[2], atol=6)


class FindFacesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.photo = np.zeros((1500, 2000, 3), np.uint8)
    self.photo[:, :, 1] = 40
    self.path = pathlib.Path(self.create_tempdir().full_path) / "two.png"

  def test_a_file_and_its_pixels_give_the_same_faces(self):
    Image.fromarray(self.photo).save(self.path)
    finder = FaceFinder(two_boxes, no_landmarks, template=SPHEREFACE)
    for photo in (self.path, str(self.path), self.photo):
      large, small = find_faces(photo, finder=finder)
      np.testing.assert_allclose(large.box, [900, 200, 1700, 1100], atol=1e-2)
      np.testing.assert_array_equal(small.crop[:, :, 1], 40)

  def test_a_photo_without_a_face_says_so(self):
    Image.fromarray(self.photo).save(self.path)
    none = Faces(np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0))
    finder = FaceFinder(
      lambda photos: [none], no_landmarks, template=SPHEREFACE
    )
    with self.assertRaisesRegex(UserError, "^no face found$"):
      find_faces(self.photo, finder=finder)
    with self.assertRaisesRegex(UserError, "two.png: no face found"):
      find_faces(self.path, finder=finder)

  def test_what_is_no_photo_is_refused(self):
    with self.assertRaisesRegex(UserError, "two.png: no such file"):
      find_face(self.path, template=SPHEREFACE)
    self.path.write_text("no photo")
    with self.assertRaisesRegex(UserError, "two.png: cannot be read"):
      find_face(self.path, template=SPHEREFACE)
    for photo in (self.photo[..., 0], self.photo / np.float32(255)):
      with self.assertRaisesRegex(ValueError, r"photo: expected uint8 \[H, W"):
        find_face(photo, template=SPHEREFACE)


class PrecroppedTest(absltest.TestCase):
  def test_arcface_crops_lose_their_sides(self):
    photo = np.arange(112 * 112 * 3, dtype=np.uint32).astype(np.uint8)
    photo = photo.reshape(112, 112, 3)
    face = precropped_face(photo, no_landmarks, template=SPHEREFACE)
    np.testing.assert_array_equal(face.crop, photo[:, 8:104])
    np.testing.assert_array_equal(
      face.crop_from_photo @ [8, 3, 1], np.array([0, 3])
    )
    self.assertIsNone(face.landmarks)

  def test_the_face_is_looked_for_where_the_template_has_it(self):
    boxes = []

    def locate(photo, row):
      boxes.append(row.box)
      raise NoFaceError("no face")

    narrow, wide = (np.zeros((112, w, 3), np.uint8) for w in (96, 112))
    for photo, template in (
      (narrow, WHOLE),
      (narrow, SPHEREFACE),
      (wide, SPHEREFACE),
    ):
      precropped_face(photo, locate, template=template)
    np.testing.assert_array_equal(boxes[0], box_of_points(LANDMARK_TEMPLATE))
    # SphereFace's shows a larger face, upright about the same middle.
    sides = [np.ptp(box.reshape(2, 2), axis=0) for box in boxes]
    np.testing.assert_allclose(
      sides[1] * template_scale(WHOLE), sides[0], rtol=0.02
    )
    np.testing.assert_array_equal(boxes[2] - boxes[1], [8, 0, 8, 0])

  def test_landmarks_of_a_crop_want_no_detector(self):
    photo = np.full((112, 96, 3), 90, np.uint8)
    with mock.patch.object(network_locator, "Detector") as detector:
      precropped_face(photo, NetworkLocator().locate, template=WHOLE)
    detector.assert_not_called()

  def test_another_size_is_refused(self):
    with self.assertRaisesRegex(ValueError, "112 x 96 .* got 112 x 100"):
      precropped_face(
        np.zeros((112, 100, 3), np.uint8), None, template=SPHEREFACE
      )

  def test_whole_faces_are_no_arcface_crops(self):
    photo = np.zeros((112, 112, 3), np.uint8)
    precropped_face(photo[:, :96], None, template=WHOLE)
    with self.assertRaisesRegex(ValueError, "'whole_face', got 112 x 112"):
      precropped_face(photo, None, template=WHOLE)
    with self.assertRaisesRegex(ValueError, "template: .* got 'half'"):
      FaceFinder(two_boxes, no_landmarks, template="half")


if __name__ == "__main__":
  absltest.main()
