"""Operations against XLA's own count, where XLA has one, and closed forms."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp

from disentangle3d.network.operations import count_operations
from disentangle3d.network.sphereface import SphereFace


def _array(*shape: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _by_xla(function, *arguments) -> float:
  cpu = jax.devices("cpu")[0]
  with jax.default_device(cpu):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def _convolve(image, kernel, *, stride=1, padding=1, groups=1):
  return jax.lax.conv_general_dilated(
    image,
    kernel,
    (stride, stride),
    [(padding, padding)] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


class CountOperationsTest(parameterized.TestCase):
  def test_a_product_is_two_operations_a_multiply_add(self):
    got = count_operations(jnp.matmul, _array(5, 3, 7), _array(5, 7, 2))
    self.assertEqual(got, 2 * 5 * 3 * 7 * 2)

  @parameterized.parameters(
    ({}, 6), ({"stride": 2}, 6), ({"padding": 0}, 6), ({"groups": 3}, 2)
  )
  def test_a_convolution_and_its_gradients_are_what_xla_counts(
    self, settings, depth
  ):
    image, kernel = _array(4, 9, 10, 6), _array(3, 3, depth, 12)
    out = jax.eval_shape(lambda *a: _convolve(*a, **settings), image, kernel)
    cotangent = jax.ShapeDtypeStruct(out.shape, out.dtype)

    def forward(image, kernel):
      return _convolve(image, kernel, **settings)

    def backward(image, kernel, cotangent):
      result, pull_back = jax.vjp(forward, image, kernel)
      return result, pull_back(cotangent)

    self.assertEqual(
      count_operations(forward, image, kernel), _by_xla(forward, image, kernel)
    )
    self.assertEqual(
      count_operations(backward, image, kernel, cotangent),
      _by_xla(backward, image, kernel, cotangent),
    )

  def test_loops_count_every_turn_and_branches_the_largest(self):
    def loop(x):
      return jax.lax.scan(lambda x, _: (x @ x, None), x, length=7)[0]

    def branch(x):
      return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x)

    product = 2 * 4**3
    self.assertEqual(count_operations(loop, _array(4, 4)), 7 * product)
    self.assertEqual(count_operations(branch, _array(4, 4)), product)

  def test_of_a_pmap_one_devices_part(self):
    mapped = jax.pmap(lambda x: x @ x, devices=jax.devices()[:2])
    self.assertEqual(count_operations(mapped, _array(2, 4, 4)), 2 * 4**3)

  def test_a_trunk_is_what_xla_counts_less_its_activations(self):
    trunk = SphereFace("sphere20")
    images = _array(2, 112, 96, 3)
    params = jax.eval_shape(trunk.init, jax.random.key(0), images)
    whole = _by_xla(trunk.apply, params, images)
    got = count_operations(trunk.apply, params, images)
    self.assertBetween(got / whole, 0.99, 1.0)


if __name__ == "__main__":
  absltest.main()
