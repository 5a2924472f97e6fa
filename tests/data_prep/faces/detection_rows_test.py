import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image

from data_prep.faces.detection_rows import (
  box_around,
  choose_faces,
  detect_some,
  load_photo,
  read_ahead,
  row_from_list,
)
from data_prep.faces.mtcnn.detector import Faces
from data_prep.photos.photo_sets import Photo
from disentangle3d.types import CROP_TEMPLATE


def _faces(*boxes) -> Faces:
  boxes = np.array(boxes, np.float32).reshape(-1, 4)
  return Faces(
    boxes=boxes,
    points=np.stack([boxes[:, :2]] * 5, 1),
    scores=np.ones(len(boxes), np.float32),
  )


class ChooseFacesTest(parameterized.TestCase):
  @parameterized.parameters(
    ("centre", [2]), ("largest", [0]), ("all", [0, 1, 2])
  )
  def test_which_of_several_is_taken(self, choice, expected):
    # In a photo 100 high and 200 wide: large, small, in the middle.
    faces = _faces([0, 0, 60, 60], [150, 10, 190, 50], [80, 40, 110, 60])
    self.assertEqual(choose_faces(faces, (100, 200), choice), expected)

  def test_none_of_none(self):
    self.assertEqual(choose_faces(_faces(), (10, 10), "centre"), [])


class RowsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def _photo(self, name: str, image: np.ndarray | None = None) -> Photo:
    if image is not None:
      Image.fromarray(image).save(self.folder / name)
    return Photo(self.folder / name, "ann", f"ann/{name}")

  def test_boxes_of_a_shrunk_photo_are_in_the_photos_pixels(self):
    image = np.zeros((80, 200, 3), np.uint8)
    image[20:40, 100:160] = 255
    loaded = load_photo(self._photo("a.png", image), 100)
    self.assertEqual(loaded.image.shape, (40, 100, 3))

    def find(photos):
      rows, columns = np.nonzero(photos[0][..., 0] > 127)
      ends = [columns.min(), rows.min(), columns.max(), rows.max()]
      return [_faces(ends)]

    (row,) = detect_some([loaded], find, "centre")
    # Edges of the outermost pixels of the small photo, then of the large one.
    np.testing.assert_allclose(row.box, [100.5, 20.5, 158.5, 38.5])
    np.testing.assert_allclose(row.five_points[0], [100.5, 20.5])

  def test_every_photo_has_a_row_and_every_face_its_own(self):
    photos = [
      self._photo("1.png", np.zeros((40, 40, 3), np.uint8)),
      self._photo("2.png", np.zeros((11, 40, 3), np.uint8)),
      self._photo("gone.png"),
      self._photo("4.png", np.zeros((40, 40, 3), np.uint8)),
    ]
    (self.folder / "5.jpg").write_text("no image")
    photos.append(self._photo("5.jpg"))
    (loaded,) = read_ahead(photos, 1000)
    rows = detect_some(
      loaded,
      lambda images: [
        _faces([0, 0, 9, 9], [5, 5, 35, 35]),
        *[_faces()] * (len(images) - 1),
      ],
      "all",
    )
    self.assertEqual(
      [(row.image_id, row.status, row.reason.split(":")[0]) for row in rows],
      [
        ("ann/1.png", "ok", ""),
        ("ann/1.png.face2", "ok", ""),
        ("ann/2.png", "rejected", "photo too small"),
        ("ann/gone.png", "rejected", rows[3].reason.split(":")[0]),
        ("ann/4.png", "rejected", "no face found"),
        ("ann/5.jpg", "rejected", "cannot be read as an image"),
      ],
    )
    self.assertIn("no such file", rows[3].reason)
    np.testing.assert_array_equal(rows[0].box, [5, 5, 35, 35])

  def test_groups_come_in_order_and_whole(self):
    photos = [self._photo(f"{i}.png") for i in range(150)]
    groups = list(read_ahead(photos, 1000))
    self.assertEqual([len(group) for group in groups], [64, 64, 22])
    self.assertEqual(
      [entry.photo for group in groups for entry in group], photos
    )

  def test_a_list_gives_points_and_a_box_around_them(self):
    photo = self._photo("1.png")
    points = 2 * CROP_TEMPLATE + np.float32([[5, 7]])
    row = row_from_list(photo, {"ann/1.png": points})
    np.testing.assert_array_equal(row.five_points, points)
    np.testing.assert_array_equal(row.box, box_around(points))
    # The template's face, as MTCNN would box it: twice its size, moved.
    box = (row.box - np.tile([5, 7], 2)) / 2
    np.testing.assert_allclose(box, box_around(CROP_TEMPLATE), atol=1e-3)
    self.assertTrue(np.all(box[:2] < CROP_TEMPLATE.min(0)))
    self.assertTrue(np.all(box[2:] > CROP_TEMPLATE.max(0)))
    other = row_from_list(self._photo("2.png"), {"ann/1.png": points})
    self.assertEqual(other.reason, "not in the list of five points")


if __name__ == "__main__":
  absltest.main()
