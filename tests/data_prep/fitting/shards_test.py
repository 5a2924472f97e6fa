import dataclasses
import pathlib

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.faces import dlib_locator as dlib_landmarks
from data_prep.faces import fan_locator as fan_landmarks
from data_prep.faces.pts import PTS_DETECTOR
from data_prep.fitting import shards as fit_shards
from data_prep.stages.rows import PhotoRow


class ContourTest(parameterized.TestCase):
  @parameterized.parameters(
    (dlib_landmarks.NAME, True),
    (f"MTCNN + {dlib_landmarks.NAME}", True),
    (f"MTCNN + {fan_landmarks.NAME}", True),
    (f"list of five points + {PTS_DETECTOR}", True),
    ("dlib + a mesh", False),
    ("", False),
  )
  def test_whose_jaw_follows_the_silhouette(self, detector, slides):
    row = PhotoRow(pathlib.Path("1.png"), "a", "a/1.png", "ok", "", detector)
    self.assertEqual(fit_shards.follows_silhouette(row, "detector"), slides)
    self.assertTrue(fit_shards.follows_silhouette(row, "on"))
    self.assertFalse(fit_shards.follows_silhouette(row, "off"))


class WeightsTest(absltest.TestCase):
  def test_unsure_landmarks_count_less_and_hidden_ones_nothing(self):
    spread = np.full(68, 2.0, np.float32)
    spread[1] = 4.0
    visibility = np.ones(68, np.float32)
    visibility[2] = 0
    row = dataclasses.replace(
      PhotoRow(pathlib.Path("1.png"), "a", "a/1.png", "ok"),
      visibility=visibility,
      crop_from_photo=np.array([[0.0, 0.5, 3.0], [-0.5, 0.0, 4.0]]),
    )
    np.testing.assert_array_equal(
      fit_shards.weights_in_crop(row, 1.5), visibility
    )
    row = dataclasses.replace(row, spread=spread)
    weights = fit_shards.weights_in_crop(row, 1.5)
    # A spread of one crop pixel: a variance of 3 along either axis.
    np.testing.assert_allclose(weights[:3], [1.5**2 / 3, 1.5**2 / 12, 0])


class DisagreementTest(absltest.TestCase):
  def test_photos_far_from_the_detectors_points_are_given_up(self):
    row = dataclasses.replace(
      PhotoRow(pathlib.Path("1.png"), "a", "a/1.png", "ok"),
      visibility=np.ones(68, np.float32),
    )
    usable, settings = np.ones(68, bool), fit_shards.FitSettings()
    for away, status in ((None, "ok"), (0.05, "ok"), (0.25, "rejected")):
      away = None if away is None else np.float32(away).reshape(())
      checked = fit_shards._check_row(
        dataclasses.replace(row, disagreement=away), usable, settings
      )
      self.assertEqual(checked.status, status)
    self.assertEqual(
      checked.reason,
      "landmarks disagree with the detector's five points: 25.0 % of the"
      " face's size",
    )


if __name__ == "__main__":
  absltest.main()
