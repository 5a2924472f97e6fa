"""The page of photographs, of people who are made up."""

from unittest import mock

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import landmark_points
from disentangle3d.geometry import Camera, project
from disentangle3d.types import Latents
from experiments.measures import verification
from experiments.pages import photo_report
from tests.fixtures import random_morphable_model

_PEOPLE, _EACH = 8, 4


def _photographs(model):
  count = _PEOPLE * _EACH
  rng = np.random.default_rng(0)
  camera = Camera(
    scale=jnp.full(count, 0.5, jnp.float32),
    rotation=jnp.tile(jnp.eye(3, dtype=jnp.float32), (count, 1, 1)),
    translation=jnp.full((count, 2), 48.0, jnp.float32),
  )
  mean = np.asarray(model.mean_shape)
  fits = mean + rng.normal(size=(count, *mean.shape)).astype(np.float32)
  points = landmark_points(model, jnp.asarray(fits))
  return photo_report.Photographs(
    images=rng.integers(0, 256, (count, 112, 96, 3), np.uint8),
    people=np.repeat(np.arange(_PEOPLE), _EACH).astype(np.int32),
    image_ids=[f"person/{number}" for number in range(count)],
    landmarks=np.array(project(camera, points)),
    visibility=np.ones((count, 68), np.float32),
    camera=jax.tree.map(np.asarray, camera),
    identity_coefficients=np.zeros((count, 3), np.float32),
    fits=fits,
  )


class PhotoReportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.model = random_morphable_model()
    self.photos = _photographs(self.model)

  def test_landmarks_that_are_met_have_no_error_and_others_their_distance(self):
    found = photo_report._fit_rmse_px(self.photos, self.model)
    np.testing.assert_allclose(found, 0, atol=1e-4)
    self.photos.landmarks[3] += np.float32([3, 4])
    found = photo_report._fit_rmse_px(self.photos, self.model)
    np.testing.assert_allclose(found[3], 5, rtol=1e-4)
    np.testing.assert_allclose(np.delete(found, 3), 0, atol=1e-4)

  def test_people_are_verified_as_any_other_set(self):
    codes = np.eye(_PEOPLE, dtype=np.float32)[self.photos.people]
    with (
      mock.patch.object(photo_report, "_overlays", return_value=[]),
      mock.patch.object(photo_report, "_faces", return_value=[]),
      mock.patch.object(
        verification, "encode_crops", return_value=Latents(codes, codes)
      ),
    ):
      page = photo_report.build_page(
        self.photos, self.model, dict.fromkeys(("before", "after")), {}
      )
    for text in (
      "Verification: people never trained on</h2>",
      "identity code, before</td><td>100.00 ± 0.00",
      "raw pixels",
      '>after</td><td class="text">before</td><td>0.00 [0.00, 0.00]',
      "landmark fit</td><td>–",
    ):
      self.assertIn(text, page)


if __name__ == "__main__":
  absltest.main()
