import importlib.util
import unittest

from absl.testing import absltest
import jax
import numpy as np

from data_prep.fitting.eos_fitter import EosFitter
from disentangle3d.geometry import project
from disentangle3d.types import UserError
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import random_morphable_model


class EosFitterTest(absltest.TestCase):
  @unittest.skipUnless(
    importlib.util.find_spec("eos"), "wants the extra benchmark"
  )
  def test_it_sees_every_landmark_on_its_own_vertex(self):
    model = random_morphable_model(identity_dim=6, expression_dim=3)
    faces = known_faces(model, 3, 2, noise_px=1.0, hidden=0.2)
    eos = EosFitter(model)
    mean = np.asarray(model.mean_shape)[model.landmark_vertices]
    for subject in range(3):
      camera = jax.tree.map(lambda leaf, s=subject: leaf[s, 0], faces.camera)
      codes = eos.fit(
        np.asarray(project(camera, mean)), faces.visibility[subject, 0]
      )
      for code in codes:
        np.testing.assert_allclose(code, 0, atol=1e-4)

  @unittest.skipUnless(
    importlib.util.find_spec("eos"), "wants the extra benchmark"
  )
  def test_a_landmark_that_the_model_has_not_is_left_out(self):
    whole = random_morphable_model(identity_dim=6, expression_dim=3)
    lacking = whole.replace(
      landmark_vertices=np.where(np.arange(68) < 9, -1, whole.landmark_vertices)
    )
    faces = known_faces(whole, 1, 1, noise_px=1.0, hidden=0.0)
    seen = (np.arange(68) >= 9).astype(np.float32)
    for one, other in zip(
      EosFitter(whole).fit(faces.landmarks[0, 0], seen),
      EosFitter(lacking).fit(faces.landmarks[0, 0], np.ones(68, np.float32)),
      strict=True,
    ):
      np.testing.assert_allclose(one, other, atol=1e-4)
      self.assertGreater(np.abs(one).max(), 0.01)

  @unittest.skipIf(importlib.util.find_spec("eos"), "eos-py is installed")
  def test_without_the_package_it_says_what_to_install(self):
    with self.assertRaisesRegex(UserError, r"disentangle3d\[benchmark\]"):
      EosFitter(random_morphable_model())


if __name__ == "__main__":
  absltest.main()
