from absl.testing import absltest
import numpy as np

from data_prep.batched_fitting import (
  fit_subjects,
  image_batches,
  landmarks_only,
)
from disentangle3d.fitting.landmark_fitting import FitOptions
from experiments.known_faces import known_faces
from tests.fixtures import random_morphable_model

_OPTIONS = FitOptions(max_iterations=5)


class ImageBatchesTest(absltest.TestCase):
  def test_every_image_is_in_one_batch_with_its_subject(self):
    rng = np.random.default_rng(0)
    names = np.array([f"p{n}" for n in rng.integers(0, 40, 500)])
    shapes = set()
    seen = []
    rows_of = {}
    for places in image_batches(names, batch_subjects=7):
      self.assertLessEqual(places.shape[0], 7)
      self.assertEqual(places.shape[1] & (places.shape[1] - 1), 0)
      shapes.add(places.shape)
      for row in places:
        used = row[row >= 0]
        seen += used.tolist()
        for name in np.unique(names[used]):
          rows_of[name] = rows_of.get(name, 0) + 1
    self.assertCountEqual(seen, range(500))
    self.assertEqual(set(rows_of.values()), {1})
    # One program a number of images.
    self.assertLen(shapes, len({width for _, width in shapes}))

  def test_few_subjects_are_not_padded_to_a_whole_batch(self):
    (places,) = image_batches(np.zeros(10, int), batch_subjects=64)
    self.assertEqual(places.shape, (1, 16))


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
      batch_subjects=1,
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
    with self.assertRaisesRegex(ValueError, "batch_subjects: expected 1"):
      fit_subjects(
        model,
        landmarks,
        visibility,
        np.zeros(2),
        options=_OPTIONS,
        batch_subjects=0,
      )

  def test_missing_landmarks_stay_missing_in_the_small_model(self):
    model = random_morphable_model()
    vertices = np.array(model.landmark_vertices)
    vertices[3] = -1
    small = landmarks_only(model.replace(landmark_vertices=vertices))
    self.assertEqual(small.landmark_vertices[3], -1)
    self.assertEqual(small.landmark_vertices[4], 4)
    np.testing.assert_array_equal(
      small.identity_basis[4], model.identity_basis[vertices[4]]
    )


if __name__ == "__main__":
  absltest.main()
