import pathlib

from absl.testing import absltest, parameterized

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


if __name__ == "__main__":
  absltest.main()
