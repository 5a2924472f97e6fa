"""PReLU and its gradient against NumPy in float64."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.network.prelu import plain_prelu, prelu


def _pulled(x, slope, pull):
  made, back = jax.vjp(prelu, x, slope)
  return made, *back(pull)


class PReLUTest(parameterized.TestCase):
  # Pixels that four, two and one divide.
  @parameterized.parameters((3, 4), (3, 3), (2, 5))
  def test_value_and_gradients_are_numpys(self, height, width):
    rng = np.random.default_rng(0)
    x, pull = rng.normal(size=(2, 2, height, width, 5)).astype(np.float32)
    x[:, 0, 0] = 0.0
    slope = np.array([0.5, 0.25, 0.0, -0.5, 2.0], np.float32)
    one = jax.jit(_pulled)
    made, to_x, to_slope = one(x, slope, pull)
    factor = np.where(x > 0, 1, slope.astype(np.float64))
    np.testing.assert_allclose(made, factor * x, rtol=1e-6)
    np.testing.assert_allclose(made, plain_prelu(x, slope))
    np.testing.assert_allclose(to_x, factor * pull, rtol=1e-6)
    negative = np.where(x > 0, 0, x.astype(np.float64) * pull)
    np.testing.assert_allclose(to_slope, negative.sum((0, 1, 2)), rtol=1e-5)
    axes = {"in_axes": (0, None, 0)}
    for mapped in (jax.jit(jax.vmap(_pulled, **axes)), jax.pmap(one, **axes)):
      got = mapped(x[:, None], slope, pull[:, None])
      np.testing.assert_allclose(got[0][:, 0], made, rtol=1e-6)
      np.testing.assert_allclose(got[1][:, 0], to_x, rtol=1e-6)
      np.testing.assert_allclose(
        np.sum(got[2], 0), negative.sum((0, 1, 2)), rtol=1e-5
      )

  def test_bfloat16_adds_up_in_float32(self):
    x = jnp.full((1, 40, 40, 1), -1, jnp.bfloat16)
    slope = jnp.ones(1, jnp.bfloat16)
    to_slope = jax.jit(_pulled)(x, slope, jnp.full_like(x, 0.5))[2]
    # In bfloat16 a sum of halves stays at 128.
    self.assertEqual((to_slope.dtype, float(to_slope[0])), (slope.dtype, -800))


if __name__ == "__main__":
  absltest.main()
