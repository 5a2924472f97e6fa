import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest
import numpy as np

from data_prep.fitting import calibration
from data_prep.fitting.calibration import calibrate_landmarks, read_detections
from data_prep.fitting.calibration_page import (
  calibration_page,
  calibration_summary,
)
from data_prep.fitting.landmark_index import read_entries
from data_prep.fitting.surface_anchors import anchored
from disentangle3d.faces.landmark_calibration import (
  calibrated_points,
  load_landmark_calibration,
  save_landmark_calibration,
)
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.options import CalibrationOptions
from disentangle3d.geometry import rotation_from_euler
from disentangle3d.types import LANDMARK_MIRROR, UserError
from tests.fixtures import REPOSITORY

_PEOPLE, _PHOTOS = 20, 2
_OPTIONS = CalibrationOptions(rounds=3)
_MIRROR = np.array([-1.0, 1.0, 1.0])


def _bowl() -> MorphableModel:
  """A bent sheet of 13 x 15 vertices, some of which are landmarks."""
  rng = np.random.default_rng(0)
  x, y = np.meshgrid(np.linspace(-60, 60, 13), np.linspace(70, -70, 15))
  mean = np.stack([x, y, 40 - x**2 / 60 - y**2 / 90], -1).reshape(-1, 3)
  place = np.arange(13 * 15).reshape(15, 13)
  a, b, c, d = (
    part.ravel()
    for part in (place[:-1, :-1], place[:-1, 1:], place[1:, :-1], place[1:, 1:])
  )
  triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
  left = rng.permutation(place[1:-1, 1:6].ravel())
  middle = iter(rng.permutation(place[1:-1, 6]))
  free = iter(left)
  marks = np.full(68, -1)
  for landmark, other in enumerate(LANDMARK_MIRROR):
    if landmark == other:
      marks[landmark] = next(middle)
    elif marks[landmark] < 0:
      vertex = next(free)
      marks[landmark] = vertex
      marks[other] = vertex + 12 - 2 * (vertex % 13)
  return MorphableModel(
    mean_shape=mean.astype(np.float32),
    identity_basis=rng.normal(size=(195, 3, 4)).astype(np.float32),
    expression_basis=rng.normal(size=(195, 3, 2)).astype(np.float32),
    triangles=triangles.astype(np.int32),
    landmark_vertices=marks.astype(np.int32),
    name="bowl",
    licence="Apache-2.0",
  )


def _write_photos(folder: pathlib.Path, model: MorphableModel) -> np.ndarray:
  """A folder a person of .pts files; returns where the landmarks are."""
  rng = np.random.default_rng(1)
  offset = 3 * rng.normal(size=(68, 3))
  offset = (offset + offset[LANDMARK_MIRROR] * _MIRROR) / 2
  marks = np.asarray(model.landmark_vertices)
  for person in range(_PEOPLE):
    alpha = rng.normal(size=4)
    (folder / f"p{person:02d}").mkdir()
    for photo in range(_PHOTOS):
      shape = model.mean_shape + model.identity_basis @ alpha
      shape = shape + model.expression_basis @ rng.normal(size=2)
      angles = rng.uniform(-0.3, 0.3, 3).astype(np.float32)
      turned = (shape[marks] + offset) @ np.asarray(
        rotation_from_euler(*angles)
      ).T
      points = 200 + 2 * turned[:, :2] * [1, -1] + rng.normal(size=(68, 2))
      lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points + 1)
      text = f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n"
      (folder / f"p{person:02d}" / f"{photo}.pts").write_text(text)
  return offset


class CalibrateLandmarksTest(absltest.TestCase):
  def test_files_of_landmarks_become_a_calibration_and_a_page(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    model = _bowl()
    offset = _write_photos(folder, model)
    detections = read_detections(folder, most_photos=1000, seed=0)
    self.assertLen(detections.landmarks, _PEOPLE * _PHOTOS)
    found = calibrate_landmarks(
      detections, model, source="tests", options=_OPTIONS
    )
    wrong = np.linalg.norm((found.moved_mm - offset)[:, :2], axis=1)
    # Most of it is what no photo shows: the offsets' common similarity.
    self.assertLess(np.median(wrong), 1.2)
    self.assertGreater(np.median(np.linalg.norm(offset[:, :2], axis=1)), 2.2)
    self.assertLess(np.mean(found.offsets.after_mm), np.mean(found.before_mm))
    # A photo more of those who are turned in one and frontal in the other.
    self.assertBetween(found.at_rest, _PEOPLE, 1.5 * _PEOPLE)
    with tempfile.TemporaryDirectory() as place:
      path = pathlib.Path(place) / "calibration.npz"
      save_landmark_calibration(path, found.calibration)
      read = load_landmark_calibration(path)
    self.assertEqual(
      (read.detector, read.model, read.source),
      (detections.detector, "bowl", "tests"),
    )
    self.assertEqual(read.covariance_mm2.shape, (1, 68, 2, 2))
    summary = json.loads(json.dumps(calibration_summary(found, model, read)))
    self.assertEqual(summary["photos"]["given"], _PEOPLE * _PHOTOS)
    self.assertEqual(sum(summary["photos_by_yaw"]), _PEOPLE * _PHOTOS)
    apart = summary["by_group_mm"]["all"]["from the other, across"]
    self.assertLess(apart, 1e-3)
    self.assertIn("from 0°", calibration_page(found, model, summary))

  def test_people_are_drawn_whole_until_there_are_enough(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    _write_photos(folder, _bowl())
    found = read_detections(folder, most_photos=25, seed=3)
    _, counts = np.unique(found.subjects, return_counts=True)
    np.testing.assert_array_equal(counts, [_PHOTOS] * 12)

  def test_too_few_photos_are_told(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    _write_photos(folder, _bowl())
    for place in sorted(folder.iterdir())[5:]:
      for file in place.iterdir():
        file.unlink()
    with self.assertRaisesRegex(UserError, "expected 20 photos .* got 10"):
      read_detections(folder, most_photos=1000, seed=0)

  def test_landmarks_of_two_detectors_are_not_mixed(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    _write_photos(folder, _bowl())

    def marked_twice(index, entries):
      rows = read_entries(index, entries)
      return [dataclasses.replace(rows[0], detector="other"), *rows[1:]]

    with mock.patch.object(calibration, "read_entries", marked_twice):
      with self.assertRaisesRegex(UserError, "one detector, got those of"):
        read_detections(folder, most_photos=1000, seed=0)

  def test_another_ending_than_npz_is_told_at_once(self):
    told = subprocess.run(
      [
        *(sys.executable, "-m", "data_prep.calibrate_landmarks"),
        *("--aligned=nowhere", "--morphable_model=nowhere.npz"),
        "--output_file=calibration.json",
      ],
      cwd=REPOSITORY,
      capture_output=True,
      text=True,
    )
    self.assertEqual(told.returncode, 1)
    self.assertIn("expected a name that ends in .npz", told.stderr)


class AnchoredTest(absltest.TestCase):
  def test_points_on_the_surface_have_no_offset(self):
    model = _bowl()
    rng = np.random.default_rng(0)
    marks = np.asarray(model.landmark_vertices)
    corners = np.stack(
      [
        model.triangles[
          rng.choice(np.flatnonzero((model.triangles == v).any(1)))
        ]
        for v in marks
      ]
    )
    weights = rng.dirichlet([1, 1, 1], 68)
    points = np.einsum("lk,lkc->lc", weights, model.mean_shape[corners])
    found = anchored(model, points)
    np.testing.assert_allclose(found.offset_mm, 0, atol=1e-4)
    np.testing.assert_allclose(
      calibrated_points(found, model.mean_shape), points, atol=1e-4
    )

  def test_points_off_the_surface_keep_their_distance_as_offset(self):
    model = _bowl()
    points = model.mean_shape[model.landmark_vertices] + [0, 0, 4]
    found = anchored(model, points)
    np.testing.assert_allclose(
      calibrated_points(found, model.mean_shape), points, atol=1e-4
    )
    self.assertLess(np.linalg.norm(found.offset_mm, axis=1).max(), 4.001)

  def test_points_far_from_the_surface_stay_with_their_vertex(self):
    model = _bowl()
    points = model.mean_shape[model.landmark_vertices] + [0, 0, 40]
    found = anchored(model, points)
    np.testing.assert_array_equal(
      found.triangle_vertices[:, 0], model.landmark_vertices
    )
    np.testing.assert_allclose(
      found.offset_mm, np.tile([0, 0, 40], (68, 1)), atol=1e-4
    )

  def test_a_lip_is_not_taken_for_the_one_it_touches(self):
    model = _closed_mouth()
    # Where the lower lip is; the upper one is nearer, but for the way there.
    points = np.array(model.mean_shape[model.landmark_vertices], np.float64)
    points[66] += [0, 1.0, 0]
    found = anchored(model, points)
    upper = np.arange(len(model.mean_shape)) < len(model.mean_shape) // 2
    self.assertFalse(upper[found.triangle_vertices[66]].any())
    self.assertTrue(upper[found.triangle_vertices[62]].all())
    np.testing.assert_allclose(found.offset_mm[66], [0, 1, 0], atol=1e-4)


def _closed_mouth() -> MorphableModel:
  """Two sheets whose edges touch along a slit and are one beyond its ends."""
  x = np.arange(-60, 61, 5.0)
  rows = [np.arange(40, -1, -5.0), np.arange(0, -41, -5.0)]
  mean = np.concatenate(
    [np.stack([*np.meshgrid(x, y)], -1).reshape(-1, 2) for y in rows]
  )
  mean = np.concatenate([mean, 0 * mean[:, :1]], 1)
  place = np.arange(len(mean)).reshape(2, 9, len(x))
  # Corners of the mouth at 25 mm: beyond, the lower sheet begins at the upper.
  place[1, 0] = np.where(np.abs(x) >= 25, place[0, -1], place[1, 0])
  a, b, c, d = (
    part.ravel()
    for part in (
      *(place[:, :-1, :-1], place[:, :-1, 1:]),
      *(place[:, 1:, :-1], place[:, 1:, 1:]),
    )
  )
  marks = np.full(68, -1, np.int32)
  marks[[62, 66]] = place[0, -1, 12], place[1, 0, 12]
  return MorphableModel(
    mean_shape=mean.astype(np.float32),
    identity_basis=np.zeros((len(mean), 3, 1), np.float32),
    expression_basis=np.zeros((len(mean), 3, 1), np.float32),
    triangles=np.concatenate(
      [np.stack([a, c, b], 1), np.stack([b, c, d], 1)]
    ).astype(np.int32),
    landmark_vertices=marks,
  )


if __name__ == "__main__":
  absltest.main()
