from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from tests.fixtures import random_morphable_model


class ArgumentsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (
      "landmarks",
      (2, 3, 67, 2),
      (2, 3, 68),
      r"landmarks: expected shape \[S, N, 68, 2\], got \[2, 3, 67, 2\]",
    ),
    (
      "visibility",
      (2, 3, 68, 2),
      (2, 4, 68),
      r"visibility: expected shape \[S=2, N=3, 68\], got \[2, 4, 68\]",
    ),
    (
      "empty",
      (2, 0, 68, 2),
      (2, 0, 68),
      "landmarks: expected at least one subject and image",
    ),
  )
  def test_wrong_shapes_are_named(self, landmarks, visibility, message):
    with self.assertRaisesRegex(ValueError, message):
      fit_landmarks(
        random_morphable_model(),
        np.zeros(landmarks, np.float32),
        np.zeros(visibility, np.float32),
      )

  def test_integer_landmarks_are_refused(self):
    with self.assertRaisesRegex(TypeError, "landmarks: expected a floating"):
      fit_landmarks(
        random_morphable_model(),
        np.zeros((1, 1, 68, 2), np.int32),
        np.ones((1, 1, 68), np.float32),
      )

  @parameterized.parameters(
    ("landmark_std_px", -1.0),
    ("tolerance", float("nan")),
    ("solver_tolerance", float("inf")),
    ("max_iterations", 0),
    ("camera_steps", 0),
    ("max_solver_iterations", 0),
    ("extrapolated_rounds", -1),
  )
  def test_options_out_of_range_are_named(self, name, value):
    with self.assertRaisesRegex(ValueError, f"{name}: expected at least"):
      FitOptions(**{name: value})

  def test_options_are_hashable(self):
    self.assertEqual(hash(FitOptions()), hash(FitOptions(landmark_std_px=1.5)))


if __name__ == "__main__":
  absltest.main()
