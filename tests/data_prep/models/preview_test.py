from absl.testing import absltest
import numpy as np

from data_prep.models.preview import draw_model_landmarks
from disentangle3d.reporting.pictures import LANDMARK_GREEN
from tests.data_prep.models.known_model import MODEL

_SIZE = 320
_GAP = 6  # the contact sheet's, round each view
_INK = np.round(255 * np.array(LANDMARK_GREEN))


def _places(points, side, yaw_degrees):
  """Where orthographic views show points, by hand: pixels of one view."""
  yaw = np.deg2rad(yaw_degrees)
  across = np.cos(yaw) * points[:, 0] + np.sin(yaw) * points[:, 2]
  flat = np.stack([across, -points[:, 1]], 1)
  scale = _SIZE / (1.25 * side)
  middle = (flat.min(0) + flat.max(0)) / 2
  return (flat - middle) * scale + (_SIZE - 1) / 2


def _marks(view):
  return np.abs(view - _INK).max(-1) < 40


class DrawModelLandmarksTest(absltest.TestCase):
  def test_marks_are_where_the_landmarks_are(self):
    missing = [8, 30, 45]
    vertices = MODEL.landmark_vertices.copy()
    vertices[missing] = -1
    known = vertices[vertices >= 0]
    points = MODEL.mean_shape[known].astype(np.float64)
    sheet = draw_model_landmarks(
      MODEL.replace(landmark_vertices=vertices), size_px=_SIZE
    )
    self.assertEqual(sheet.dtype, np.uint8)
    side = np.ptp(points, axis=0).max()
    sides = {0: points[:, 0] < 99, 75: points[:, 0] < 3, -75: points[:, 0] > -3}
    for number, (degrees, near) in enumerate(sides.items()):
      left = _GAP + number * (_SIZE + _GAP)
      view = sheet[_GAP : _GAP + _SIZE, left : left + _SIZE]
      self.assertEqual(view.shape, (_SIZE, _SIZE, 3))
      places = _places(points, side, degrees)[near]
      marks = _marks(view)
      rows, columns = np.nonzero(marks)
      distance = np.hypot(
        columns[:, None] - places[:, 0], rows[:, None] - places[:, 1]
      )
      self.assertLess(distance.min(1).max(), 4.5)
      # Numbers lie over a few of them.
      self.assertGreater((distance.min(0) < 3).mean(), 0.8)
      # The face is behind them: grey in the middle, white below.
      rest = view[~marks]
      self.assertGreater((np.ptp(rest, axis=-1) == 0).mean(), 0.8)
      self.assertTrue((view[-1, [0, -1]] == 255).all())
      self.assertLess(np.median(view[_SIZE // 3 : _SIZE // 2]), 250)


if __name__ == "__main__":
  absltest.main()
