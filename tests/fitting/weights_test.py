import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from disentangle3d.fitting.weights import robust_cost, robust_weight
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import random_morphable_model

_HUBER = FitOptions(robust="huber", robust_scale_px=3.0, max_iterations=20)
_GEMAN = FitOptions(
  robust="geman_mcclure", robust_scale_px=3.0, max_iterations=20
)
_PLAIN = FitOptions(max_iterations=20)


class RobustCostTest(parameterized.TestCase):
  def test_huber_is_scipys(self):
    r = np.linspace(0, 20, 81)
    np.testing.assert_allclose(
      robust_cost(jnp.asarray(r**2, jnp.float32), _HUBER),
      2 * scipy.special.huber(3.0, r),
      rtol=1e-5,
    )

  def test_geman_mcclure_stops_at_its_scale(self):
    cost = robust_cost(jnp.asarray([0.0, 9.0, 1e8]), _GEMAN)
    np.testing.assert_allclose(cost, [0.0, 4.5, 9.0], rtol=1e-5)

  @parameterized.parameters(_HUBER, _GEMAN, _PLAIN)
  def test_weights_are_the_derivative(self, options):
    squares = jnp.asarray([0.1, 2.0, 8.0, 10.0, 50.0, 1000.0])
    slope = jax.vmap(jax.grad(lambda s: robust_cost(s, options)))(squares)
    np.testing.assert_allclose(
      robust_weight(squares, options), slope, rtol=1e-5
    )

  @parameterized.parameters(
    dict(robust="tukey"), dict(robust_scale_px=0.0), dict(robust_scale_px=-1.0)
  )
  def test_bad_options_are_named(self, **options):
    with self.assertRaisesRegex(ValueError, next(iter(options))):
      FitOptions(**options)


@functools.partial(jax.jit, static_argnames="options")
def _fit(model, landmarks, visibility, options):
  return fit_landmarks(model, landmarks, visibility, options=options)


@functools.cache
def _problem():
  """Landmarks of four people, a tenth of them thrown 15 to 40 px away."""
  model = random_morphable_model()
  faces = known_faces(model, 4, 4, noise_px=0.5, hidden=0.1)
  rng = np.random.default_rng(1)
  wrong = (rng.random(faces.visibility.shape) < 0.1) & (faces.visibility > 0)
  angle = rng.uniform(0, 2 * np.pi, wrong.shape)
  jump = np.stack([np.cos(angle), np.sin(angle)], -1)
  jump = jump * rng.uniform(15, 40, (*wrong.shape, 1))
  landmarks = np.where(
    wrong[..., None], faces.landmarks + jump, faces.landmarks
  )
  return model, faces, landmarks.astype(np.float32), wrong


def _errors(result, faces):
  return float(
    np.sqrt(np.mean((result.identity_coefficients - faces.identity) ** 2))
  )


class RobustFitTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("huber", _HUBER, 0.5, 6.0), ("geman_mcclure", _GEMAN, 0.25, 2.5)
  )
  def test_outliers_hardly_matter(self, options, share, rmse_px):
    model, faces, landmarks, wrong = _problem()
    clean = _errors(
      _fit(model, faces.landmarks, faces.visibility, _PLAIN), faces
    )
    plain = _errors(_fit(model, landmarks, faces.visibility, _PLAIN), faces)
    result = _fit(model, landmarks, faces.visibility, options)
    robust = _errors(result, faces)
    self.assertLess(robust - clean, share * (plain - clean))
    np.testing.assert_array_equal(result.outliers[wrong], True)
    good = (faces.visibility > 0) & ~wrong
    self.assertLess(np.asarray(result.outliers)[good].mean(), 0.02)
    self.assertLess(float(result.rmse_px.max()), rmse_px)

  @parameterized.parameters(_HUBER, _GEMAN)
  def test_the_robust_objective_never_increases(self, options):
    model, faces, landmarks, _ = _problem()
    objective = np.asarray(
      _fit(model, landmarks, faces.visibility, options).objective
    )
    self.assertTrue((np.diff(objective) <= 1e-5 * objective[:, :-1]).all())
    self.assertTrue((objective[:, -1] < 0.98 * objective[:, 0]).all())

  def test_the_objective_is_the_robust_cost(self):
    model, faces, landmarks, _ = _problem()
    result = _fit(model, landmarks, faces.visibility, _GEMAN)
    no_prior = np.asarray(result.objective[:, -1]) - 1.5**2 * (
      np.sum(np.square(result.identity_coefficients), -1)
      + np.sum(np.square(result.expression_coefficients), (-2, -1))
    )
    # At most 9 px^2 a landmark, and 9 for each that is far off.
    self.assertTrue((no_prior < 9 * faces.visibility.sum((-2, -1))).all())

  def test_without_outliers_it_hardly_changes_anything(self):
    model, faces, _, _ = _problem()
    got = _fit(model, faces.landmarks, faces.visibility, _HUBER)
    plain = _fit(model, faces.landmarks, faces.visibility, _PLAIN)
    np.testing.assert_allclose(
      got.identity_coefficients, plain.identity_coefficients, atol=0.1
    )
    np.testing.assert_allclose(
      plain.landmark_weights, faces.visibility, atol=1e-6
    )
    self.assertGreater(float(got.landmark_weights.mean()), 0.98 * 0.9)
    self.assertFalse(np.asarray(plain.outliers).any())


class HardPhotosTest(parameterized.TestCase):
  def test_relative_error_is_against_90_mm(self):
    model, faces, _, _ = _problem()
    result = _fit(model, faces.landmarks, faces.visibility, _PLAIN)
    np.testing.assert_allclose(
      result.relative_error,
      result.rmse_px / (90 * result.camera.scale),
      rtol=1e-5,
    )

  def test_upside_down_photos_are_fitted_as_well(self):
    model, faces, _, _ = _problem()
    upright = _fit(model, faces.landmarks, faces.visibility, _PLAIN)
    turned = _fit(model, -faces.landmarks, faces.visibility, _PLAIN)
    np.testing.assert_allclose(
      turned.identity_coefficients, upright.identity_coefficients, atol=1e-3
    )
    np.testing.assert_allclose(turned.rmse_px, upright.rmse_px, rtol=1e-3)

  def test_a_mirrored_photo_is_a_face_seen_from_behind(self):
    # Under weak perspective the two are the same landmarks.
    model, faces, _, _ = _problem()
    landmarks = np.array(faces.landmarks)
    landmarks[..., 0] = 96 - landmarks[..., 0]
    result = _fit(model, landmarks, faces.visibility, _PLAIN)
    upright = _fit(model, faces.landmarks, faces.visibility, _PLAIN)
    np.testing.assert_allclose(
      result.camera.rotation[..., 2, 2],
      -upright.camera.rotation[..., 2, 2],
      atol=1e-3,
    )
    np.testing.assert_allclose(
      np.linalg.det(result.camera.rotation), 1.0, atol=1e-4
    )

  def test_half_the_points_of_turned_faces_are_enough(self):
    model, faces, _, _ = _problem()
    visibility = np.array(faces.visibility)
    # The half of the landmarks farthest from the viewer.
    depth = np.einsum(
      "snj,snlj->snl", faces.camera.rotation[..., 2, :], faces.points
    )
    visibility[depth < np.median(depth, -1, keepdims=True)] = 0
    result = _fit(model, faces.landmarks, visibility, _PLAIN)
    self.assertLess(float(result.rmse_px.max()), 1.5)
    angle = np.einsum(
      "snij,snij->sn", result.camera.rotation, faces.camera.rotation
    )
    self.assertGreater(float(angle.min()), 3 - 0.03)

  @parameterized.parameters(_HUBER, _GEMAN)
  def test_degenerate_input_stays_finite(self, options):
    model, faces, landmarks, _ = _problem()
    landmarks = np.array(landmarks)
    visibility = np.array(faces.visibility)
    landmarks[0, 0] = 50 + np.arange(68)[:, None]
    landmarks[0, 1] = 3
    visibility[1] = np.arange(68) < 3
    visibility[2] = 0
    visibility[3, 0] = np.arange(68) == 7
    landmarks[3, 1] = np.nan
    visibility[3, 1] = 0
    with jax.debug_nans(True):
      result = _fit(model, landmarks, visibility, options)
    for leaf in jax.tree.leaves(result):
      self.assertTrue(np.isfinite(leaf).all())


if __name__ == "__main__":
  absltest.main()
