"""Options are offered only where the compiler takes them."""

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.network import compilation


class CompilerOptionsTest(absltest.TestCase):
  def test_what_is_offered_compiles_and_changes_nothing(self):
    options = compilation.cpu_compiler_options(backend="cpu")
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    kernel = np.ones((3, 3, 3, 4), np.float32)

    def convolve(x):
      return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
      )

    got = jax.jit(convolve, compiler_options=options)(x)
    np.testing.assert_allclose(got, convolve(x), atol=1e-4)

  def test_unknown_options_are_left_out(self):
    options = {"xla_there_is_no_such_option": "1"}
    self.assertEqual(compilation.accepted_options(options), {})

  def test_known_options_are_kept(self):
    options = {"xla_embed_ir_in_executable": True}
    self.assertEqual(compilation.accepted_options(options), options)

  def test_other_backends_get_none(self):
    self.assertEqual(compilation.cpu_compiler_options(backend="gpu"), {})
    self.assertEqual(compilation.cpu_compiler_options(backend="tpu"), {})
    self.assertEqual(compilation.inference_compiler_options(backend="tpu"), {})

  def test_inference_takes_what_training_does_on_cpu(self):
    self.assertEqual(
      compilation.inference_compiler_options(backend="cpu"),
      compilation.cpu_compiler_options(backend="cpu"),
    )


if __name__ == "__main__":
  absltest.main()
