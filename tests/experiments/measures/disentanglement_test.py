"""Findings on codes that are known to be apart, or not."""

import types

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from disentangle3d.evaluation.disentanglement import swap_partners
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.types import Latents
from experiments.configs import demo, demo_identity_shape
from experiments.measures.disentanglement import code_findings, swap_errors
from experiments.training.phases import phases_of
from tests.fixtures import random_morphable_model

_PEOPLE = 12


def _photos(conditions, yaw_deg=0.0):
  people = np.repeat(np.arange(_PEOPLE), len(conditions))
  return types.SimpleNamespace(
    photos=types.SimpleNamespace(
      person=people.astype(np.int32),
      yaw_rad=np.radians(np.tile(yaw_deg * np.asarray(conditions), _PEOPLE)),
      expression_class=np.tile(conditions, _PEOPLE),
    )
  )


class CodeFindingsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.sets = {
      "outdoor": _photos([0, 0, 0, 0]),
      "yaw": _photos([0, 0, 1, 2, 3], yaw_deg=30),
      "expression": _photos([0, 0, 1, 1, 2, 2]),
    }
    rng = np.random.default_rng(0)
    self.codes = {}
    for name, one in self.sets.items():
      person, kind = one.photos.person, one.photos.expression_class
      noise = 0.01 * rng.normal(size=(len(person), 4)).astype(np.float32)
      self.codes[name] = Latents(
        np.eye(_PEOPLE, dtype=np.float32)[person],
        np.eye(4, dtype=np.float32)[kind] + noise,
      )

  def test_a_code_of_the_person_alone_is_constant_and_tells_all_apart(self):
    found = code_findings("identity", self.codes, self.sets)
    self.assertEqual(found.variance_ratio, np.inf)
    self.assertEqual(found.verification.result.auc.mean, 100)
    np.testing.assert_allclose(found.yaw_drift.distance, 0, atol=1e-6)
    self.assertEqual(found.yaw_drift.bins.tolist(), [0, 1, 2, 3])
    self.assertAlmostEqual(found.yaw_drift.strangers, 1)
    self.assertLess(found.expression.accuracy, 50)

  def test_a_code_of_the_expression_alone_tells_nobody_apart(self):
    found = code_findings("residual", self.codes, self.sets)
    self.assertLess(found.variance_ratio, 0.2)
    self.assertBetween(found.verification.result.auc.mean, 35, 65)
    self.assertEqual(found.expression.accuracy, 100)
    self.assertLess(found.expression_drift.distance[0], 0.01)
    self.assertGreater(found.expression_drift.distance[1:].min(), 0.9)


class SwapTest(absltest.TestCase):
  """Residuals leave the landmarks in place, so nothing is to be aligned."""

  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(5)
    model = random_morphable_model(num_vertices=200)
    self.marks = model.landmark_vertices
    self.people = np.repeat(np.arange(4), 3).astype(np.int32)
    # All within 95 mm of the nose tip.
    mean = 0.4 * model.mean_shape
    identity = rng.normal(0, 2, (4, 200, 3))[self.people]
    self.residual = rng.normal(0, 1, (12, 200, 3))
    self.residual[:, self.marks] = 0
    self.truth = (
      (mean + identity + self.residual).astype(np.float32),
      (mean + identity).astype(np.float32),
    )

  def test_components_that_are_apart_swap_without_loss(self):
    swapped, own = swap_errors(self.truth, self.truth, self.people, self.marks)
    self.assertLess(max(swapped.mean, own.mean), 1e-4)

  def test_a_residual_in_the_identity_shape_comes_along(self):
    """Photo i with the residual of p: share x (r_i - r_p) too much."""
    share = 0.3
    leaky = (
      self.truth[0],
      (self.truth[1] + share * self.residual).astype(np.float32),
    )
    swapped, own = swap_errors(leaky, self.truth, self.people, self.marks)
    partners = swap_partners(self.people)
    excess = share * (self.residual - self.residual[partners])
    expected = np.sqrt(np.mean(np.sum(excess**2, -1), -1)).mean()
    self.assertAlmostEqual(swapped.mean, expected, delta=1e-4)
    self.assertGreater(expected, 0.5)
    self.assertLess(own.mean, 1e-4)

  def test_an_identity_that_is_all_in_the_residual_comes_from_the_partner(self):
    """Nothing in the identity shape: the swap shows the partner's face."""
    flat = np.broadcast_to(self.truth[1].mean(0), self.truth[1].shape)
    swapped, own = swap_errors(
      (self.truth[0], flat), self.truth, self.people, self.marks
    )
    partners = swap_partners(self.people)
    error = shape_error(
      jnp.asarray(self.truth[0][partners]),
      jnp.asarray(self.truth[1] + self.residual[partners].astype("f")),
      landmark_vertices=jnp.asarray(self.marks),
    )
    self.assertAlmostEqual(
      swapped.mean, float(error.rmse_mm.mean()), delta=1e-4
    )
    self.assertGreater(swapped.mean, 1)
    self.assertLess(own.mean, 1e-4)


class IdentityShapeConfigTest(absltest.TestCase):
  def test_it_is_the_papers_third_phase_and_one_more_term(self):
    plain = phases_of(demo.paper_losses())[2:]
    tied = phases_of(demo_identity_shape.get_config())
    for a, b in zip(plain, tied, strict=True):
      self.assertEqual(dict(b.weights), {**a.weights, "identity_shape": 1.0})
      self.assertEqual((a.steps, a.seed), (b.steps, b.seed))


if __name__ == "__main__":
  absltest.main()
