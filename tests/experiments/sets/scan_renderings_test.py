"""Photos rendered of a scan whose landmarks are known."""

from absl.testing import absltest
import numpy as np
import scipy.spatial

from disentangle3d.geometry import five_points
from disentangle3d.types import CROP_TEMPLATE
from experiments.sets.scan_renderings import render_scan
from tests.data_prep.evaluation_sets.bu3dfe_landmarks_test import mesh_vertices


class RenderScanTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    vertices = mesh_vertices()
    self.landmarks = np.full((68, 3), np.nan)
    self.landmarks[[36, 39, 42, 45]] = [
      (-39, 40, 40), (-11, 40, 40), (11, 40, 40), (39, 40, 40),
    ]  # fmt: skip
    self.landmarks[[30, 48, 54]] = [(0, 6, 75), (-25, -30, 55), (25, -30, 55)]
    triangles = scipy.spatial.Delaunay(vertices[:83, :2]).simplices
    self.crops = render_scan(
      vertices[:83], triangles.astype(np.int32), self.landmarks, (-60, 0, 60)
    )

  def test_the_front_lies_on_the_template(self):
    marks = self.crops.landmarks[1].copy()
    for eye in (slice(36, 42), slice(42, 48)):
      known = marks[eye][(marks[eye] != 0).any(1)]
      marks[eye] = known.mean(0)
    found = np.asarray(five_points(marks.astype(np.float32)))
    self.assertLess(np.abs(found - CROP_TEMPLATE).max(), 6)
    np.testing.assert_allclose(found.mean(0), CROP_TEMPLATE.mean(0), atol=1e-3)

  def test_positive_yaw_turns_the_nose_right_and_mirrors(self):
    nose = self.crops.landmarks[:, 30, 0]
    eyes = self.crops.landmarks[:, [39, 42], 0].mean(1)
    self.assertGreater(nose[2] - eyes[2], 10)
    # The template itself is not quite symmetric.
    self.assertAlmostEqual(nose[2] - eyes[2], eyes[0] - nose[0], delta=0.5)

  def test_what_the_scan_lacks_is_not_visible(self):
    known = np.isfinite(self.landmarks).all(1)
    self.assertEqual(self.crops.visibility[:, ~known].max(), 0)
    self.assertGreater(self.crops.visibility[1, known].mean(), 0.5)
    self.assertTrue(np.isfinite(self.crops.landmarks).all())

  def test_without_a_nose_there_is_no_crop(self):
    self.landmarks[30] = np.nan
    with self.assertRaisesRegex(ValueError, "eyes, nose tip and mouth"):
      render_scan(
        mesh_vertices(), np.zeros((1, 3), np.int32), self.landmarks, (0,)
      )


if __name__ == "__main__":
  absltest.main()
