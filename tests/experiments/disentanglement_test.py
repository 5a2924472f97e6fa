"""Findings on codes that are known to be apart, or not."""

import types

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.types import Latents
from experiments.configs import demo, demo_identity_shape
from experiments.disentanglement_results import code_findings, shapes_of
from experiments.phase_configs import phases_of
from experiments.shape_scores import Method

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


class ShapesTest(absltest.TestCase):
  def test_batches_of_one_size_give_every_row_once(self):
    stored = jnp.arange(30 * 6.0).reshape(30, 2, 3)
    method = Method(
      jax.jit(lambda data, rows: (data[rows], -data[rows])), stored
    )
    rows = np.arange(3, 27, 2).astype(np.int32)
    shape, identity_shape = shapes_of(method, rows)
    np.testing.assert_array_equal(shape, stored[rows])
    np.testing.assert_array_equal(identity_shape, -stored[rows])


class IdentityShapeConfigTest(absltest.TestCase):
  def test_it_is_the_demos_third_phase_and_one_more_term(self):
    plain = phases_of(demo.get_config())[2:]
    tied = phases_of(demo_identity_shape.get_config())
    for a, b in zip(plain, tied, strict=True):
      self.assertEqual(dict(b.weights), {**a.weights, "identity_shape": 1.0})
      self.assertEqual((a.steps, a.seed), (b.steps, b.seed))


if __name__ == "__main__":
  absltest.main()
