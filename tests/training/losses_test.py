"""Each loss against NumPy written out, and against finite differences."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.training import losses
from disentangle3d.types import Latents


def numbers(*shape, seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  return (scale * rng.normal(size=shape)).astype(np.float32)


def directional(function, point, direction, epsilon=1e-2):
  """Central difference; in float32, so steps are large and losses smooth."""
  ahead = jax.tree.map(lambda p, d: p + epsilon * d, point, direction)
  behind = jax.tree.map(lambda p, d: p - epsilon * d, point, direction)
  return (function(ahead) - function(behind)) / (2 * epsilon)


class LatentTest(absltest.TestCase):
  def test_targets_are_thirds_clipped_to_one(self):
    alpha = np.array([[0.0, 1.5, -3.0, 4.0, -9.0]], np.float32)
    beta = np.array([[3.3, -0.3]], np.float32)
    targets = losses.latent_targets(alpha, beta)
    np.testing.assert_allclose(targets.identity, [[0, 0.5, -1, 1, -1]])
    np.testing.assert_allclose(targets.residual, [[1, -0.1]], rtol=1e-6)

  def test_loss_sums_over_all_latents(self):
    latents = Latents(identity=numbers(3, 4), residual=numbers(3, 2, seed=1))
    targets = Latents(
      identity=numbers(3, 4, seed=2), residual=numbers(3, 2, seed=3)
    )
    expected = np.zeros(3)
    for b in range(3):
      for i in range(4):
        difference = latents.identity[b, i] - targets.identity[b, i]
        expected[b] += difference**2
      for e in range(2):
        difference = latents.residual[b, e] - targets.residual[b, e]
        expected[b] += difference**2
    got = losses.latent_loss(latents, targets)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(losses.latent_loss(latents, latents), 0)

  def test_gradient(self):
    latents = Latents(identity=numbers(3, 4), residual=numbers(3, 2, seed=1))
    zero = jax.tree.map(jnp.zeros_like, latents)

    def total(latents):
      return jnp.sum(losses.latent_loss(latents, zero))

    gradient = jax.grad(total)(latents)
    np.testing.assert_allclose(gradient.identity, 2 * latents.identity)
    np.testing.assert_allclose(gradient.residual, 2 * latents.residual)


class ShapeTest(absltest.TestCase):
  def test_mean_over_vertices_of_summed_squares(self):
    shape, target = numbers(2, 7, 3, scale=5), numbers(2, 7, 3, seed=1)
    expected = [
      np.mean([np.sum((shape[b, v] - target[b, v]) ** 2) for v in range(7)])
      for b in range(2)
    ]
    got = losses.shape_loss(shape, target)
    np.testing.assert_allclose(got, expected, rtol=1e-5)

  def test_everything_off_by_3_4_12_mm_costs_169(self):
    target = numbers(1, 50, 3)
    shape = target + np.array([3, 4, 12], np.float32).reshape(1, 1, 3)
    np.testing.assert_allclose(
      losses.shape_loss(shape, target), [169.0], rtol=1e-5
    )

  def test_gradient(self):
    target = numbers(2, 7, 3, seed=1)
    shape, direction = numbers(2, 7, 3), numbers(2, 7, 3, seed=2)

    def total(shape):
      return jnp.sum(losses.shape_loss(shape, target))

    gradient = jax.grad(total)(shape)
    np.testing.assert_allclose(
      np.sum(gradient * direction),
      directional(total, shape, direction),
      rtol=1e-3,
    )


class IdentificationTest(absltest.TestCase):
  def test_against_numpy(self):
    logits = numbers(5, 9, scale=4)
    labels = np.array([0, 8, 3, 3, 1], np.int32)
    share = np.exp(logits.astype(np.float64))
    share /= share.sum(1, keepdims=True)
    expected = -np.log(share[np.arange(5), labels])
    got = losses.identification_loss(logits, labels)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

  def test_equal_logits_cost_the_logarithm_of_the_classes(self):
    logits = np.full((2, 10_575), 3.0, np.float32)
    got = losses.identification_loss(logits, np.array([0, 10_574]))
    np.testing.assert_allclose(got, np.log(10_575), rtol=1e-5)  # 9.27

  def test_huge_logits_stay_finite(self):
    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    with jax.debug_nans(True):
      got = losses.identification_loss(logits, np.array([1]))
      gradient = jax.grad(
        lambda x: jnp.sum(losses.identification_loss(x, jnp.array([1])))
      )(logits)
    np.testing.assert_allclose(got, [2e4])
    np.testing.assert_allclose(gradient, [[1, -1, 0]])

  def test_padded_classes_count_for_nothing(self):
    logits = numbers(3, 5)
    padded = np.concatenate([logits, np.full((3, 2), -np.inf)], 1)
    labels = np.array([0, 2, 4])
    np.testing.assert_allclose(
      losses.identification_loss(padded.astype(np.float32), labels),
      losses.identification_loss(logits, labels),
      rtol=1e-6,
    )

  def test_gradient(self):
    logits, direction = numbers(4, 6), numbers(4, 6, seed=1)
    labels = np.array([0, 5, 2, 2])

    def total(logits):
      return jnp.sum(losses.identification_loss(logits, labels))

    gradient = jax.grad(total)(logits)
    np.testing.assert_allclose(
      np.sum(gradient * direction),
      directional(total, logits, direction),
      rtol=2e-3,
    )
    np.testing.assert_allclose(np.sum(gradient, 1), 0, atol=1e-6)


class SaturationTest(absltest.TestCase):
  def test_share_by_hand(self):
    codes = np.array([[0.995, -1.0, 0.98, 0.0], [0.0] * 4], np.float32)
    np.testing.assert_allclose(losses.saturated_share(codes), [0.5, 0.0])


class RefusalTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (
      "latents",
      lambda: losses.latent_loss(
        Latents(identity=numbers(3, 4), residual=numbers(3, 2)),
        Latents(identity=numbers(3, 4), residual=numbers(3, 3)),
      ),
      r"targets\.residual: expected shape \[3, 2\], got \[3, 3\]",
    ),
    (
      "coefficients",
      lambda: losses.latent_targets(numbers(3, 4), numbers(2, 4)),
      "expression_coefficients: expected batch",
    ),
    (
      "shape",
      lambda: losses.shape_loss(numbers(2, 7, 2), numbers(2, 7, 2)),
      "shape: expected shape",
    ),
    (
      "target",
      lambda: losses.shape_loss(numbers(2, 7, 3), numbers(1, 7, 3)),
      r"target: expected shape \[2, 7, 3\], got \[1, 7, 3\]",
    ),
    (
      "labels",
      lambda: losses.identification_loss(
        numbers(4, 6), np.zeros((4, 1), np.int32)
      ),
      r"labels: expected shape \[4\].* got \[4, 1\]",
    ),
  )
  def test_shapes_that_disagree(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  def test_labels_that_are_not_integers(self):
    with self.assertRaisesRegex(TypeError, "labels: .*integer"):
      losses.identification_loss(numbers(4, 6), numbers(4))

  def test_codes_that_are_not_floating(self):
    with self.assertRaisesRegex(TypeError, "codes: .*floating"):
      losses.saturated_share(np.zeros((2, 3), np.int32))


if __name__ == "__main__":
  absltest.main()
