import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
import scipy.io

from data_prep.evaluation_sets.mat_landmarks import read_mat_landmarks


class MatLandmarksTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "image00002.mat"
    self.points = np.random.default_rng(0).uniform(1, 450, (68, 3))

  @parameterized.named_parameters(
    ("aflw2000", lambda p: {"pt3d_68": p.T, "pt2d": -np.ones((2, 21))}),
    ("300w_lp", lambda p: {"pt2d": p[:, :2].T, "Pose_Para": np.ones((1, 7))}),
    ("300w_lp_points", lambda p: {"pts_2d": p[:, :2] + 9, "pts_3d": p[:, :2]}),
  )
  def test_points_are_counted_from_zero(self, variables):
    scipy.io.savemat(self.path, variables(self.points))
    found = read_mat_landmarks(self.path)
    self.assertEqual((found.shape, found.dtype), ((68, 2), np.float32))
    np.testing.assert_allclose(found, self.points[:, :2] - 1, atol=1e-4)

  @parameterized.named_parameters(
    ("none", {"Pose_Para": np.ones((1, 7))}, "one of the variables pt3d_68, "),
    (
      "fewer",
      {"pt2d": np.ones((2, 21))},
      "pt2d: expected 68 points, got .2, 2",
    ),
    ("text", {"pt3d_68": "hello"}, "pt3d_68: expected a matrix of numbers"),
    ("nan", {"pt2d": np.full((2, 68), np.nan)}, "pt2d: expected finite"),
    ("deep", {"pt2d": np.ones((2, 68, 2))}, "pt2d: expected a matrix"),
  )
  def test_other_variables_are_named(self, variables, problem):
    scipy.io.savemat(self.path, variables)
    with self.assertRaisesRegex(ValueError, f"00002.mat: .*{problem}"):
      read_mat_landmarks(self.path)


if __name__ == "__main__":
  absltest.main()
