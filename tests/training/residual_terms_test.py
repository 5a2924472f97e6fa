"""What the residual code tells about people: closed forms, and the step."""

import dataclasses

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.phase_losses import LOSSES
from disentangle3d.training.placement import AXIS
from disentangle3d.training.residual_terms import (
  likeness_of_people,
  squared_correlation,
)
from experiments.configs import photographs
from experiments.training.phases import phases_of
from tests.training.cases import forward_of


class StatisticsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.rng = np.random.default_rng(0)

  def _normal(self, *shape):
    return self.rng.normal(size=shape).astype(np.float32)

  def test_correlation_is_numpys_whatever_the_scale(self):
    residual, identity = self._normal(20, 3), self._normal(20, 4)
    residual[:, 0] += identity[:, 1]
    every = np.corrcoef(residual.T, identity.T)[:3, 3:]
    for scale in (1.0, 1e-2):
      got = squared_correlation(scale * residual + 0.3, 5 * identity - 1)
      np.testing.assert_allclose(got, np.sum(every**2) / 3, rtol=1e-4)

  def test_likeness_is_fishers_intraclass_correlation(self):
    # The closed form for people of two photos each.
    pairs = self._normal(30, 2, 1) + 0.7 * self._normal(30, 1, 1)
    offset = pairs - pairs.mean()
    wanted = np.mean(offset[:, 0] * offset[:, 1]) / np.mean(offset**2)
    order = self.rng.permutation(60)
    people = np.repeat(np.arange(30), 2)[order]
    got = likeness_of_people(pairs.reshape(60, 1)[order], people)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)

  def test_who_is_all_or_nothing_of_a_code(self):
    people = np.repeat(np.arange(8), 50)
    every = self._normal(8, 4)[people]
    np.testing.assert_allclose(likeness_of_people(every, people), 1, rtol=1e-5)
    noise = self._normal(400, 4)
    # A mean of 4 entries' 19,600 products of independent draws.
    self.assertLess(abs(likeness_of_people(noise, people)), 0.02)
    self.assertEqual(likeness_of_people(noise, np.arange(400)), 0.0)
    np.testing.assert_allclose(
      squared_correlation(noise, self._normal(400, 10)), 10 / 399, rtol=0.4
    )

  def test_only_the_residual_code_gives_way(self):
    def both(residual, identity):
      return squared_correlation(residual, identity)

    residual, identity = self._normal(12, 3), self._normal(12, 5)
    pulls = jax.grad(both, (0, 1))(residual, identity)
    self.assertTrue(np.any(pulls[0]))
    self.assertFalse(np.any(pulls[1]))
    # Along its own scale nothing is gained.
    self.assertAlmostEqual(float(np.sum(pulls[0] * residual)), 0, places=5)

  def test_a_code_that_is_constant_gives_numbers(self):
    people = np.arange(6) // 2
    for term in (
      lambda code: likeness_of_people(code, people),
      lambda code: squared_correlation(code, self._normal(6, 4)),
    ):
      value, slope = jax.value_and_grad(term)(jnp.full((6, 2), 0.3))
      self.assertEqual(value, 0.0)
      self.assertTrue(np.all(np.isfinite(slope)))

  def test_shapes_are_checked(self):
    code = self._normal(4, 2)
    with self.assertRaisesRegex(ValueError, "identity: .*4"):
      squared_correlation(code, self._normal(5, 2))
    with self.assertRaisesRegex(TypeError, "labels: .*integer"):
      likeness_of_people(code, self._normal(4))


class TermsTest(absltest.TestCase):
  """Through `LOSSES`: of a head of two layers on given features."""

  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.features = rng.normal(size=(8, 256)).astype(np.float32)
    self.labels = np.array([0, 1, 0, 2, 1, 1, 2, 0], np.int32)
    self.layers = {
      f"{name}_fc": {
        "kernel": 0.05 * rng.normal(size=(256, size)).astype(np.float32),
        "bias": np.zeros(size, np.float32),
      }
      for name, size in (("identity", 12), ("residual", 5))
    }

  def _mean(self, name, num_devices):
    """The step's value and gradient: means over examples and devices."""

    def of_device(layers, features, labels):
      batch = TrainBatch(
        position=jnp.arange(len(labels)), feature=features, label=labels
      )

      def loss(layers):
        return jnp.mean(LOSSES[name](forward_of({"encoder": layers}, batch)))

      return jax.lax.pmean(jax.value_and_grad(loss)(layers), AXIS)

    mapped = jax.vmap(of_device, (None, 0, 0), axis_name=AXIS)
    value, slope = jax.jit(mapped)(
      self.layers,
      self.features.reshape(num_devices, -1, 256),
      self.labels.reshape(num_devices, -1),
    )
    return value[0], jax.tree.map(lambda leaf: leaf[0], slope)

  def test_devices_share_one_statistic_and_its_true_gradient(self):
    codes = {
      name: np.tanh(self.features @ self.layers[f"{name}_fc"]["kernel"])
      for name in ("identity", "residual")
    }
    for name, wanted in (
      ("residual_correlation", squared_correlation(**codes)),
      ("residual_likeness", likeness_of_people(codes["residual"], self.labels)),
    ):
      one, four = self._mean(name, 1), self._mean(name, 4)
      np.testing.assert_allclose(one[0], wanted, rtol=1e-4)
      for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
      self.assertTrue(np.any(one[1]["residual_fc"]["kernel"]))
      self.assertFalse(np.any(one[1]["identity_fc"]["kernel"]))

  def test_a_weight_in_the_config_chooses_them(self):
    config = photographs.get_config()
    config.phases.latents.weights.residual_likeness = 2.0
    config.phases.joint_recognition.weights.residual_correlation = 0.5
    first, decoders, joint, last = phases_of(config)
    self.assertEqual(first.weights, {"latent": 1.0, "residual_likeness": 2.0})
    self.assertEqual(joint.weights["residual_correlation"], 0.5)
    both = {"reconstruction", "identification"}
    shapes = {"identity_shape", "residual_shape"}
    terms = {"residual_correlation", "residual_likeness"}
    self.assertEqual(set(last.weights), both | shapes | terms)
    with self.assertRaisesRegex(ValueError, "no images for residual_likeness"):
      dataclasses.replace(decoders, weights={"residual_likeness": 1.0})


if __name__ == "__main__":
  absltest.main()
