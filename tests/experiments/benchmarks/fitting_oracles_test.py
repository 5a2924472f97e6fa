import functools

from absl.testing import absltest
import jax
import numpy as np
from scipy.optimize import approx_fprime

from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from disentangle3d.geometry import Camera
from experiments.benchmarks.fitting_oracles import ScipyProblem, unknowns_of
from experiments.benchmarks.fitting_trials import EXACT, gaps_to_scipy
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import random_morphable_model


@functools.cache
def _model():
  return random_morphable_model(identity_dim=6, expression_dim=3)


@functools.cache
def _faces():
  return known_faces(_model(), 3, 2, noise_px=1.0, hidden=0.2)


def _problem(subject, landmark_std_px=1.5):
  faces = _faces()
  return ScipyProblem(
    _model(),
    faces.landmarks[subject],
    faces.visibility[subject],
    landmark_std_px=landmark_std_px,
  )


def _truth(subject):
  faces = _faces()
  camera = Camera(
    faces.camera.scale[subject],
    faces.camera.rotation[subject],
    faces.camera.translation[subject],
  )
  return unknowns_of(faces.identity[subject], faces.expression[subject], camera)


class ScipyProblemTest(absltest.TestCase):
  def test_truth_leaves_the_noise_and_the_prior(self):
    faces = _faces()
    for subject in range(3):
      seen = faces.visibility[subject] > 0
      expected = np.sum(
        (
          np.stack(
            [
              faces.landmarks[subject, n] - _projected(faces, subject, n)
              for n in range(2)
            ]
          )[seen]
        )
        ** 2
      ) + 1.5**2 * (
        np.sum(faces.identity[subject] ** 2)
        + np.sum(faces.expression[subject] ** 2)
      )
      self.assertAlmostEqual(
        _problem(subject).objective(_truth(subject)) / expected, 1, places=5
      )

  def test_slopes_are_those_of_the_residuals(self):
    problem = _problem(0)
    at = problem._flat(_truth(0))
    rng = np.random.default_rng(1)
    for _ in range(3):
      weights = rng.normal(size=len(problem._residuals(at)))
      expected = approx_fprime(
        at, lambda x, w=weights: w @ problem._residuals(x), 1e-6
      )
      np.testing.assert_allclose(
        weights @ problem._jacobian(at), expected, rtol=1e-4, atol=1e-2
      )

  def test_the_fitters_objective_is_the_same_sum(self):
    faces = _faces()
    options = FitOptions(max_iterations=7)
    fit = jax.device_get(
      jax.jit(functools.partial(fit_landmarks, options=options))(
        _model(), faces.landmarks, faces.visibility
      )
    )
    for subject in range(3):
      found = unknowns_of(
        fit.identity_coefficients[subject],
        fit.expression_coefficients[subject],
        jax.tree.map(lambda leaf, s=subject: leaf[s], fit.camera),
      )
      self.assertAlmostEqual(
        _problem(subject).objective(found) / fit.objective[subject, -1],
        1,
        places=3,
      )

  def test_fits_come_within_half_a_percent_of_scipys(self):
    (gap,) = gaps_to_scipy(
      _model(),
      num_problems=4,
      num_images=2,
      settings={EXACT: FitOptions(tolerance=1e-6, max_iterations=100)},
    ).values()
    self.assertLess(gap.max(), 0.005)
    self.assertGreater(gap.min(), -1e-3)


def _projected(faces, subject, image):
  rotated = (
    faces.points[subject, image] @ faces.camera.rotation[subject, image].T
  )
  flat = faces.camera.scale[subject, image] * rotated[:, :2] * [1, -1]
  return flat + faces.camera.translation[subject, image]


if __name__ == "__main__":
  absltest.main()
