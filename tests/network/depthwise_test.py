"""Depthwise convolutions and their gradients against NumPy in float64."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.network.depthwise import (
  depthwise_convolution,
  grouped_convolution,
  shifted_multiplies,
)
from tests.network.operations import numpy_convolution

_PROGRAMS = (depthwise_convolution, shifted_multiplies, grouped_convolution)


def random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def numpy_kernel_pull(x, pull, stride):
  """What the kernel's gradient is, in float64."""
  height, width = x.shape[1:3]
  padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
  made = np.zeros((3, 3, 1, x.shape[-1]))
  for i, j in np.ndindex(3, 3):
    seen = padded[:, i : i + height : stride, j : j + width : stride]
    made[i, j, 0] = np.sum(seen * pull, (0, 1, 2))
  return made


def gradients(program, stride):
  def pulled(x, kernel, pull):
    return jax.vjp(lambda *both: program(*both, stride=stride), x, kernel)[1](
      pull
    )

  return pulled


class DepthwiseTest(parameterized.TestCase):
  @parameterized.parameters((1, 7, 5), (2, 6, 4), (2, 7, 5))
  def test_both_programs_are_the_convolution(self, stride, height, width):
    x, kernel = random(2, height, width, 8), random(3, 3, 1, 8, seed=1)
    expected = numpy_convolution(
      x.astype(np.float64), kernel, stride, depthwise=True
    )
    pull = random(*expected.shape, seed=2)
    other = random(*x.shape, seed=3)
    moved = numpy_convolution(
      other.astype(np.float64), kernel, stride, depthwise=True
    )
    for program in _PROGRAMS:
      got = jax.jit(lambda *both, f=program: f(*both, stride=stride))(x, kernel)
      np.testing.assert_allclose(got, expected, atol=1e-5)
      to_x, to_kernel = jax.jit(gradients(program, stride))(x, kernel, pull)
      self.assertEqual(to_x.shape, x.shape)
      # The convolution is linear in x, and this its adjoint.
      np.testing.assert_allclose(
        np.sum(np.asarray(to_x, np.float64) * other),
        np.sum(moved * pull),
        rtol=1e-5,
      )
      np.testing.assert_allclose(
        to_kernel, numpy_kernel_pull(x, pull, stride), atol=2e-5
      )

  def test_mapped_programs_do_what_one_does(self):
    x, kernel = random(2, 3, 6, 4, 2), random(3, 3, 1, 2, seed=1)
    pull = random(2, 3, 3, 2, 2, seed=2)
    one = jax.jit(gradients(depthwise_convolution, 2))
    wanted = [one(a, kernel, b) for a, b in zip(x, pull, strict=True)]
    axes = {"in_axes": (0, None, 0)}
    for mapped in (jax.jit(jax.vmap(one, **axes)), jax.pmap(one, **axes)):
      got = mapped(x, kernel, pull)
      for place, part in enumerate(got):
        np.testing.assert_allclose(
          part, np.stack([each[place] for each in wanted]), atol=1e-5
        )

  def test_bfloat16_adds_up_in_float32(self):
    x, pull = (np.full((1, 40, 40, 1), one, np.float32) for one in (1, 0.5))
    kernel = jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    to_kernel = jax.jit(gradients(shifted_multiplies, 1))(
      x.astype(jnp.bfloat16), kernel, pull.astype(jnp.bfloat16)
    )[1]
    self.assertEqual(to_kernel.dtype, jnp.bfloat16)
    # In bfloat16 a sum of halves stays at 128.
    self.assertEqual(float(to_kernel[1, 1, 0, 0]), 800)

  @parameterized.parameters(("cpu", False), ("cuda", True), ("tpu", True))
  def test_the_platform_chooses(self, platform, grouped):
    exported = jax.export.export(
      jax.jit(lambda x, k: depthwise_convolution(x, k, stride=1)),
      platforms=[platform],
    )(random(1, 8, 6, 4), random(3, 3, 1, 4))
    text = exported.mlir_module()
    self.assertEqual("feature_group_count = 4" in text, grouped)

  def test_other_shapes_are_refused(self):
    with self.assertRaisesRegex(ValueError, "kernel: .*3, 3, 1, C=4"):
      depthwise_convolution(random(1, 8, 6, 4), random(3, 3, 1, 5), stride=1)


if __name__ == "__main__":
  absltest.main()
