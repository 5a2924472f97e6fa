"""The trunk against a NumPy forward pass, counted parameters and initials."""

from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.network import sphereface
from disentangle3d.network.prelu import PReLU
from disentangle3d.network.sphereface import PRESETS, SphereFace, Trunk
from tests.fixtures import random_leaves
from tests.network.operations import multiply_adds


def numpy_convolution(x, kernel, bias, stride):
  """3x3, one pixel of zeros around, channels last; written as nine products."""
  height, width = x.shape[1:3]
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  out = 0.0
  for i in range(3):
    for j in range(3):
      seen = padded[:, i : i + height : stride, j : j + width : stride]
      out = out + seen @ kernel[i, j]
  return out + bias


def numpy_trunk(params, x, units):
  """SphereFace in float64, from the published description."""

  def layer(x, place, stride):
    conv = params[f"conv{place}"]
    x = numpy_convolution(x, conv["kernel"], conv["bias"], stride)
    return np.maximum(x, 0) + params[f"prelu{place}"]["slope"] * np.minimum(
      x, 0
    )

  for stage, count in enumerate(units, start=1):
    x = layer(x, f"{stage}_1", 2)
    for unit in range(count):
      inner = layer(x, f"{stage}_{2 + 2 * unit}", 1)
      x = x + layer(inner, f"{stage}_{3 + 2 * unit}", 1)
  rows = np.stack([image.flatten() for image in x])  # h, w, c
  return rows @ params["fc5"]["kernel"] + params["fc5"]["bias"]


def count_by_hand(preset):
  widths, units, feature = preset.widths, preset.units, preset.feature_dim
  total, before = 0, 3
  for width, count in zip(widths, units, strict=True):
    total += 9 * before * width + width + width  # weights, bias, slopes
    total += 2 * count * (9 * width * width + width + width)
    before = width
  return total + 7 * 6 * widths[-1] * feature + feature


def multiply_adds_by_hand(preset):
  total, before, pixels = 0, 3, 112 * 96
  for width, count in zip(preset.widths, preset.units, strict=True):
    pixels //= 4
    total += pixels * 9 * width * (before + 2 * count * width)
    before = width
  return total + pixels * before * preset.feature_dim


def abstract_params(model):
  images = jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), images)["params"]


class PresetTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("sphere4", "sphere4", 4, 12_562_496),
    ("sphere10", "sphere10", 10, 15_219_264),
    ("sphere20", "sphere20", 20, 22_670_656),
    ("sphere36", "sphere36", 36, 32_778_816),
    ("sphere64", "sphere64", 64, 48_200_512),
    ("tiny", "tiny", 6, 1_548_176),
  )
  def test_layers_and_parameters_are_as_many_as_published(
    self, name, convolutions, parameters
  ):
    tree = abstract_params(SphereFace(name))
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    self.assertEqual(count, count_by_hand(PRESETS[name]))
    self.assertEqual(count, parameters)
    layers = [layer for layer in tree if layer.startswith("conv")]
    self.assertLen(layers, convolutions)
    for layer in layers:
      self.assertEqual(set(tree[layer]), {"kernel", "bias"})
      self.assertEqual(
        tree[layer.replace("conv", "prelu")]["slope"].shape,
        tree[layer]["bias"].shape,
      )

  def test_every_preset_is_in_the_table_above(self):
    self.assertEqual(
      set(PRESETS),
      {"sphere4", "sphere10", "sphere20", "sphere36", "sphere64", "tiny"},
    )

  @parameterized.named_parameters(
    ("tiny", "tiny", 24_213_504), ("sphere20", "sphere20", 1_749_737_472)
  )
  def test_multiply_adds(self, name, expected):
    model = SphereFace(name)
    images = jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
    count = multiply_adds(
      lambda params, x: model.apply({"params": params}, x),
      abstract_params(model),
      images,
    )
    self.assertEqual(count, multiply_adds_by_hand(PRESETS[name]))
    self.assertEqual(count, expected)

  def test_tiny_with_its_heads_stays_under_25_million(self):
    heads = PRESETS["tiny"].feature_dim * (199 + 29)
    self.assertLess(24_213_504 + heads, 25e6)

  def test_unknown_preset_is_refused(self):
    with self.assertRaisesRegex(ValueError, "trunk: .*sphere20.* got 'huge'"):
      abstract_params(SphereFace("huge"))


class ForwardTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("tiny", PRESETS["tiny"]),
    ("several_units", Trunk((4, 6, 8, 10), (1, 2, 0, 3), 7)),
  )
  def test_equals_numpy(self, trunk):
    with mock.patch.object(sphereface, "PRESETS", {"this": trunk}):
      model = SphereFace("this")
      # No entry is 0, so that no bias or slope may go missing.
      params = random_leaves(abstract_params(model))
      images = np.random.default_rng(1).uniform(-1, 1, (2, 112, 96, 3))
      got = model.apply({"params": params}, images.astype(np.float32))
    expected = numpy_trunk(params, images, trunk.units)
    # Float32 sums of some thousand terms.
    np.testing.assert_allclose(
      got, expected, atol=2e-5 * np.abs(expected).max()
    )

  def test_in_bfloat16_parameters_stay_float32(self):
    model = SphereFace("tiny", dtype="bfloat16")
    images = jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
    features, variables = jax.eval_shape(
      model.init_with_output, jax.random.key(0), images
    )
    self.assertEqual(features.dtype, jnp.bfloat16)
    for leaf in jax.tree.leaves(variables):
      self.assertEqual(leaf.dtype, jnp.float32)

  def test_prelu_and_its_gradients(self):
    x = jnp.array([[-2.0, 3.0], [-1.0, -4.0]]).reshape(1, 1, 2, 2)
    params = {"slope": jnp.array([0.5, 0.1])}

    def total(params, x):
      return jnp.sum(PReLU().apply({"params": params}, x))

    y = PReLU().apply({"params": params}, x)
    np.testing.assert_allclose(y.ravel(), [-1.0, 3.0, -0.5, -0.4], rtol=1e-6)
    of_params, of_x = jax.grad(total, (0, 1))(params, x)
    np.testing.assert_allclose(of_params["slope"], [-3.0, -4.0])
    np.testing.assert_allclose(of_x.ravel(), [0.5, 1.0, 0.5, 0.1])

  @parameterized.named_parameters(
    ("turned", (1, 96, 112, 3), np.float32, ValueError, "112, 96, 3"),
    ("single", (112, 96, 3), np.float32, ValueError, "B, 112, 96, 3"),
    ("integer", (1, 112, 96, 3), np.uint8, TypeError, "floating.*uint8"),
  )
  def test_wrong_images_are_refused(self, shape, dtype, error, message):
    model = SphereFace("tiny")
    with self.assertRaisesRegex(error, f"images: .*{message}"):
      model.apply({"params": {}}, np.zeros(shape, dtype))


class InitialisationTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    images = jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
    cls.params = SphereFace("tiny").lazy_init(jax.random.key(0), images)[
      "params"
    ]

  def test_strided_convolutions_and_fc_are_uniform_xavier(self):
    for name, layer in self.params.items():
      if not name.endswith("_1") and name != "fc5":
        continue
      if "kernel" in layer:
        kernel = np.asarray(layer["kernel"])
        bound = np.sqrt(3 / np.prod(kernel.shape[:-1]))
        self.assertLessEqual(np.abs(kernel).max(), bound, name)
        self.assertGreater(np.abs(kernel).max(), 0.97 * bound, name)

  def test_residual_convolutions_are_gaussian(self):
    for name in ("conv3_2", "conv3_3"):
      kernel = np.asarray(self.params[name]["kernel"])
      self.assertAlmostEqual(kernel.std(), 0.01, delta=2e-4)
      self.assertAlmostEqual(kernel.mean(), 0.0, delta=2e-4)

  def test_biases_are_zero_and_slopes_a_quarter(self):
    for name, layer in self.params.items():
      np.testing.assert_array_equal(layer.get("bias", 0), 0, name)
      np.testing.assert_array_equal(layer.get("slope", 0.25), 0.25, name)


class ScaleImagesTest(absltest.TestCase):
  def test_uint8_is_mapped_and_float_is_not(self):
    images = np.full((2, 112, 96, 3), 255, np.uint8)
    images[0] = 0
    scaled = sphereface.scale_images(images)
    np.testing.assert_array_equal(scaled[0], -127.5 / 128)
    np.testing.assert_array_equal(scaled[1], 127.5 / 128)
    self.assertEqual(scaled.dtype, jnp.float32)
    floats = np.full((112, 96, 3), 7.5, np.float32)
    np.testing.assert_array_equal(sphereface.scale_images(floats), floats)

  def test_wrong_images_are_refused(self):
    with self.assertRaisesRegex(TypeError, "images: .*int32"):
      sphereface.scale_images(np.zeros((112, 96, 3), np.int32))
    with self.assertRaisesRegex(ValueError, "images: .*112, 112, 3"):
      sphereface.scale_images(np.zeros((112, 112, 3), np.uint8))


if __name__ == "__main__":
  absltest.main()
