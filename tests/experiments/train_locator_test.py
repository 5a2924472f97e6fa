"""From rendered photos to a trained locator, and what is measured of it."""

import dataclasses
import json
import pathlib
import tempfile
from unittest import mock
import zipfile

from absl.testing import absltest
import chex
import numpy as np

from data_prep.datasets import landmark_photo_set
from data_prep.datasets.landmark_photo_set import (
  LandmarkPhotoSet,
  landmark_world,
  read_landmark_photos,
  render_set,
)
from data_prep.faces.locators import LocatedFace, NoFaceError
from disentangle3d.faces.landmark_calibration import save_landmark_calibration
from disentangle3d.faces.morphable_model import save_morphable_model
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network.landmark_files import load_landmark_params
from experiments.evaluations.landmarks import evaluate_landmarks
from experiments.measures.located import measure_landmarks
from experiments.pages.landmarks import convention_table, parts_table
from experiments.sets.landmark_sets import aflw2000_set, synthetic_set
from experiments.training.locator import EXPORT, LocatorSettings, train_locator
from tests.data_prep.pictures import write_aflw2000
from tests.fixtures import random_calibration

PHOTOS = 24


def setUpModule():
  global FOLDER, SETTINGS, _scratch
  _scratch = tempfile.TemporaryDirectory()
  folder = pathlib.Path(_scratch.name)
  save_morphable_model(
    folder / "model.npz",
    procedural_face_model(num_vertices=800, identity_dim=6, expression_dim=4),
  )
  SETTINGS = LandmarkPhotoSet(
    num_photos=PHOTOS,
    photos_per_person=2,
    morphable_model=str(folder / "model.npz"),
  )
  FOLDER = folder / "photos"
  with mock.patch.object(landmark_photo_set, "PHOTOS_PER_SHARD", 8):
    render_set(FOLDER, SETTINGS)


def tearDownModule():
  _scratch.cleanup()


def _settings(**changes) -> LocatorSettings:
  few = LocatorSettings(
    (str(FOLDER),),
    steps=4,
    batch_size=4,
    warmup_steps=1,
    heldout_every=3,
    log_every=2,
    evaluate_every=2,
  )
  return dataclasses.replace(few, **changes)


class LandmarkPhotoSetTest(absltest.TestCase):
  def test_shards_hold_the_photos_in_order(self):
    shards = read_landmark_photos(FOLDER)
    self.assertEqual([len(shard.image) for shard in shards], [8, 8, 8])
    again = landmark_photo_set.landmark_photos_of(
      landmark_world(SETTINGS), SETTINGS.seed, np.arange(8, 16)
    )
    np.testing.assert_array_equal(shards[1].image, again.image)
    np.testing.assert_array_equal(shards[1].points, again.points)

  def test_other_settings_and_other_folders_are_refused(self):
    other = dataclasses.replace(SETTINGS, seed=9)
    with mock.patch.object(landmark_photo_set, "PHOTOS_PER_SHARD", 8):
      with self.assertRaisesRegex(ValueError, "seed"):
        render_set(FOLDER, other)
    with self.assertRaisesRegex(ValueError, "expected shards of"):
      read_landmark_photos(FOLDER.parent)

  def test_a_set_begun_with_other_points_is_refused(self):
    model = landmark_world(SETTINGS).model
    folder = pathlib.Path(self.create_tempdir())
    settings = dataclasses.replace(
      SETTINGS, landmark_calibration=str(folder / "points.npz")
    )
    calibration = random_calibration(model)
    save_landmark_calibration(folder / "points.npz", calibration)
    photos = [read_landmark_photos(FOLDER)[0], InterruptedError]
    self.enter_context(
      mock.patch.object(landmark_photo_set, "PHOTOS_PER_SHARD", 8)
    )
    self.enter_context(
      mock.patch.object(
        landmark_photo_set, "landmark_photos_of", side_effect=photos
      )
    )
    with self.assertRaises(InterruptedError):
      render_set(folder / "set", settings)
    moved = calibration.replace(offset_mm=np.asarray(calibration.offset_mm) + 1)
    save_landmark_calibration(folder / "points.npz", moved)
    with self.assertRaisesRegex(ValueError, "input"):
      render_set(folder / "set", settings)


class TrainLocatorTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def test_a_stopped_run_goes_on_to_the_same_network(self):
    self.assertTrue(train_locator(_settings(), self.folder / "whole"))
    stops = iter([False, True])
    self.assertFalse(
      train_locator(
        _settings(), self.folder / "parts", should_stop=lambda: next(stops)
      )
    )
    self.assertTrue(train_locator(_settings(), self.folder / "parts"))
    whole, parts = (
      load_landmark_params(self.folder / name / EXPORT)
      for name in ("whole", "parts")
    )
    chex.assert_trees_all_equal(whole, parts)
    lines = (self.folder / "whole" / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    self.assertEqual([one["step"] for one in logged], [2, 2, 4, 4])
    self.assertIn("loss", logged[0])

  def test_what_it_needs_is_asked_for(self):
    with self.assertRaisesRegex(ValueError, "batch_size: expected a photo of"):
      train_locator(
        _settings(batch_size=1, landmark_photos=(str(FOLDER),) * 2),
        self.folder / "run",
      )
    with self.assertRaisesRegex(ValueError, "and to hold some out, got 3"):
      train_locator(_settings(heldout_every=4), self.folder / "run")
    with self.assertRaisesRegex(ValueError, "expected shards of"):
      train_locator(
        _settings(landmark_photos=(str(self.folder),)), self.folder / "run"
      )
    (self.folder / "checkpoint.msgpack").write_bytes(b"no checkpoint")
    with self.assertRaisesRegex(ValueError, "checkpoint.msgpack: expected"):
      train_locator(_settings(), self.folder)


class _Truth:
  """Locates the points that it was told, shifted; the last photo's not."""

  name, settings, licences = "truth", {}, {}

  def __init__(self, points, shift):
    self._points, self._shift = points, shift

  def locate(self, photo, row):
    number = int(row.image_id[5:10])
    if number == len(self._points) - 1:
      raise NoFaceError("none")
    points = self._points[number] + self._shift
    return LocatedFace(row.box, points.astype(np.float32), np.ones(68))


class EvaluateLandmarksTest(absltest.TestCase):
  def test_known_errors_are_found_and_written(self):
    faces = synthetic_set(FOLDER)
    self.assertLen(faces.images, 8)
    results = measure_landmarks(
      faces,
      {
        "right": _Truth(faces.points, 0.0),
        "off": _Truth(faces.points, np.array([[3.2, 0.0]])),
      },
    )
    np.testing.assert_allclose(results.errors["right"][:-1], 0, atol=1e-4)
    # Of a box whose root is 64 pixels.
    np.testing.assert_allclose(results.errors["off"][:-1], 5, rtol=1e-3)
    self.assertTrue(np.isnan(results.errors["off"][-1]))
    parts = [row for row in parts_table(results).rows if row[0] == "off"]
    self.assertLen(parts, 5)
    known = [mean for row in parts for mean in row[2:] if np.isfinite(mean)]
    self.assertNotEmpty(known)
    np.testing.assert_allclose(known, 5, rtol=1e-3)
    self.assertEqual(
      [row[0] for row in convention_table(results).rows], ["right", "off"]
    )
    with tempfile.TemporaryDirectory() as folder:
      page = evaluate_landmarks(
        folder + "/found", [faces], {"off": _Truth(faces.points, 3.2)}
      )
      self.assertIn("Cumulative errors", page.read_text("utf-8"))

  def test_a_damaged_photo_is_told_and_counts_as_not_found(self):
    with tempfile.TemporaryDirectory() as folder:
      write_aflw2000(pathlib.Path(folder), yaws=[0.0, 50.0])
      with zipfile.ZipFile(folder + "/photos.zip", "w") as archive:
        for number in range(2):
          archive.writestr(f"image{number:05d}.jpg", b"no picture")
      faces = aflw2000_set(folder)
      with self.assertLogs(level="WARNING") as logs:
        results = measure_landmarks(faces, {"any": _Truth(faces.points, 0.0)})
    self.assertRegex(logs.output[1], "image00001.jpg: .*counted as not found")
    self.assertFalse(results.found.any())
    self.assertTrue(np.isnan(results.errors["any"]).all())

  def test_a_small_tree_of_aflw2000_is_read(self):
    with tempfile.TemporaryDirectory() as folder:
      points = write_aflw2000(pathlib.Path(folder), yaws=[0.0, 50.0, -80.0])
      faces = aflw2000_set(folder, photos=2)
      self.assertLen(list(faces.images), 2)
    self.assertEqual(faces.image_ids, ["image00000.jpg", "image00001.jpg"])
    np.testing.assert_array_equal(faces.points, points[:2, :, :2])
    self.assertTrue(faces.searched)


if __name__ == "__main__":
  absltest.main()
