"""How a synthetic world's labels are fitted."""

import dataclasses

from absl.testing import absltest
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet, fit_labels, world_of
from disentangle3d.fitting.batched_fitting import fit_model, fit_subjects
from disentangle3d.fitting.options import FitOptions
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import random_calibration, random_morphable_model


class FitLabelsTest(absltest.TestCase):
  def test_they_know_the_noise_that_landmarks_were_drawn_with(self):
    model = random_morphable_model()
    calibration = random_calibration(model)
    covariance = np.array(calibration.covariance_mm2)
    covariance[:, ::2] *= 25
    model = model.replace(
      landmark_calibration=calibration.replace(covariance_mm2=covariance)
    )
    faces = known_faces(model, 4, 3, noise_px=2.0)
    given = (
      fit_model(model, moving_contour=False),
      faces.landmarks.reshape(-1, 68, 2),
      faces.visibility.reshape(-1, 68),
      np.repeat(np.arange(4), 3),
    )
    labels = fit_labels(*given)
    for noise, alike in (("calibrated", True), ("isotropic", False)):
      fits = fit_subjects(
        *given,
        options=FitOptions(noise=noise),
        visible_contour=np.zeros(12, bool),
      )
      self.assertEqual(
        np.array_equal(
          labels.identity_coefficients, fits.identity_coefficients
        ),
        alike,
      )


class WorldTest(absltest.TestCase):
  def test_it_is_turned_as_the_settings_say(self):
    settings = SyntheticSet(
      num_vertices=2_000, identity_modes=8, yaw_distribution="uniform"
    )
    world, _ = world_of(settings)
    self.assertEqual(world.yaw_distribution, "uniform")
    settings = dataclasses.replace(settings, yaw_distribution="sideways")
    with self.assertRaisesRegex(ValueError, "yaw_distribution: expected one"):
      world_of(settings)


if __name__ == "__main__":
  absltest.main()
