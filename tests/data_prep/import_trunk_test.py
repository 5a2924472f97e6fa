"""Imported trunks against channel-first networks of the published layout."""

import importlib.util
import pathlib
import subprocess
import sys
import unittest

from absl.testing import absltest, parameterized
import chex
import jax
import numpy as np

from data_prep.trunks.imported import (
  import_trunk,
  read_trunk_weights,
  trunk_params,
)
from disentangle3d.network.sphereface import SphereFace, scale_images
from disentangle3d.training.export import load_network
from tests.data_prep.files import torch_layout
from tests.data_prep.files.caffe_layout import caffemodel
from tests.fixtures import REPOSITORY, random_morphable_model

# Units of the four stages, as published.
_UNITS = {"sphere4": (0, 0, 0, 0), "sphere20": (1, 2, 4, 1)}


def published_weights(preset, seed=0):
  """Random arrays of the PyTorch port's names and shapes."""
  rng = np.random.default_rng(seed)
  weights, before = {}, 3

  def draw(*shape):
    spread = 1 / np.sqrt(np.prod(shape[1:]))
    return (spread * rng.normal(size=shape)).astype(np.float32)

  for stage, units in enumerate(_UNITS[preset], start=1):
    width = 32 << stage
    for number in range(1, 2 + 2 * units):
      place = f"{stage}_{number}"
      weights[f"conv{place}.weight"] = draw(width, before, 3, 3)
      weights[f"conv{place}.bias"] = draw(width, 99)[:, 0].copy()
      weights[f"relu{place}.weight"] = rng.uniform(0, 0.5, width).astype("f")
      before = width
  weights["fc5.weight"] = draw(512, 512 * 7 * 6)
  weights["fc5.bias"] = draw(512, 9)[:, 0].copy()
  weights["fc6.weight"] = draw(512, 10)
  return weights


def numpy_network(weights, images, units):
  """The port's forward pass in float64: BGR, channel-first."""

  def layer(x, place, stride):
    kernel = weights[f"conv{place}.weight"].astype(np.float64)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    out = weights[f"conv{place}.bias"][None, :, None, None].astype(np.float64)
    for i in range(3):
      for j in range(3):
        seen = padded[:, :, i : i + height : stride, j : j + width : stride]
        out = out + np.tensordot(
          seen, kernel[:, :, i, j], ([1], [1])
        ).transpose(0, 3, 1, 2)
    slope = weights[f"relu{place}.weight"][None, :, None, None]
    return np.where(out > 0, out, slope * out)

  x = (images[..., ::-1].transpose(0, 3, 1, 2) - 127.5) / 128
  for stage, count in enumerate(units, start=1):
    x = layer(x, f"{stage}_1", 2)
    for unit in range(count):
      inner = layer(x, f"{stage}_{2 + 2 * unit}", 1)
      x = x + layer(inner, f"{stage}_{3 + 2 * unit}", 1)
  flat = x.reshape(len(x), -1)
  return flat @ weights["fc5.weight"].T + weights["fc5.bias"]


def torch_network(weights, images, units):
  """The same in PyTorch."""
  import torch
  from torch.nn import functional

  tensors = {name: torch.from_numpy(array) for name, array in weights.items()}

  def layer(x, place, stride):
    kernel, bias = tensors[f"conv{place}.weight"], tensors[f"conv{place}.bias"]
    x = functional.conv2d(x, kernel, bias, stride=stride, padding=1)
    return functional.prelu(x, tensors[f"relu{place}.weight"])

  x = images[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
  x = (torch.from_numpy(np.ascontiguousarray(x)) - 127.5) / 128
  for stage, count in enumerate(units, start=1):
    x = layer(x, f"{stage}_1", 2)
    for unit in range(count):
      x = x + layer(
        layer(x, f"{stage}_{2 + 2 * unit}", 1), f"{stage}_{3 + 2 * unit}", 1
      )
  return functional.linear(
    x.flatten(1), tensors["fc5.weight"], tensors["fc5.bias"]
  ).numpy()


def our_feature(preset, params, images):
  trunk = SphereFace(preset)
  run = jax.jit(lambda p, x: trunk.apply({"params": p}, scale_images(x)))
  return np.asarray(run(params, images))


def photos(count=2):
  return np.random.default_rng(1).integers(
    0, 256, (count, 112, 96, 3), np.uint8
  )


class FeatureTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.weights = published_weights("sphere20")
    preset, params = trunk_params(cls.weights)
    cls.feature = our_feature(preset, params, photos())

  def check(self, network):
    expected = network(self.weights, photos(), _UNITS["sphere20"])
    self.assertEqual(self.feature.shape, (2, 512))
    self.assertGreater(np.abs(expected).max(), 0.3)
    np.testing.assert_allclose(self.feature, expected, atol=1e-4)

  def test_sphere20_agrees_with_a_channel_first_network(self):
    self.check(numpy_network)

  @unittest.skipUnless(
    importlib.util.find_spec("torch"), "PyTorch is not installed"
  )
  def test_sphere20_agrees_with_pytorch(self):
    self.check(torch_network)


class FileTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.weights = published_weights("sphere4")

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def caffe_layers(self, *, biases=True):
    layers: dict[str, list[np.ndarray]] = {}
    for name, array in self.weights.items():
      layer, part = name.split(".")
      if part == "weight" or biases or layer == "fc5":
        layers.setdefault(layer, []).append(array)
    return layers

  @parameterized.named_parameters(
    ("archive", torch_layout.write_archive),
    ("stream", torch_layout.write_stream),
  )
  def test_the_ports_file_becomes_an_export(self, write):
    path, output = self.folder / "sphere4.pth", self.folder / "net"
    write(path, self.weights)
    basis = random_morphable_model()
    import_trunk(path, output, basis, licence="MIT")
    export = load_network(output)
    self.assertEqual(export.model.trunk, "sphere4")
    self.assertEqual(export.model.num_vertices, basis.num_vertices)
    self.assertIn("trunk's weights: MIT", export.licence)
    self.assertIn("sphere4.pth", export.source)
    _, expected = trunk_params(self.weights)
    chex.assert_trees_all_equal(export.params["encoder"]["trunk"], expected)

  @parameterized.named_parameters(("today", False), ("old", True))
  def test_a_caffe_model_gives_the_same_trunk(self, old):
    path = self.folder / "net.caffemodel"
    path.write_bytes(caffemodel(self.caffe_layers(), old=old))
    preset, params = trunk_params(read_trunk_weights(path))
    self.assertEqual(preset, "sphere4")
    chex.assert_trees_all_equal(params, trunk_params(self.weights)[1])

  def test_convolutions_without_biases_get_zeros(self):
    path = self.folder / "net.caffemodel"
    path.write_bytes(caffemodel(self.caffe_layers(biases=False)))
    _, params = trunk_params(read_trunk_weights(path))
    np.testing.assert_array_equal(params["conv3_1"]["bias"], np.zeros(256))

  def test_rgb_weights_are_not_turned(self):
    _, bgr = trunk_params(self.weights)
    _, rgb = trunk_params(self.weights, channels="rgb")
    np.testing.assert_array_equal(
      rgb["conv1_1"]["kernel"], bgr["conv1_1"]["kernel"][:, :, ::-1]
    )
    np.testing.assert_array_equal(
      rgb["conv2_1"]["kernel"], bgr["conv2_1"]["kernel"]
    )

  @parameterized.named_parameters(
    ("absent", {"relu2_1.weight": None}, "relu2_1.weight .128.*no such array"),
    (
      "shape",
      {"fc5.weight": np.ones((512, 9))},
      r"fc5.weight of shape \[512, ",
    ),
    ("nan", {"conv1_1.bias": np.full(64, np.nan)}, "finite numbers in conv1_1"),
    ("depth", {"conv1_2.weight": np.ones(1)}, "convolutions of one of sphere4"),
    ("name", {"conv1_1.weight": None}, "one of SphereFace, MobileFaceNet, got"),
  )
  def test_what_does_not_fit_is_named(self, changes, problem):
    weights = {**self.weights, **changes}
    weights = {k: v for k, v in weights.items() if v is not None}
    with self.assertRaisesRegex(ValueError, problem):
      trunk_params(weights)

  @parameterized.parameters("import_trunk", "import_sphereface")
  def test_the_command_says_what_is_wrong_in_one_line(self, binary):
    (self.folder / "net.prototxt").write_text("layer {}")
    run = subprocess.run(
      [
        sys.executable,
        *("-m", f"data_prep.{binary}"),
        f"--weights={self.folder / 'net.prototxt'}",
        f"--output={self.folder / 'out'}",
      ],
      cwd=REPOSITORY,
      capture_output=True,
      text=True,
      timeout=120,
    )
    self.assertEqual(run.returncode, 1)
    self.assertRegex(run.stderr, "ERROR: .*net.prototxt: expected weights")
    self.assertEqual(
      "WARNING: data_prep.import_sphereface is called data_prep.import_trunk"
      in run.stderr,
      binary == "import_sphereface",
    )
    self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
  absltest.main()
