"""A second look, by finders whose answers are known and by MTCNN."""

import importlib.util

from absl.testing import absltest
import numpy as np

from data_prep.faces.mtcnn.detector import Detector, Faces
from data_prep.faces.second_look import (
  looking_again,
  looking_twice,
  surely,
  with_margin,
)
from data_prep.photos.photo_sets import read_photo
from tests.fixtures import REPOSITORY


def _bright(photos):
  """One face a photo: the box of its pixels of 255, points in the middle."""
  found = []
  for photo in photos:
    y, x = np.nonzero(photo[..., 0] == 255)
    box = np.array([[x.min(), y.min(), x.max(), y.max()]], np.float32)
    points = np.full((1, 5, 2), [(x.min() + x.max()) / 2, y.mean()])
    found.append(Faces(box, points.astype(np.float32), np.ones(1, np.float32)))
  return found


class LookingAgainTest(absltest.TestCase):
  def test_a_second_look_is_at_photos_without_a_face_alone(self):
    def finder(least, seen):
      def find(photos):
        seen.extend(int(photo[0, 0, 0]) for photo in photos)
        kept = [int(photo[0, 0, 0] >= least) for photo in photos]
        return [
          Faces(np.ones((n, 4)), np.full((n, 5, 2), least), np.ones(n))
          for n in kept
        ]

      return find

    first, second = [], []
    find = looking_again(finder(100, first), finder(50, second))
    photos = [np.full((9, 9, 3), v, np.uint8) for v in (200, 70, 10, 120)]
    found = find(photos)
    self.assertEqual(first, [200, 70, 10, 120])
    self.assertEqual(second, [70, 10])
    self.assertEqual([len(one.boxes) for one in found], [1, 1, 0, 1])
    self.assertEqual(found[1].points[0, 0, 0], 50)
    find(photos[:1])
    self.assertEqual(second, [70, 10])


class MarginTest(absltest.TestCase):
  def test_faces_come_back_in_the_pixels_of_the_photo(self):
    wide, tall = (
      np.zeros((40, 60, 3), np.uint8),
      np.zeros((50, 20, 3), np.uint8),
    )
    wide[10:20, 15:40], tall[30:41, 5:12] = 255, 255
    for found, plain in zip(
      with_margin(_bright)([wide, tall]), _bright([wide, tall]), strict=True
    ):
      np.testing.assert_array_equal(found.boxes, plain.boxes)
      np.testing.assert_array_equal(found.points, plain.points)

  def test_boxes_end_at_the_photo_and_points_do_not(self):
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:20, 42:] = 255  # Its edge goes on up and to the right, 18 pixels.
    (found,) = with_margin(_bright)([photo])
    np.testing.assert_array_equal(found.boxes, [[42, 0, 59, 19]])
    np.testing.assert_array_equal(found.points[0, 0], [(42 + 77) / 2, 0.5])

  def test_what_lies_beside_the_photo_is_no_face(self):
    def beside(photos):
      height, width = photos[0].shape[:2]
      corner = [width - 12, height - 12, width - 2, height - 2]
      box = np.array([corner], np.float32)
      return [Faces(box, np.zeros((1, 5, 2)), np.ones(1))]

    (found,) = with_margin(beside)([np.zeros((40, 60, 3), np.uint8)])
    self.assertEmpty(found.boxes)
    self.assertEmpty(found.points)
    self.assertEmpty(found.scores)


class SurelyTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.photo = read_photo(REPOSITORY / "docs" / "images" / "london_photo.jpg")

  def test_faces_stay_once_each_and_the_rest_goes(self):
    height, width = self.photo.shape[:2]
    side = width / 2.4
    middle = np.array([width / 2, 0.48 * height])
    corner = [0, 0, width / 8, width / 8]

    def around(share):
      half = np.array([0.4, 0.5]) * share * side
      return [*(middle - half), *(middle + half)]

    def find(photos):
      boxes = np.array([corner, around(1.3), around(1.4)], np.float32)
      return [Faces(boxes, np.zeros((3, 5, 2)), np.array([0.3, 0.2, 0.1]))]

    (found,) = surely(find)([self.photo])
    self.assertLen(found.boxes, 1)
    self.assertIn(found.scores[0], (0.2, 0.1))
    np.testing.assert_allclose(
      found.boxes[0].reshape(2, 2).mean(0), middle, atol=0.01
    )

  def test_where_nothing_is_found_nothing_is_sure(self):
    def none(photos):
      return [Faces(np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0))]

    (found,) = surely(none)([self.photo])
    self.assertEqual(found.boxes.shape, (0, 4))
    self.assertEqual(found.points.shape, (0, 5, 2))
    self.assertEqual(found.scores.shape, (0,))


class LookingTwiceTest(absltest.TestCase):
  def test_a_face_that_the_first_look_doubts_is_found_where_it_is(self):
    for name in ("mtcnn", "lz4"):
      if importlib.util.find_spec(name) is None:
        self.skipTest(f"{name} is not installed (extra `detect`)")
    photo = read_photo(REPOSITORY / "docs" / "images" / "london_photo.jpg")
    detector = Detector(side=160, most_photos=1)
    (whole,) = detector.detect([photo])
    eyes = whole.points[0, :2]
    apart = np.ptp(eyes[:, 0])
    side = int(2 * apart)
    left, top = (eyes.mean(0) - [apart, 0.7 * apart]).astype(int)
    face = np.ascontiguousarray(photo[top : top + side, left : left + side])
    doubting = detector.with_thresholds((0.6, 0.7, 0.999999))
    (first,) = doubting.detect([face])
    self.assertEmpty(first.boxes)
    (found,) = looking_twice(doubting)([face])
    self.assertLen(found.boxes, 1)
    moved = found.points[0] + [left, top] - whole.points[0]
    self.assertLess(np.abs(moved).max(), 0.06 * apart)


if __name__ == "__main__":
  absltest.main()
