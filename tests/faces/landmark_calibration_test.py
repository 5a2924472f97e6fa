import dataclasses
import pathlib

from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np

from data_prep.models.crop import nearest_to_nose
from disentangle3d.faces import landmark_calibration as lc
from disentangle3d.faces import morphable_model as mm
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.types import LANDMARK_MIRROR
from tests.fixtures import random_calibration, random_morphable_model

MODEL = random_morphable_model()
CALIBRATION = random_calibration(MODEL)


def _assert_same(got, expected):
  for field in dataclasses.fields(lc.LandmarkCalibration):
    np.testing.assert_array_equal(
      getattr(got, field.name), getattr(expected, field.name), field.name
    )


class PointsTest(absltest.TestCase):
  def test_a_point_is_the_triangle_s_and_the_offset(self):
    rng = np.random.default_rng(1)
    shape = rng.normal(size=(2, 120, 3)).astype(np.float32)
    oracle = np.einsum(
      "lc,blcj->blj",
      CALIBRATION.weights,
      shape[:, CALIBRATION.triangle_vertices],
    )
    oracle = oracle + CALIBRATION.offset_mm
    got = lc.calibrated_points(CALIBRATION, shape)
    np.testing.assert_allclose(got, oracle, atol=1e-5)
    single = lc.calibrated_points(CALIBRATION, shape[1])
    np.testing.assert_array_equal(single, got[1])
    model = MODEL.replace(landmark_calibration=CALIBRATION)
    np.testing.assert_array_equal(mm.landmark_points(model, shape), got)

  def test_the_identity_calibration_changes_no_bit(self):
    landmarks = MODEL.landmark_vertices.copy()
    landmarks[5] = -1
    model = MODEL.replace(landmark_vertices=landmarks)
    same = model.replace(landmark_calibration=mm.identity_calibration(model))
    mm.validate_morphable_model(same)
    np.testing.assert_array_equal(
      mm.landmark_points(same, model.mean_shape),
      mm.landmark_points(model, jnp.asarray(model.mean_shape)),
    )
    np.testing.assert_array_equal(mm.landmark_mask(same), landmarks >= 0)
    self.assertEqual(same.landmark_calibration.num_yaw_ranges, 0)


class NoiseTest(absltest.TestCase):
  def test_each_range_of_yaw_has_its_own(self):
    yaw = np.deg2rad([0.0, 14.9, 15.1, 29.0, 31.0, 90.0])
    got = lc.landmark_covariance(CALIBRATION, yaw, 0 * yaw)
    np.testing.assert_allclose(
      got, CALIBRATION.covariance_mm2[[0, 0, 1, 1, 2, 2]], rtol=1e-6
    )

  def test_a_mirrored_face_has_mirrored_noise(self):
    yaw, roll = np.deg2rad([[5.0, 20.0, 40.0], [3.0, -50.0, 170.0]])
    flip = np.diag([-1.0, 1.0])
    right = lc.landmark_covariance(CALIBRATION, yaw, roll)
    left = lc.landmark_covariance(CALIBRATION, -yaw, -roll)
    np.testing.assert_allclose(
      left[:, LANDMARK_MIRROR], flip @ right @ flip, rtol=1e-5, atol=1e-5
    )

  def test_noise_turns_with_the_head(self):
    wide = CALIBRATION.replace(
      covariance_mm2=np.tile(
        np.diag([9.0, 1.0]).astype(np.float32), (3, 68, 1, 1)
      )
    )
    eighth = np.float32(np.pi / 4)
    got = lc.landmark_covariance(wide, np.float32(0), eighth)
    # Long along the face's x axis, which then points up and to the right.
    up_right = np.array([1.0, -1.0]) / np.sqrt(2)
    np.testing.assert_allclose(up_right @ got[0] @ up_right, 9.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.det(got[0]), 9.0, rtol=1e-4)

  def test_what_cannot_be_asked(self):
    none = mm.identity_calibration(MODEL)
    with self.assertRaisesRegex(ValueError, "expected one with a covariance"):
      lc.landmark_covariance(none, np.zeros(2), np.zeros(2))
    with self.assertRaisesRegex(ValueError, r"roll_rad: expected shape \[2\]"):
      lc.landmark_covariance(CALIBRATION, np.zeros(2), np.zeros(3))


class CropTest(absltest.TestCase):
  def test_points_stay_where_they_were_or_are_lost(self):
    face = procedural_face_model(
      num_vertices=2_000, identity_dim=2, expression_dim=2
    )
    face = face.replace(landmark_calibration=random_calibration(face))
    crop = nearest_to_nose(face, 900)
    mm.validate_morphable_model(crop)
    kept = np.asarray(mm.landmark_mask(crop)) > 0
    whole = np.isin(
      face.landmark_calibration.triangle_vertices, crop.source_vertices
    ).all(1)
    np.testing.assert_array_equal(kept, whole)
    self.assertBetween(kept.sum(), 5, 60)
    np.testing.assert_array_equal(
      mm.landmark_points(crop, crop.mean_shape)[kept],
      mm.landmark_points(face, face.mean_shape)[kept],
    )

  def test_a_vertex_without_weight_is_not_missed(self):
    on_vertices = CALIBRATION.replace(
      weights=np.tile(np.float32([0, 1, 0]), (68, 1))
    )
    numbers = np.full(120, -1)
    middle = on_vertices.triangle_vertices[:, 1]
    numbers[np.unique(middle)] = np.arange(len(np.unique(middle)))
    crop = lc.renumber_vertices(on_vertices, numbers)
    lc.validate_landmark_calibration(crop)
    np.testing.assert_array_equal(
      lc.calibrated_points(crop, MODEL.mean_shape[np.unique(middle)]),
      lc.calibrated_points(on_vertices, MODEL.mean_shape),
    )

  def test_fewer_modes_keep_the_calibration(self):
    model = MODEL.replace(landmark_calibration=CALIBRATION)
    self.assertIs(
      mm.truncate_modes(model, 3, 2).landmark_calibration, CALIBRATION
    )


class FileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.create_tempdir().full_path) / "points.npz"

  def test_round_trip(self):
    for calibration in (CALIBRATION, mm.identity_calibration(MODEL)):
      lc.save_landmark_calibration(self.path, calibration)
      _assert_same(lc.load_landmark_calibration(self.path), calibration)

  def test_a_model_s_file_carries_it(self):
    model = MODEL.replace(landmark_calibration=CALIBRATION)
    mm.save_morphable_model(self.path, model)
    back = mm.load_morphable_model(self.path)
    _assert_same(back.landmark_calibration, CALIBRATION)
    np.testing.assert_array_equal(back.mean_shape, MODEL.mean_shape)
    mm.save_morphable_model(self.path, MODEL)
    self.assertIsNone(mm.load_morphable_model(self.path).landmark_calibration)

  def test_other_files_are_refused(self):
    mm.save_morphable_model(self.path, MODEL)
    with self.assertRaisesRegex(ValueError, "points.npz: expected a landmark"):
      lc.load_landmark_calibration(self.path)
    with self.assertRaisesRegex(FileNotFoundError, "calibrate_landmarks"):
      lc.load_landmark_calibration(self.path.with_name("none.npz"))
    lc.save_landmark_calibration(self.path, CALIBRATION)
    arrays = dict(np.load(self.path))
    np.savez(self.path, **(arrays | {"about": np.array("{}")}))
    with self.assertRaisesRegex(ValueError, "points.npz: 'detector'"):
      lc.load_landmark_calibration(self.path)
    np.savez(self.path, **(arrays | {"weights": arrays["weights"] * 2}))
    with self.assertRaisesRegex(ValueError, "points.npz: weights: expected"):
      lc.load_landmark_calibration(self.path)

  @parameterized.named_parameters(
    ("shape", {"weights": np.ones((67, 3), np.float32)}, r"weights: .*\[68, 3"),
    ("nan", {"offset_mm": np.full((68, 3), np.nan, np.float32)}, "NaN"),
    ("dtype", {"triangle_vertices": np.zeros((68, 3))}, "integer dtype"),
    (
      "half",
      {"triangle_vertices": np.full((68, 3), [-1, 2, 3])},
      "or -1 at all corners, got -1 to 3",
    ),
    ("sum", {"weights": np.full((68, 3), 0.5, np.float32)}, "sums 1.5 to 1.5"),
    (
      "outside",
      {"weights": np.full((68, 3), [-1, 1, 1], np.float32)},
      "expected three from 0 to 1",
    ),
    ("edges", {"yaw_edges_rad": np.float32([0.2])}, "expected 2, between 3"),
    ("order", {"yaw_edges_rad": np.float32([0.3, 0.2])}, "increasing"),
    (
      "asymmetric",
      {"covariance_mm2": np.full((3, 68, 2, 2), [[2, 1], [0, 2]], np.float32)},
      r"symmetric positive definite .*\[\[2.0, 1.0\], .* landmark 0 in range 0",
    ),
    (
      "indefinite",
      {"covariance_mm2": np.full((3, 68, 2, 2), [[1, 2], [2, 1]], np.float32)},
      "symmetric positive definite",
    ),
  )
  def test_an_invalid_calibration_is_not_written(self, change, message):
    with self.assertRaisesRegex((ValueError, TypeError), message):
      lc.save_landmark_calibration(self.path, CALIBRATION.replace(**change))
    self.assertFalse(self.path.exists())

  def test_a_vertex_that_the_model_lacks_is_named(self):
    corners = CALIBRATION.triangle_vertices.copy()
    corners[3, 1] = 120
    wrong = CALIBRATION.replace(triangle_vertices=corners)
    lc.validate_landmark_calibration(wrong)
    with self.assertRaisesRegex(ValueError, "indices from 0 to 119"):
      mm.save_morphable_model(
        self.path, MODEL.replace(landmark_calibration=wrong)
      )


if __name__ == "__main__":
  absltest.main()
