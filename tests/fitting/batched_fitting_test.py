from unittest import mock

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.fitting.batched_fitting import (
  _fit_batch,
  device_plan,
  fit_model,
  fit_subjects,
)
from disentangle3d.fitting.batches import BatchShape
from disentangle3d.fitting.contour import jaw_contour
from disentangle3d.fitting.landmark_fitting import FitOptions
from experiments.benchmarks.known_faces import known_faces
from experiments.study.people import training_people
from tests.fixtures import random_morphable_model

_OPTIONS = FitOptions(max_iterations=5)


class FitSubjectsTest(absltest.TestCase):
  def test_every_image_gets_its_own_fit(self):
    # Without noise and prior each fit is known: the truth.
    model = random_morphable_model()
    faces = known_faces(model, 2, 4)
    # Subject 0 in 4 images, 1 in 3; shuffled; one subject a batch.
    chosen = [(0, 0), (1, 2), (0, 3), (1, 0), (0, 1), (1, 1), (0, 2)]
    subject, image = np.array(chosen).T
    done = []
    fits = fit_subjects(
      model,
      faces.landmarks[subject, image],
      faces.visibility[subject, image],
      np.array(["b", "a"])[subject],
      options=FitOptions(landmark_std_px=0, tolerance=1e-6, max_iterations=50),
      shapes=[BatchShape(4, 1)],
      progress=done.append,
    )
    self.assertEqual(sum(done), 7)
    for got, expected in (
      (fits.identity_coefficients, faces.identity[subject]),
      (fits.expression_coefficients, faces.expression[subject, image]),
      (fits.rmse_px, np.zeros(7)),
      (fits.camera.scale, faces.camera.scale[subject, image]),
      (fits.camera.rotation, faces.camera.rotation[subject, image]),
      (fits.camera.translation, faces.camera.translation[subject, image]),
    ):
      np.testing.assert_allclose(got, expected, atol=2e-3)

  def test_bad_arguments_are_named(self):
    landmarks = np.zeros((2, 68, 2), np.float32)
    visibility = np.ones((2, 68), np.float32)
    model = random_morphable_model()
    with self.assertRaisesRegex(ValueError, r"subjects: expected shape \[2\]"):
      fit_subjects(model, landmarks, visibility, np.zeros(3), options=_OPTIONS)
    with self.assertRaisesRegex(ValueError, "shapes: expected one for a"):
      fit_subjects(
        model,
        landmarks,
        visibility,
        np.zeros(2),
        options=_OPTIONS,
        shapes=[BatchShape(1, 8)],
      )
    with self.assertRaisesRegex(ValueError, "visible_contour: expected a Fit"):
      fit_subjects(
        model,
        landmarks,
        visibility,
        np.zeros(2),
        options=_OPTIONS,
        visible_contour=np.ones(2, bool),
      )

  def test_subjects_of_any_size_take_few_programs(self):
    model = random_morphable_model()
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.integers(1, 40, 30), [150]])
    subjects = np.repeat(np.arange(len(sizes)), sizes)
    faces = known_faces(model, 1, len(subjects), noise_px=1)
    before = _fit_batch._cache_size()
    fit_subjects(
      model,
      faces.landmarks[0],
      faces.visibility[0],
      subjects,
      options=FitOptions(max_iterations=2, extrapolated_rounds=0),
    )
    self.assertLessEqual(_fit_batch._cache_size() - before, 2)

  def test_where_compiling_is_dear_all_subjects_share_one_program(self):
    sizes = training_people(634, 29_331, seed=0).counts
    self.assertGreater(len(device_plan(sizes)), 1)
    with mock.patch("jax.default_backend", return_value="gpu"):
      (shape,) = device_plan(sizes)
    self.assertEqual(shape.images, sizes.max())
    self.assertLessEqual(shape.images * shape.subjects, 65_536)
    # At the paper's own size padding is dearer than another program.
    with mock.patch("jax.default_backend", return_value="gpu"):
      shapes = device_plan(training_people(10_575, 488_848, seed=0).counts)
    self.assertBetween(len(shapes), 2, 3)

  def test_a_rejected_image_does_not_spoil_its_subject(self):
    model = random_morphable_model()
    faces = known_faces(model, 3, 4, noise_px=0.3)
    landmarks = np.array(faces.landmarks)
    landmarks[0, 1] = np.random.default_rng(0).uniform(0, 96, (68, 2))
    landmarks[1, 2, :, 0] = 96 - landmarks[1, 2, :, 0]
    landmarks[2] = landmarks[0, 1]
    subjects = np.repeat(np.arange(3), 4)
    fits = fit_subjects(
      model,
      landmarks.reshape(12, 68, 2),
      faces.visibility.reshape(12, 68),
      subjects,
      options=_OPTIONS,
      max_relative_error=0.08,
    )
    expected = np.zeros(12, bool)
    expected[[1, 6, 8, 9, 10, 11]] = True
    np.testing.assert_array_equal(fits.rejected, expected)
    self.assertGreater(fits.relative_error[1], 0.08)
    visibility = np.where(
      expected[:, None], 0, faces.visibility.reshape(-1, 68)
    )
    without = fit_subjects(
      model,
      landmarks.reshape(12, 68, 2),
      visibility,
      subjects,
      options=_OPTIONS,
    )
    np.testing.assert_array_equal(
      fits.identity_coefficients[:8], without.identity_coefficients[:8]
    )
    for leaf in jax.tree.leaves(fits.camera):
      self.assertTrue(np.isfinite(leaf).all())

  def test_missing_landmarks_stay_missing_in_the_small_model(self):
    model = random_morphable_model()
    vertices = np.array(model.landmark_vertices)
    vertices[3] = -1
    model = model.replace(landmark_vertices=vertices)
    small = fit_model(model, moving_contour=False).model
    self.assertEqual(small.landmark_vertices[3], -1)
    self.assertEqual(small.landmark_vertices[4], 4)
    np.testing.assert_array_equal(
      small.identity_basis[4], model.identity_basis[vertices[4]]
    )

  def test_the_small_model_carries_the_contour(self):
    model = procedural_face_model(
      num_vertices=1000, identity_dim=6, expression_dim=3
    )
    small = fit_model(model, moving_contour=True)
    np.testing.assert_array_equal(
      small.model.mean_shape[small.contour],
      model.mean_shape[jaw_contour(model)],
    )


if __name__ == "__main__":
  absltest.main()
