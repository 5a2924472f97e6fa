from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

import disentangle3d as d3d
from disentangle3d.geometry import rotation_from_euler
from disentangle3d.training.export import Network
from experiments.measures.landmarks import FIT, MarkedPhotos, landmark_distances
from experiments.pages.network_card import Measure, card_table
from experiments.sets.heldout import MEAN_SHAPE
from tests.fixtures import random_morphable_model


class LandmarkDistancesTest(absltest.TestCase):
  def test_against_truth_and_by_hand(self):
    model = random_morphable_model()
    rng = np.random.default_rng(0)
    identity = rng.normal(size=(3, 12)).astype(np.float32)
    expression = rng.normal(size=(3, 5)).astype(np.float32)
    shapes = d3d.synthesize_shape(model, identity, expression)
    camera = d3d.Camera(
      scale=jnp.full((3,), 0.5),
      rotation=rotation_from_euler(*jnp.asarray(rng.normal(0, 0.2, (3, 3)))),
      translation=jnp.full((3, 2), 50.0),
    )
    marks = d3d.project(camera, shapes[:, model.landmark_vertices])
    visibility = np.ones((3, 68), np.float32)
    visibility[0, :20] = 0
    photos = MarkedPhotos(
      images=rng.integers(0, 256, (3, 112, 96, 3), np.uint8),
      landmarks=np.where(visibility[..., None] > 0, np.asarray(marks), 1e4),
      visibility=visibility,
      fits=(identity, expression),
      model=model,
      people=np.arange(3),
    )
    face = d3d.FaceModel(
      "tiny", identity_dim=12, residual_dim=5, num_vertices=120
    )
    network = Network(
      model=face,
      params=d3d.init_params(jax.random.key(0), face, model),
      triangles=model.triangles,
      landmark_vertices=model.landmark_vertices,
    )
    found = landmark_distances(photos, {"network": network})
    np.testing.assert_allclose(found[FIT], 0, atol=0.05)
    self.assertGreater(found[MEAN_SHAPE].min(), 0.5)
    # Decoders that start near nothing give about the mean shape.
    np.testing.assert_allclose(found["network"], found[MEAN_SHAPE], rtol=0.2)
    self.assertTrue((found["network"] != found[MEAN_SHAPE]).any())


class CardTest(absltest.TestCase):
  def test_what_is_held(self):
    for value, bound, at_least, held in (
      (83.0, 82.0, True, "yes"),
      (81.0, 82.0, True, "no"),
      (1.5, 1.6, False, "yes"),
      (1.7, 1.6, False, "no"),
      (None, 82.0, True, "-"),
    ):
      one = Measure("a", value, bound, at_least)
      self.assertEqual(one.held, held)

  def test_what_nobody_measured_is_a_dash(self):
    lines = card_table([Measure("AUC", None, 82.0, True)]).splitlines()
    self.assertEqual(lines[-1], "| AUC | - | at least 82.00 | - | - |")

  def test_a_value_has_its_spread_behind_it(self):
    one = Measure("AUC", 92.56, 82.0, True, spread="± 1.20")
    self.assertEqual(
      card_table([one]).splitlines()[-1],
      "| AUC | 92.56 ± 1.20 | at least 82.00 | yes | - |",
    )


if __name__ == "__main__":
  absltest.main()
