import functools
import subprocess
import sys

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_points,
  synthesize_shape,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from disentangle3d.geometry import align_similarity, apply_similarity, project
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import REPOSITORY, random_morphable_model

_SUBJECTS, _IMAGES = 6, 4
# Compiled once for these shapes and used by most tests.
_OPTIONS = FitOptions(max_iterations=15)
_NO_PRIOR = FitOptions(landmark_std_px=0.0, max_iterations=150, tolerance=0.0)


@functools.partial(jax.jit, static_argnames="options")
def _fit(model, landmarks, visibility, options, identity_mean=None, beta=None):
  return fit_landmarks(
    model,
    landmarks,
    visibility,
    options=options,
    identity_mean=identity_mean,
    expression_mean=beta,
  )


@functools.cache
def _faces():
  """Noisy landmarks, a fifth of them hidden."""
  model = random_morphable_model()
  faces = known_faces(model, _SUBJECTS, _IMAGES, noise_px=1, hidden=0.2)
  return model, faces


@functools.cache
def _fitted():
  model, faces = _faces()
  return _fit(model, faces.landmarks, faces.visibility, _OPTIONS)


def _distance(model, result, landmarks):
  """u_hat - u in float64, through the public functions."""
  images = landmarks.shape[1]
  identity = np.repeat(result.identity_coefficients[:, None], images, 1)
  shape = synthesize_shape(model, identity, result.expression_coefficients)
  seen = project(result.camera, landmark_points(model, shape))
  return np.asarray(seen, np.float64) - landmarks


def _only_landmarks(model):
  """The model cut to its landmarks, so that models share one program."""
  vertices = np.asarray(model.landmark_vertices)
  return MorphableModel(
    mean_shape=np.asarray(model.mean_shape)[vertices],
    identity_basis=np.asarray(model.identity_basis)[vertices],
    expression_basis=np.asarray(model.expression_basis)[vertices],
    triangles=np.zeros((0, 3), np.int32),
    landmark_vertices=np.arange(68, dtype=np.int32),
  )


def _neutral_landmarks(model, identity):
  nothing = np.zeros((len(identity), model.expression_dim), np.float32)
  return np.asarray(
    landmark_points(model, synthesize_shape(model, identity, nothing))
  )


class ObjectiveTest(parameterized.TestCase):
  def test_never_increases(self):
    objective = np.asarray(_fitted().objective)
    self.assertEqual(objective.shape, (_SUBJECTS, 15))
    np.testing.assert_array_less(
      objective[:, 1:], objective[:, :-1] * (1 + 1e-5)
    )

  def test_is_the_sum_of_the_design(self):
    model, faces = _faces()
    result = _fitted()
    squared = (
      faces.visibility[..., None]
      * _distance(model, result, faces.landmarks) ** 2
    ).sum((-2, -1))
    coefficients = (np.asarray(result.identity_coefficients) ** 2).sum(-1) + (
      np.asarray(result.expression_coefficients) ** 2
    ).sum((-2, -1))
    np.testing.assert_allclose(
      result.objective[:, -1],
      squared.sum(-1) + 1.5**2 * coefficients,
      rtol=1e-4,
    )
    np.testing.assert_allclose(
      result.rmse_px, np.sqrt(squared / faces.visibility.sum(-1)), rtol=1e-4
    )

  def test_the_last_value_repeats_after_convergence(self):
    result = _fitted()
    self.assertTrue(np.asarray(result.converged).all())
    for subject, count in enumerate(np.asarray(result.iterations)):
      self.assertBetween(count, 2, 14)
      values = np.asarray(result.objective[subject])
      self.assertLess(values[count - 1], values[count - 2])
      np.testing.assert_array_equal(values[count:], values[count - 1])
      self.assertLessEqual(1 - values[count - 1] / values[count - 2], 1e-3)

  def test_comes_near_the_optimum_that_scipy_finds(self):
    model, faces = _faces()
    options = FitOptions(max_iterations=100, tolerance=1e-6)
    result = _fit(model, faces.landmarks, faces.visibility, options)
    for subject in range(3):
      optimum = _scipy_objective(model, faces, subject)
      self.assertLess(float(result.objective[subject, -1]), 1.005 * optimum)
      self.assertGreater(float(result.objective[subject, -1]), 0.99 * optimum)

  @pytest.mark.slow
  def test_extrapolation_gets_lower_than_alternation_alone(self):
    model, faces = _faces()
    plain = _fit(
      model,
      faces.landmarks,
      faces.visibility,
      FitOptions(max_iterations=15, extrapolated_rounds=0),
    )
    np.testing.assert_array_less(
      plain.objective[:, 1:], plain.objective[:, :-1] * (1 + 1e-5)
    )
    np.testing.assert_array_less(
      _fitted().objective[:, :3], plain.objective[:, :3]
    )


def _scipy_objective(model, faces, subject):
  """The minimum over all unknowns at once, started at the truth."""
  identity_dim, expression_dim = model.identity_dim, model.expression_dim
  vertices = np.asarray(model.landmark_vertices)
  mean = np.asarray(model.mean_shape, float)[vertices]
  identity_basis = np.asarray(model.identity_basis, float)[vertices]
  expression_basis = np.asarray(model.expression_basis, float)[vertices]
  root = np.sqrt(faces.visibility[subject])[..., None]

  def residuals(unknown):
    identity = unknown[:identity_dim]
    images = unknown[identity_dim:].reshape(_IMAGES, -1)
    expression, pose = np.split(images, [expression_dim], 1)
    shape = mean + identity_basis @ identity
    shape = shape + np.einsum("lic,nc->nli", expression_basis, expression)
    turn = Rotation.from_rotvec(pose[:, 1:4]).as_matrix()
    turned = np.einsum("nij,nlj->nli", turn, shape)[..., :2]
    seen = np.exp(pose[:, :1, None]) * turned * [1, -1] + pose[:, None, 4:]
    return np.concatenate(
      [
        (root * (seen - faces.landmarks[subject])).ravel(),
        1.5 * identity,
        1.5 * expression.ravel(),
      ]
    )

  camera = jax.tree.map(lambda leaf: leaf[subject], faces.camera)
  pose = np.concatenate(
    [
      np.log(camera.scale)[:, None],
      Rotation.from_matrix(camera.rotation).as_rotvec(),
      camera.translation,
    ],
    1,
  )
  start = np.concatenate([faces.expression[subject], pose], 1)
  start = np.concatenate([faces.identity[subject], start.ravel()])
  return 2 * least_squares(residuals, start).cost


class RecoveryTest(absltest.TestCase):
  def test_known_coefficients_come_back_without_a_prior(self):
    model = _only_landmarks(
      random_morphable_model(identity_dim=60, expression_dim=10)
    )
    faces = known_faces(model, 2, 16, seed=1)
    result = _fit(model, faces.landmarks, faces.visibility, _NO_PRIOR)
    np.testing.assert_allclose(
      result.identity_coefficients, faces.identity, atol=1e-4
    )
    np.testing.assert_allclose(
      result.expression_coefficients, faces.expression, atol=1e-4
    )
    np.testing.assert_allclose(
      result.camera.rotation, faces.camera.rotation, atol=1e-5
    )

  def test_a_face_comes_back_up_to_one_common_scale(self):
    # Larger faces under smaller cameras give the same landmarks, and smooth
    # modes very nearly contain them.
    model = _only_landmarks(
      procedural_face_model(
        num_vertices=1000, identity_dim=60, expression_dim=10
      )
    )
    faces = known_faces(model, 2, 16, seed=1)
    result = _fit(model, faces.landmarks, faces.visibility, _NO_PRIOR)
    self.assertLess(float(result.rmse_px.max()), 2e-3)
    identity = np.repeat(result.identity_coefficients[:, None], 16, 1)
    shape = synthesize_shape(model, identity, result.expression_coefficients)
    found = landmark_points(model, shape)
    scale, rotation, translation = align_similarity(found, faces.points)
    aligned = apply_similarity(found, scale, rotation, translation)
    np.testing.assert_allclose(aligned, faces.points, atol=0.03)
    np.testing.assert_allclose(
      scale, np.repeat(np.mean(scale, 1, keepdims=True), 16, 1), atol=1e-4
    )
    vertices = np.asarray(model.landmark_vertices)
    bases = np.concatenate([model.identity_basis, model.expression_basis], -1)
    modes = bases[vertices].reshape(-1, 70).astype(float)
    mean = np.asarray(model.mean_shape, float)[vertices]
    target = (np.asarray(aligned) - mean).reshape(32, -1)
    found = np.linalg.lstsq(modes, target.T, rcond=None)[0].T
    found = found.reshape(2, 16, -1)
    np.testing.assert_allclose(
      found[..., :60].mean(1), faces.identity, atol=0.1
    )
    np.testing.assert_allclose(found[..., 60:], faces.expression, atol=0.1)

  def test_full_size_meets_landmarks_and_their_depth(self):
    model = procedural_face_model(num_vertices=1000)
    faces = known_faces(model, 2, 16, seed=2)
    options = FitOptions(
      landmark_std_px=0.1, max_iterations=100, tolerance=1e-4
    )
    result = _fit(model, faces.landmarks, faces.visibility, options)
    self.assertLess(float(result.rmse_px.max()), 0.05)
    found = _neutral_landmarks(model, result.identity_coefficients)
    true = _neutral_landmarks(model, faces.identity)
    aligned = apply_similarity(found, *align_similarity(found, true))
    rmse_mm = np.sqrt(np.sum((aligned - true) ** 2, -1).mean(-1))
    unfitted = np.asarray(model.mean_shape)[None, model.landmark_vertices]
    unfitted = np.repeat(unfitted, 2, 0)
    mean = apply_similarity(unfitted, *align_similarity(unfitted, true))
    mean_mm = np.sqrt(np.sum((mean - true) ** 2, -1).mean(-1))
    # 31 directions and more are the prior's to decide.
    np.testing.assert_array_less(rmse_mm, 0.5 * mean_mm)


class InvarianceTest(parameterized.TestCase):
  def test_order_of_images_and_subjects_does_not_matter(self):
    model, faces = _faces()
    images, subjects = [2, 0, 3, 1], [4, 2, 5, 0, 1, 3]
    got = _fit(
      model,
      faces.landmarks[subjects][:, images],
      faces.visibility[subjects][:, images],
      _OPTIONS,
    )
    expected = _fitted()
    np.testing.assert_allclose(
      got.identity_coefficients,
      expected.identity_coefficients[np.array(subjects)],
      atol=1e-4,
    )
    np.testing.assert_allclose(
      got.expression_coefficients,
      expected.expression_coefficients[np.array(subjects)][:, np.array(images)],
      atol=1e-4,
    )

  def test_padding_changes_nothing_and_gets_zeros(self):
    model, faces = _faces()
    landmarks = np.full((8, 6, 68, 2), np.nan, np.float32)
    visibility = np.zeros((8, 6, 68), np.float32)
    landmarks[:_SUBJECTS, 1:5] = faces.landmarks
    visibility[:_SUBJECTS, 1:5] = faces.visibility
    got = _fit(model, landmarks, visibility, _OPTIONS)
    expected = _fitted()
    used = np.s_[:_SUBJECTS, 1:5]
    for name in ("expression_coefficients", "rmse_px"):
      np.testing.assert_allclose(
        getattr(got, name)[used], getattr(expected, name), atol=1e-4
      )
    np.testing.assert_allclose(
      got.identity_coefficients[:_SUBJECTS],
      expected.identity_coefficients,
      atol=1e-4,
    )
    np.testing.assert_array_equal(got.identity_coefficients[6:], 0)
    np.testing.assert_array_equal(got.objective[6:], 0)
    self.assertTrue(np.asarray(got.converged)[6:].all())
    for array in (
      got.expression_coefficients,
      got.rmse_px,
      got.camera.scale,
      got.camera.translation,
    ):
      np.testing.assert_array_equal(array[:, [0, 5]], 0)
      np.testing.assert_array_equal(array[6:], 0)

  def test_landmarks_that_the_model_lacks_count_as_invisible(self):
    model, faces = _faces()
    vertices = np.array(model.landmark_vertices)
    vertices[:17] = -1
    visibility = np.array(faces.visibility)
    visibility[..., :17] = 0
    got = _fit(
      model.replace(landmark_vertices=vertices),
      faces.landmarks,
      faces.visibility,
      _OPTIONS,
    )
    # A copy: JAX may still be reading the array it was given.
    landmarks = np.array(faces.landmarks)
    landmarks[..., :17, :] = np.nan
    expected = _fit(model, landmarks, visibility, _OPTIONS)
    np.testing.assert_allclose(
      got.identity_coefficients, expected.identity_coefficients, atol=1e-2
    )
    np.testing.assert_allclose(
      got.objective[:, -1], expected.objective[:, -1], rtol=1e-3
    )

  def test_pixels_may_be_larger_where_their_noise_is(self):
    model, faces = _faces()
    options = FitOptions(landmark_std_px=15.0, max_iterations=15)
    got = _fit(model, 10 * faces.landmarks, faces.visibility, options)
    np.testing.assert_allclose(
      got.identity_coefficients, _fitted().identity_coefficients, atol=1e-3
    )

  def test_a_wider_expression_prior_is_a_larger_expression_basis(self):
    model, faces = _faces()
    larger = model.replace(expression_basis=2 * model.expression_basis)
    wider = FitOptions(max_iterations=15, expression_std=2.0)
    got = _fit(model, faces.landmarks, faces.visibility, wider)
    same = _fit(larger, faces.landmarks, faces.visibility, _OPTIONS)
    for name in ("identity_coefficients", "objective", "rmse_px", "camera"):
      jax.tree.map(
        np.testing.assert_array_equal, getattr(got, name), getattr(same, name)
      )
    np.testing.assert_array_equal(
      got.expression_coefficients, 2 * same.expression_coefficients
    )

  def test_a_prior_about_a_mean_is_a_model_about_another_mean(self):
    model, faces = _faces()
    means = np.random.default_rng(3).normal(
      size=(_SUBJECTS, model.identity_dim)
    )
    means = means.astype(np.float32)
    got = _fit(
      model,
      faces.landmarks,
      faces.visibility,
      FitOptions(max_iterations=15, identity_std=0.5),
      means,
    )
    for subject in (0, 3):
      moved = model.replace(
        mean_shape=model.mean_shape + model.identity_basis @ means[subject],
        identity_basis=0.5 * model.identity_basis,
      )
      one = slice(subject, subject + 1)
      expected = _fit(
        moved, faces.landmarks[one], faces.visibility[one], _OPTIONS
      )
      np.testing.assert_allclose(
        got.identity_coefficients[one],
        means[one] + 0.5 * expected.identity_coefficients,
        atol=1e-3,
      )
      np.testing.assert_allclose(
        got.camera.translation[one], expected.camera.translation, atol=1e-3
      )
      np.testing.assert_allclose(
        got.objective[one, -1], expected.objective[:, -1], rtol=1e-4
      )

  def test_expressions_about_means_are_a_model_at_another_rest(self):
    model, faces = _faces()
    rng = np.random.default_rng(4)
    size = (_SUBJECTS, _IMAGES, model.expression_dim)
    means = rng.normal(size=size).astype(np.float32)
    options = FitOptions(max_iterations=60, tolerance=0, expression_std=0.5)
    # One image a subject: its mean is the resting face's.
    one = slice(0, 1)
    got = _fit(
      model,
      faces.landmarks[:, one],
      faces.visibility[:, one],
      options,
      beta=means[:, one],
    )
    for subject in (0, 3):
      moved = model.replace(
        mean_shape=model.mean_shape + model.expression_basis @ means[subject, 0]
      )
      rows = slice(subject, subject + 1)
      expected = _fit(
        moved, faces.landmarks[rows, one], faces.visibility[rows, one], options
      )
      np.testing.assert_allclose(
        got.expression_coefficients[rows],
        means[rows, one] + expected.expression_coefficients,
        atol=1e-3,
      )
      np.testing.assert_allclose(
        got.identity_coefficients[rows],
        expected.identity_coefficients,
        atol=1e-3,
      )
      np.testing.assert_allclose(
        got.camera.translation[rows], expected.camera.translation, atol=1e-3
      )
    # Images with means of their own: the objective is what the docstring says.
    result = _fit(model, faces.landmarks, faces.visibility, options, beta=means)
    away = _distance(model, result, faces.landmarks)
    far = np.sum(np.square(away) * faces.visibility[..., None], (1, 2, 3))
    beta = np.sum(np.square(result.expression_coefficients - means), (1, 2))
    alpha = np.sum(np.square(result.identity_coefficients), 1)
    np.testing.assert_allclose(
      result.objective[:, -1], far + 1.5**2 * (alpha + beta / 0.25), rtol=1e-3
    )

  def test_padding_has_no_mean(self):
    model, faces = _faces()
    visibility = np.array(faces.visibility)
    visibility[1] = 0
    visibility[2, 1] = 0
    means = np.ones((_SUBJECTS, model.identity_dim), np.float32)
    beta = np.ones((_SUBJECTS, _IMAGES, model.expression_dim), np.float32)
    got = _fit(model, faces.landmarks, visibility, _OPTIONS, means, beta)
    np.testing.assert_array_equal(got.identity_coefficients[1], 0)
    np.testing.assert_array_equal(got.expression_coefficients[1], 0)
    np.testing.assert_array_equal(got.expression_coefficients[2, 1], 0)
    self.assertTrue(np.all(got.expression_coefficients[2, 0]))


class DegenerateInputTest(absltest.TestCase):
  def test_everything_stays_finite(self):
    model, faces = _faces()
    landmarks = np.array(faces.landmarks)
    visibility = np.array(faces.visibility)
    landmarks[0, 0] = 50 + np.arange(68)[:, None]  # collinear
    landmarks[0, 1] = 3  # identical
    visibility[1] = np.arange(68) < 3  # three points
    visibility[2, 1:] = 0  # one image
    visibility[3] = 0  # none at all
    visibility[4, 0] = np.arange(68) == 7  # one point
    landmarks[5] = 50  # a subject of identical points
    with jax.debug_nans(True):
      result = _fit(model, landmarks, visibility, _OPTIONS)
    for leaf in jax.tree.leaves(result):
      self.assertTrue(np.isfinite(leaf).all())
    objective = np.asarray(result.objective)
    self.assertTrue((np.diff(objective) <= 1e-5 * objective[:, :-1]).all())
    determinant = np.linalg.det(result.camera.rotation)
    np.testing.assert_allclose(
      determinant, np.ones_like(determinant), atol=1e-4
    )


_REAL_SIZE = """
import jax
jax.config.update("jax_platforms", "cpu")
from disentangle3d.fitting.landmark_fitting import fit_landmarks
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import random_morphable_model

model = random_morphable_model(identity_dim=199, expression_dim=29)
faces = known_faces(model, 64, 46, noise_px=1, hidden=0.2)
result = jax.jit(fit_landmarks)(model, faces.landmarks, faces.visibility)
print("iterations", jax.device_get(result.iterations).max())
"""


class RealSizeTest(absltest.TestCase):
  def test_64_subjects_in_46_images_do_not_hang(self):
    done = subprocess.run(
      [sys.executable, "-c", _REAL_SIZE],
      cwd=REPOSITORY,
      timeout=240,
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertIn("iterations", done.stdout, done.stderr)


if __name__ == "__main__":
  absltest.main()
