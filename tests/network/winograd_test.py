"""Winograd convolutions and fast trunks against the plain ones."""

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from disentangle3d import inference
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.winograd import (
  _FILTER,
  prepare_trunk,
  winograd_convolution,
)
from tests.fixtures import random_morphable_model


def random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def photos(batch=2):
  return np.random.default_rng(1).integers(
    0, 256, (batch, 112, 96, 3), np.uint8
  )


def trained_like(model):
  """Fresh params with residual convolutions, biases and slopes that matter."""
  params = init_params(jax.random.key(0), model, random_morphable_model())
  rng = np.random.default_rng(2)

  def draw(name, leaf):
    if name == "kernel":
      if leaf.ndim != 4:
        return leaf
      spread = 1 / np.sqrt(9 * leaf.shape[2])
      return (spread * rng.normal(size=leaf.shape)).astype(np.float32)
    low, high = (-0.3, 0.3) if name == "bias" else (0.05, 0.5)
    return rng.uniform(low, high, leaf.shape).astype(np.float32)

  def matter(layers):
    return {
      layer: {name: draw(name, leaf) for name, leaf in leaves.items()}
      for layer, leaves in layers.items()
    }

  encoder = params["encoder"]
  heads = {name: encoder[name] for name in ("identity_fc", "residual_fc")}
  trunk = matter(encoder["trunk"])
  return {**params, "encoder": {"trunk": trunk, **matter(heads)}}


class ConvolutionTest(parameterized.TestCase):
  @parameterized.parameters(
    (4, 56, 48), (4, 28, 24), (2, 14, 12), (2, 7, 6), (4, 7, 6), (2, 1, 1)
  )
  def test_it_is_the_convolution(self, tile, height, width):
    x, kernel = random(2, height, width, 5), random(3, 3, 5, 7, seed=1)
    matrix = _FILTER[tile]
    filters = np.einsum("ai,ijck,bj->abck", matrix, kernel, matrix)
    made = jax.jit(winograd_convolution, static_argnames="tile")(
      x, jnp.asarray(filters, jnp.float32), tile=tile
    )
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(
      padded[:, i : i + height, j : j + width] @ kernel[i, j]
      for i in range(3)
      for j in range(3)
    )
    np.testing.assert_allclose(made, expected, atol=1e-4)

  def test_other_shapes_are_refused(self):
    with self.assertRaisesRegex(ValueError, "tile: expected 2 or 4, got 3"):
      winograd_convolution(random(1, 4, 4, 2), random(5, 5, 2, 2), tile=3)
    with self.assertRaisesRegex(ValueError, r"filters: .*4, 4, C=2, K"):
      winograd_convolution(random(1, 4, 4, 2), random(4, 4, 3, 2), tile=2)


class PrepareTest(parameterized.TestCase):
  def check(self, model, tolerance):
    params = trained_like(model)
    before = jax.tree.map(np.array, params)
    fast = inference.prepare_params(params, model=model)
    run = jax.jit(
      lambda p, x: inference.encode(p, x, model=model),
      compiler_options=cpu_compiler_options(),
    )
    plain, quick = run(params, photos()), run(fast, photos())
    self.assertGreater(np.abs(plain.identity).max(), 0.05)
    chex.assert_trees_all_close(quick, plain, atol=tolerance, rtol=1e-7)
    chex.assert_trees_all_equal(params, before)
    single = inference.encode(fast, photos()[0], model=model)
    np.testing.assert_allclose(
      single.identity, plain.identity[0], atol=tolerance
    )

  def test_codes_agree(self):
    self.check(FaceModel("tiny", 12, 5, 120), 1e-4)

  @pytest.mark.slow
  def test_codes_of_sphere20_agree(self):
    self.check(FaceModel("sphere20", 12, 5, 120), 1e-4)

  def test_other_backends_keep_their_params(self):
    model = FaceModel("tiny", 12, 5, 120)
    params = trained_like(model)
    for backend in ("gpu", "tpu"):
      self.assertIs(
        inference.prepare_params(params, model=model, backend=backend), params
      )

  def test_another_precision_keeps_its_params(self):
    model = FaceModel("tiny", 12, 5, 120, dtype="bfloat16")
    params = trained_like(model)
    self.assertIs(inference.prepare_params(params, model=model), params)

  def test_filters_are_transformed_once(self):
    trunk = trained_like(FaceModel("tiny", 12, 5, 120))["encoder"]["trunk"]
    prepared = prepare_trunk(trunk, "tiny")
    self.assertEqual(prepared["conv3_2"]["winograd"].shape, (4, 4, 64, 64))
    self.assertNotIn("kernel", prepared["conv3_2"])
    self.assertIs(prepared["conv3_1"]["kernel"], trunk["conv3_1"]["kernel"])
    self.assertEqual(prepared["fc5"]["transposed_kernel"].shape, (256, 5376))


if __name__ == "__main__":
  absltest.main()
