"""Imported MobileFaceNets against the published layers with batch norm."""

import functools
import importlib.util
import unittest

from absl.testing import absltest, parameterized
import chex
import jax
import numpy as np

from data_prep.trunks.imported import read_trunk_weights, trunk_params
from disentangle3d.network.mobileface import MobileFace
from disentangle3d.network.sphereface import scale_images
from tests.data_prep.files.caffe_layout import caffemodel
from tests.data_prep.trunks import mobilefacenets as published
from tests.fixtures import SHARED_DATA

_FILE = SHARED_DATA / "weights" / "mobilefacenet_112x96_casia.ckpt"


@functools.cache
def weights():
  return published.random_weights()


def crops(count=2):
  return np.random.default_rng(1).integers(
    0, 256, (count, 112, 96, 3), np.uint8
  )


@jax.jit
def apply(params, images):
  trunk = MobileFace("mobile128")
  return trunk.apply({"params": params}, scale_images(images))


class FeatureTest(parameterized.TestCase):
  def check(self, network, arrays):
    trunk, params = trunk_params(arrays)
    self.assertEqual(trunk, "mobile128")
    feature = np.asarray(apply(params, crops()))
    expected = network(arrays, crops())
    self.assertEqual(feature.shape, (2, 128))
    self.assertBetween(np.abs(expected).max(), 0.3, 30)
    np.testing.assert_allclose(feature, expected, atol=1e-4)

  def test_agrees_with_batch_norm_written_out(self):
    self.check(published.numpy_network, weights())

  @unittest.skipUnless(_FILE.exists(), f"{_FILE} is not there")
  def test_the_published_file_does_too(self):
    self.check(published.numpy_network, read_trunk_weights(_FILE))

  @unittest.skipUnless(
    importlib.util.find_spec("torch"), "PyTorch is not installed"
  )
  def test_agrees_with_pytorch(self):
    self.check(published.torch_network, weights())

  @unittest.skipUnless(
    importlib.util.find_spec("torch") and _FILE.exists(),
    f"PyTorch or {_FILE} is not there",
  )
  def test_the_published_file_agrees_with_pytorch(self):
    self.check(published.torch_network, read_trunk_weights(_FILE))


class LayoutTest(parameterized.TestCase):
  def test_insightfaces_names_are_the_same_network(self):
    trunk, params = trunk_params(published.as_insightface(weights()))
    self.assertEqual(trunk, "mobile128")
    chex.assert_trees_all_equal(params, trunk_params(weights())[1])

  @parameterized.named_parameters(("today", False), ("old", True))
  def test_a_caffe_model_is_the_same_network(self, old):
    # Its last norm has neither factor nor shift.
    plain = weights() | {
      "linear1.bn.weight": np.ones(128, np.float32),
      "linear1.bn.bias": np.zeros(128, np.float32),
    }
    path = self.create_tempfile("net.caffemodel").full_path
    with open(path, "wb") as file:
      file.write(caffemodel(published.as_caffe(plain), old=old))
    # Twice the sums over 2 are the same to the bit.
    trunk, params = trunk_params(read_trunk_weights(path))
    self.assertEqual(trunk, "mobile128")
    chex.assert_trees_all_equal(params, trunk_params(plain, channels="bgr")[1])

  def test_a_caffe_norm_of_nothing_divides_by_nothing(self):
    layers = published.as_caffe(weights())
    layers["conv1/bn"][2] = np.zeros(1, np.float32)
    path = self.create_tempfile("net.caffemodel").full_path
    with open(path, "wb") as file:
      file.write(caffemodel(layers))
    read = read_trunk_weights(path)
    self.assertFalse(np.any(read["conv1/bn.running_var"]))

  def test_a_holder_beside_a_classifier_is_seen_through(self):
    held = {f"backbone.{name}": array for name, array in weights().items()}
    classifier = {"margin.weight": np.ones((10, 128), np.float32)}
    chex.assert_trees_all_equal(
      trunk_params(held | classifier), trunk_params(weights())
    )

  def test_a_feature_of_512(self):
    trunk, params = trunk_params(published.random_weights(feature=512))
    self.assertEqual(trunk, "mobile")
    self.assertEqual(params["fc7"]["kernel"].shape, (512, 512))

  def test_bgr_weights_are_turned(self):
    rgb, bgr = (
      trunk_params(weights(), channels=channels)[1]["conv1"]["kernel"]
      for channels in ("rgb", "bgr")
    )
    np.testing.assert_array_equal(rgb, bgr[:, :, ::-1])
    self.assertGreater(np.abs(rgb - bgr).max(), 0.1)

  @parameterized.named_parameters(
    (
      "absent",
      {"blocks.3.conv.4.running_var": None},
      "blocks.3.conv.4.running",
    ),
    (
      "wide",
      {"blocks.0.conv.0.weight": np.ones((256, 64, 1, 1))},
      r"blocks.0.conv.0.weight of shape \[128, 64\], got \[256, 64, 1, 1\]",
    ),
    (
      "variance",
      {"conv2.bn.running_var": np.full(512, -1)},
      "variances from 0 in conv2.bn",
    ),
    (
      "feature",
      {"linear1.conv.weight": np.ones((256, 512, 1, 1))},
      "feature of one of 512, 128 numbers, got linear1.conv.weight",
    ),
  )
  def test_what_does_not_fit_is_named(self, changes, problem):
    changed = {
      k: v for k, v in {**weights(), **changes}.items() if v is not None
    }
    with self.assertRaisesRegex(ValueError, problem):
      trunk_params(changed)

  @parameterized.named_parameters(
    ("mobile", lambda: published.random_weights(map_size=(7, 7))),
    ("resnet", lambda: {"fc.weight": np.ones((2, 512 * 49))}),
  )
  def test_a_trunk_for_112_by_112_is_refused(self, arrays):
    with self.assertRaisesRegex(ValueError, "112 x 96 pixels.*for 112 x 112"):
      trunk_params(arrays())


if __name__ == "__main__":
  absltest.main()
