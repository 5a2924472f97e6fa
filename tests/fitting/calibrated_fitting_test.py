"""Fits of models whose landmarks are where a calibration puts them."""

import dataclasses
import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from scipy.spatial.transform import Rotation

from disentangle3d.faces.landmark_calibration import (
  landmark_covariance,
  main_vertices,
)
from disentangle3d.faces.morphable_model import (
  identity_calibration,
  landmark_points,
  synthesize_shape,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.fitting.alternation import alternate, start
from disentangle3d.fitting.batched_fitting import fit_model
from disentangle3d.fitting.contour import jaw_contour
from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from disentangle3d.fitting.linear_steps import landmark_basis
from disentangle3d.fitting.model_points import model_points
from disentangle3d.fitting.noise import noise_roots
from disentangle3d.fitting.weights import (
  observe,
  outliers,
  reweigh,
  squared_distances,
  with_noise,
)
from disentangle3d.geometry import euler_from_rotation, project
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import random_calibration, random_morphable_model

_SUBJECTS, _IMAGES = 4, 3
_OPTIONS = FitOptions(max_iterations=40, tolerance=1e-5, noise="calibrated")
_ISOTROPIC = dataclasses.replace(_OPTIONS, noise="isotropic")


@functools.partial(jax.jit, static_argnames="options")
def _fit(model, landmarks, visibility, contour=None, *, options=_OPTIONS):
  return fit_landmarks(
    model, landmarks, visibility, options=options, contour=contour
  )


@functools.cache
def _calibrated():
  """Every other landmark is five times as noisy as its neighbours."""
  model = random_morphable_model()
  calibration = random_calibration(model, noise_mm=2.0)
  covariance = np.array(calibration.covariance_mm2)
  covariance[:, ::2] *= 25
  return model.replace(
    landmark_calibration=calibration.replace(covariance_mm2=covariance)
  )


def _on_vertices(model, covariance):
  """The landmarks on their vertices; arrays alone change, not the program."""
  same = identity_calibration(model.replace(landmark_calibration=None))
  calibration = model.landmark_calibration.replace(
    triangle_vertices=same.triangle_vertices,
    weights=same.weights,
    offset_mm=same.offset_mm,
    covariance_mm2=np.broadcast_to(covariance, (3, 68, 2, 2)).astype("f"),
  )
  return model.replace(landmark_calibration=calibration)


def _noisy(model, faces, *, seed=0):
  """The landmarks with the noise that the calibration says they have."""
  yaw, _, roll = euler_from_rotation(faces.camera.rotation)
  covariance = landmark_covariance(model.landmark_calibration, yaw, roll)
  root = np.linalg.cholesky(np.asarray(covariance, np.float64))
  normal = np.random.default_rng(seed).normal(size=(*root.shape[:-1], 1))
  noise = faces.camera.scale[..., None, None] * (root @ normal)[..., 0]
  return (faces.landmarks + noise).astype(np.float32)


@functools.cache
def _problem():
  model = _calibrated()
  faces = known_faces(model, _SUBJECTS, _IMAGES, hidden=0.1)
  return model, faces, _noisy(model, faces)


def _error(result, faces):
  return float(
    np.sqrt(np.mean((result.identity_coefficients - faces.identity) ** 2))
  )


class PointsTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_the_identity_calibration_changes_no_bit(self, moving):
    model = procedural_face_model(
      num_vertices=1000, identity_dim=5, expression_dim=3
    )
    landmarks = np.array(model.landmark_vertices)
    landmarks[[3, 40]] = -1
    model = model.replace(landmark_vertices=landmarks)
    same = model.replace(landmark_calibration=identity_calibration(model))
    contour = jaw_contour(model) if moving else None
    if moving:
      np.testing.assert_array_equal(jaw_contour(same), contour)
    for one, other in zip(
      jax.tree.leaves(model_points(model, contour)),
      jax.tree.leaves(model_points(same, contour)),
      strict=True,
    ):
      np.testing.assert_array_equal(one, other)
    basis = landmark_basis(same, contour)
    self.assertIsNone(basis.calibration)
    for one, other in zip(
      jax.tree.leaves(landmark_basis(model, contour)),
      jax.tree.leaves(basis),
      strict=True,
    ):
      np.testing.assert_array_equal(one, other)

  def test_candidates_move_with_their_landmark(self):
    face = procedural_face_model(
      num_vertices=1000, identity_dim=5, expression_dim=3
    )
    calibration = random_calibration(face)
    face = face.replace(landmark_calibration=calibration)
    contour = jaw_contour(face, num_candidates=4)
    np.testing.assert_array_equal(
      contour[:, 0], main_vertices(calibration)[:17]
    )
    points = model_points(face, contour)
    landmarks = np.asarray(landmark_points(face, face.mean_shape))
    np.testing.assert_array_equal(points.mean[:68], landmarks)
    shift = landmarks[:17] - face.mean_shape[contour[:, 0]]
    np.testing.assert_allclose(
      np.asarray(points.mean[68:]).reshape(17, 3, 3),
      face.mean_shape[contour[:, 1:]] + shift[:, None],
      atol=1e-4,
    )
    np.testing.assert_array_equal(
      points.identity[68:], face.identity_basis[contour[:, 1:].ravel()]
    )

  def test_a_model_cut_to_its_points_has_the_same(self):
    face = procedural_face_model(
      num_vertices=1000, identity_dim=5, expression_dim=3
    )
    face = face.replace(landmark_calibration=random_calibration(face))
    cut = fit_model(face, moving_contour=True)
    for one, other in zip(
      jax.tree.leaves(model_points(face, jaw_contour(face))),
      jax.tree.leaves(model_points(cut.model, cut.contour)),
      strict=True,
    ):
      np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_array_equal(
      landmark_basis(cut.model).calibration.covariance_mm2,
      face.landmark_calibration.covariance_mm2,
    )


class RecoveryTest(absltest.TestCase):
  def test_coefficients_come_back_from_where_the_detector_marks(self):
    model = _calibrated()
    calibration = model.landmark_calibration
    exact = model.replace(
      landmark_calibration=calibration.replace(
        offset_mm=3 * calibration.offset_mm,
        covariance_mm2=1e-4 * calibration.covariance_mm2,
      )
    )
    faces = known_faces(exact, _SUBJECTS, _IMAGES)
    result = _fit(exact, faces.landmarks, faces.visibility)
    self.assertLess(_error(result, faces), 0.05)
    self.assertLess(float(result.rmse_px.max()), 0.1)
    shape = synthesize_shape(
      exact,
      np.repeat(result.identity_coefficients[:, None], _IMAGES, 1),
      result.expression_coefficients,
    )
    seen = project(result.camera, landmark_points(exact, shape))
    np.testing.assert_allclose(seen, faces.landmarks, atol=0.3)
    wrong = _fit(
      _on_vertices(exact, np.eye(2)),
      faces.landmarks,
      faces.visibility,
      options=_ISOTROPIC,
    )
    # Ten times what is allowed above.
    self.assertGreater(_error(wrong, faces), 0.5)


class WhitenedTest(parameterized.TestCase):
  def test_it_is_the_least_squares_of_scipy(self):
    model, faces, landmarks = _problem()
    basis = landmark_basis(model)
    observed = observe(basis, landmarks[:1], faces.visibility[:1], None)
    step = jax.jit(functools.partial(alternate, options=_OPTIONS))
    state = start(basis, observed, _OPTIONS)
    for _ in range(40):
      state = step(basis, state)
    oracle = _Oracle(model, state, landmarks[0])
    estimate = state.estimate
    got = float(estimate.objective[0])
    self.assertAlmostEqual(oracle.cost(oracle.first), got, delta=1e-3 * got)
    found = scipy.optimize.least_squares(
      oracle.residuals, oracle.first, x_scale="jac"
    )
    self.assertBetween(got, 0.9999 * 2 * found.cost, 1.001 * 2 * found.cost)
    np.testing.assert_allclose(found.x[:12], estimate.identity[0], atol=0.03)
    # Which is another minimum than that of the plain distances.
    plain = _fit(model, landmarks, faces.visibility, options=_ISOTROPIC)
    away = np.abs(found.x[:12] - plain.identity_coefficients[0]).max()
    self.assertGreater(away, 0.1)

  def test_noise_alike_for_all_is_the_plain_fit(self):
    model = _on_vertices(_calibrated(), np.eye(2))
    faces = known_faces(model, _SUBJECTS, _IMAGES, hidden=0.1)
    camera = dataclasses.replace(
      faces.camera, scale=np.full_like(faces.camera.scale, 0.42)
    )
    noise = np.random.default_rng(3).normal(0, 1.5, faces.landmarks.shape)
    landmarks = np.asarray(project(camera, faces.points) + noise, np.float32)
    plain = _fit(model, landmarks, faces.visibility, options=_ISOTROPIC)
    # Sizes are found to about 2 %, and weights with them.
    size = 1.5 / float(plain.camera.scale.mean())
    alike = _on_vertices(model, size**2 * np.eye(2))
    got = _fit(alike, landmarks, faces.visibility)
    np.testing.assert_allclose(
      got.identity_coefficients, plain.identity_coefficients, atol=0.03
    )
    np.testing.assert_allclose(got.rmse_px, plain.rmse_px, rtol=0.01)
    np.testing.assert_allclose(
      got.objective[:, -1], plain.objective[:, -1], rtol=0.05
    )

  def test_it_finds_people_better_than_one_number_for_all(self):
    model, faces, landmarks = _problem()
    whitened = _fit(model, landmarks, faces.visibility)
    plain = _fit(model, landmarks, faces.visibility, options=_ISOTROPIC)
    self.assertLess(_error(whitened, faces), 0.7 * _error(plain, faces))
    self.assertTrue(np.asarray(whitened.converged).all())

  def test_the_objective_falls_once_the_noise_stays(self):
    model, faces, landmarks = _problem()
    objective = np.asarray(_fit(model, landmarks, faces.visibility).objective)
    later = objective[:, 3:]
    self.assertTrue((later[:, 1:] <= later[:, :-1] * (1 + 1e-5)).all())
    self.assertTrue((later[:, -1] < later[:, 0]).all())

  def test_it_meets_the_landmarks_where_it_says(self):
    model, faces, landmarks = _problem()
    result = _fit(model, landmarks, faces.visibility)
    shape = synthesize_shape(
      model,
      np.repeat(result.identity_coefficients[:, None], _IMAGES, 1),
      result.expression_coefficients,
    )
    away = project(result.camera, landmark_points(model, shape)) - landmarks
    squares = faces.visibility * np.sum(np.square(away), -1)
    np.testing.assert_allclose(
      result.rmse_px,
      np.sqrt(squares.sum(-1) / faces.visibility.sum(-1)),
      rtol=1e-3,
    )

  def test_roots_are_of_the_inverse_covariance(self):
    model, faces, _ = _problem()
    camera = faces.camera
    yaw, _, roll = euler_from_rotation(camera.rotation)
    covariance = landmark_covariance(model.landmark_calibration, yaw, roll)
    covariance = covariance * camera.scale[..., None, None, None] ** 2
    root = noise_roots(
      model.landmark_calibration, camera.scale, camera.rotation, FitOptions()
    )
    upper = np.asarray(jnp.insert(root, 2, 0.0, axis=-2), np.float64)
    upper = np.moveaxis(upper, -2, -1).reshape(*covariance.shape)
    np.testing.assert_allclose(
      np.swapaxes(upper, -1, -2) @ upper @ covariance / 1.5**2,
      np.broadcast_to(np.eye(2), covariance.shape),
      atol=1e-3,
    )

  def test_the_unit_and_the_factor(self):
    model, faces, _ = _problem()
    scale, rotation = faces.camera.scale, faces.camera.rotation
    calibration = model.landmark_calibration
    once = noise_roots(calibration, scale, rotation, FitOptions())
    covariance = calibration.covariance_mm2
    four = calibration.replace(covariance_mm2=4 * covariance)
    quarter = FitOptions(noise_factor=0.25)
    same = noise_roots(four, scale, rotation, quarter)
    np.testing.assert_allclose(same, once, rtol=1e-5, atol=1e-6)
    for unit, expected in ((3.0, 3.0), (0.0, 1.0)):
      options = FitOptions(landmark_std_px=unit)
      got = noise_roots(calibration, scale, rotation, options)
      np.testing.assert_allclose(got, once * expected / 1.5, rtol=1e-5)

  def test_an_outlier_is_one_against_the_landmark_s_own_noise(self):
    covariance = np.tile(np.eye(2, dtype=np.float32), (68, 1, 1))
    covariance[4] *= 100
    model = _on_vertices(_calibrated(), covariance)
    options = FitOptions(robust="geman_mcclure", noise="calibrated")
    basis = landmark_basis(model)
    faces = known_faces(model, 1, 1)
    observed = observe(basis, faces.landmarks, faces.visibility, None)
    cameras = jnp.full((1, 1), 0.4), faces.camera.rotation
    observed = with_noise(basis, observed, *cameras, options)
    residuals = np.zeros((1, 1, 2, 68), np.float32)
    # 6 px are 15 mm: 1.5 standard deviations of the jaw's, 15 of the eye's.
    residuals[..., 1, [4, 37]] = 6
    np.testing.assert_allclose(
      squared_distances(observed, residuals)[0, 0, [3, 4, 37]],
      [0, (1.5 * 1.5) ** 2, (15 * 1.5) ** 2],
      rtol=1e-5,
    )
    moved = reweigh(
      basis,
      observed,
      jnp.broadcast_to(basis.mean[None, None], (1, 1, 3, 68)),
      residuals,
      *cameras,
      count=jnp.int32(0),
      settled=jnp.zeros(1, bool),
      options=options,
    )
    np.testing.assert_array_equal(np.flatnonzero(outliers(moved)), [37])

  def test_padding_and_points_at_one_place_stay_finite(self):
    model, faces, landmarks = _problem()
    visibility = np.array(faces.visibility)
    visibility[0, 1] = 0
    odd = landmarks.copy()
    odd[1] = 30.0
    got = _fit(model, odd, visibility)
    for leaf in jax.tree.leaves(got):
      self.assertTrue(np.isfinite(np.asarray(leaf, np.float64)).all())
    np.testing.assert_array_equal(got.expression_coefficients[0, 1], 0)
    two = _fit(model, odd[:, [0, 2, 1]], visibility[:, [0, 2, 1]])
    np.testing.assert_allclose(
      two.identity_coefficients[0], got.identity_coefficients[0], atol=1e-3
    )

  @parameterized.parameters(
    dict(noise="measured"),
    dict(noise_factor=0.0),
    dict(noise_factor=np.nan),
    dict(expression_std=0.0),
  )
  def test_bad_options_are_named(self, **options):
    with self.assertRaisesRegex(ValueError, next(iter(options))):
      FitOptions(**options)


class _Oracle:
  """One subject's objective with the fit's own weights, in float64."""

  def __init__(self, model, state, landmarks):
    calibration = model.landmark_calibration
    self._parts = [
      np.einsum(
        "lc,lc...->l...",
        calibration.weights.astype(np.float64),
        np.asarray(values, np.float64)[calibration.triangle_vertices],
      )
      for values in (
        model.mean_shape,
        model.identity_basis,
        model.expression_basis,
      )
    ]
    self._parts[0] = self._parts[0] + calibration.offset_mm
    self._landmarks = landmarks.astype(np.float64)
    weight = np.asarray(state.observed.noise.weight[0], np.float64)
    self._weight = weight[:, [0, 1, 1, 2]].transpose(0, 2, 1)
    self._weight = self._weight.reshape(*self._weight.shape[:2], 2, 2)
    estimate = state.estimate
    cameras = np.concatenate(
      [
        np.log(np.asarray(estimate.scale[0], np.float64))[:, None],
        Rotation.from_matrix(
          np.asarray(estimate.rotation[0], np.float64)
        ).as_rotvec(),
      ],
      1,
    )
    self.first = np.concatenate(
      [
        np.asarray(estimate.identity[0]),
        np.concatenate(
          [np.asarray(estimate.expression[0]), cameras], 1
        ).ravel(),
      ]
    )

  def residuals(self, unknowns):
    mean, identity_basis, expression_basis = self._parts
    identity, rest = np.split(unknowns, [identity_basis.shape[-1]])
    rest = rest.reshape(len(self._landmarks), -1)
    found = [1.5 * identity]
    for image, (expression, camera) in enumerate(
      (row[:-4], row[-4:]) for row in rest
    ):
      points = mean + identity_basis @ identity + expression_basis @ expression
      turned = points @ Rotation.from_rotvec(camera[1:]).as_matrix().T
      seen = np.exp(camera[0]) * turned[:, :2] * [1, -1]
      away = self._landmarks[image] - seen
      weight = self._weight[image]
      shift = np.linalg.solve(
        weight.sum(0), np.einsum("lab,lb->a", weight, away)
      )
      value, vector = np.linalg.eigh(weight)
      root = np.sqrt(value)[..., None] * vector.transpose(0, 2, 1)
      found.append(np.einsum("lab,lb->la", root, away - shift).ravel())
      found.append(1.5 * expression)
    return np.concatenate(found)

  def cost(self, unknowns):
    return float(np.sum(self.residuals(unknowns) ** 2))


if __name__ == "__main__":
  absltest.main()
