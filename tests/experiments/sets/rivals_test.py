"""What the rivals make of photographs that only their rows describe."""

import pathlib

from absl.testing import absltest
import numpy as np

from data_prep.stages.rows import PhotoRow
from disentangle3d.faces.morphable_model import synthesize_shape
from disentangle3d.fitting.batched_fitting import fit_subjects
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.geometry import Camera, project, rotation_from_euler
from experiments.sets.rivals import Rivals
from tests.fixtures import random_morphable_model

_MODEL = random_morphable_model()
# A photo is three times the crop, from a corner on.
_CROP_FROM_PHOTO = np.array([[1 / 3, 0, -20], [0, 1 / 3, -10]])


def _row(name, **known):
  return PhotoRow(pathlib.Path(name), name, name, "ok", detector="t", **known)


class RivalsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    alpha = rng.normal(size=(3, _MODEL.identity_dim)).astype(np.float32)
    beta = np.zeros((3, _MODEL.expression_dim), np.float32)
    shapes = np.asarray(synthesize_shape(_MODEL, alpha, beta))
    camera = Camera(
      scale=np.full(3, 0.6, np.float32),
      rotation=np.asarray(rotation_from_euler(*np.zeros((3, 3), np.float32))),
      translation=np.full((3, 2), 50, np.float32),
    )
    self.crops = np.asarray(
      project(camera, shapes[:, _MODEL.landmark_vertices])
    )
    photos = (self.crops - _CROP_FROM_PHOTO[:, 2]) * 3
    self.rows = [
      _row(
        f"p{number}",
        landmarks=points,
        visibility=np.ones(68),
        crop_from_photo=_CROP_FROM_PHOTO,
      )
      for number, points in enumerate(photos)
    ]

  def test_each_photo_is_fitted_by_itself_in_its_crop(self):
    rows = [*self.rows[:2], _row("faceless"), self.rows[2]]
    made = Rivals(_MODEL, "none").of_photos(rows)
    self.assertIsNone(made["training_images"])
    landmarks = np.zeros((4, 68, 2), np.float32)
    landmarks[[0, 1, 3]] = self.crops
    expected = fit_subjects(
      _MODEL,
      landmarks,
      np.array([1, 1, 0, 1], np.float32)[:, None].repeat(68, 1),
      np.arange(4),
      options=FitOptions(),
    ).identity_coefficients
    np.testing.assert_allclose(made["fitted"], expected, atol=1e-3)
    self.assertFalse(np.any(made["fitted"][2]))
    self.assertTrue(np.all(np.any(made["fitted"][[0, 1, 3]], axis=1)))

  def test_without_landmarks_or_a_model_there_are_no_fits(self):
    self.assertIsNone(Rivals().of_photos(self.rows)["fitted"])
    self.assertIsNone(Rivals(_MODEL).of_photos([_row("faceless")])["fitted"])

  def test_a_calibration_that_is_not_there_is_named(self):
    with self.assertRaisesRegex(ValueError, "nowhere.npz"):
      Rivals(_MODEL, "nowhere.npz").of_photos(self.rows)


if __name__ == "__main__":
  absltest.main()
