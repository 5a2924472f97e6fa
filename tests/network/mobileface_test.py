"""The mobile trunk against NumPy, its operations counted."""

import pathlib

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from disentangle3d.inference import prepare_params
from disentangle3d.network.face_model import FaceModel, count_params
from disentangle3d.network.mobileface import MobileFace
from disentangle3d.training.run_files import read_metrics
from experiments.configs import smoke
from experiments.training.runs import train
from tests.network.operations import multiply_adds, numpy_convolution

# In, inside and out of every bottleneck, and the stride; 56 x 48 go in.
_BOTTLENECKS = (
  ("3_1", 64, 128, 64, 2),
  *((f"3_{n}", 64, 128, 64, 1) for n in range(2, 6)),
  ("4_1", 64, 256, 128, 2),
  *((f"4_{n}", 128, 256, 128, 1) for n in range(2, 8)),
  ("5_1", 128, 512, 128, 2),
  *((f"5_{n}", 128, 256, 128, 1) for n in (2, 3)),
)


def random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def abstract_params():
  images = jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
  return jax.eval_shape(MobileFace().init, jax.random.key(0), images)["params"]


def numpy_trunk(params, x):
  """The forward pass in float64, from the paper's table."""

  def active(x, layer):
    return np.where(x > 0, x, layer["slope"] * x)

  def depthwise(x, layer, stride):
    made = numpy_convolution(x, layer["kernel"], stride, depthwise=True)
    return made + layer["bias"]

  def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]

  x = numpy_convolution(x, params["conv1"]["kernel"], 2)
  x = active(x + params["conv1"]["bias"], params["prelu1"])
  x = active(depthwise(x, params["depthwise2"], 1), params["prelu2"])
  for place, _, _, _, stride in _BOTTLENECKS:
    layers = params[f"bottleneck{place}"]
    inner = active(dense(x, layers["expand"]), layers["expand_prelu"])
    inner = depthwise(inner, layers["depthwise"], stride)
    inner = dense(active(inner, layers["depthwise_prelu"]), layers["project"])
    x = inner if place.endswith("_1") else x + inner
  x = active(dense(x, params["conv6"]), params["prelu6"])
  x = np.sum(x * params["global_kernel"][:, :, 0], axis=(1, 2))
  return dense(x, params["fc7"])


# One program for two tests.
apply = jax.jit(MobileFace().apply)


class TrunkTest(absltest.TestCase):
  def test_multiply_adds_and_parameters_are_counted(self):
    pixels = 56 * 48
    operations = pixels * (27 + 9) * 64
    parameters = 28 * 64 + 64 + (9 + 1) * 64 + 64
    for _, before, inside, after, stride in _BOTTLENECKS:
      operations += pixels * before * inside
      pixels //= stride * stride
      operations += pixels * inside * (9 + after)
      parameters += (before + 1) * inside + inside
      parameters += (9 + 1) * inside + inside + (inside + 1) * after
    self.assertEqual(pixels, 7 * 6)
    operations += pixels * (128 * 512 + 512) + 512 * 512
    parameters += (128 + 1) * 512 + 512 + pixels * 512 + (512 + 1) * 512
    images = jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
    counted = multiply_adds(
      lambda params, x: MobileFace().apply({"params": params}, x),
      abstract_params(),
      images,
    )
    self.assertEqual(counted, operations)
    self.assertEqual(counted, 189_604_864)
    self.assertEqual(count_params(abstract_params()), parameters)
    self.assertEqual(parameters, 1_186_240)

  def test_equals_numpy(self):
    rng = np.random.default_rng(0)
    # Every entry non-zero, so that no bias or slope may go missing.
    params = jax.tree.map(
      lambda leaf: rng.normal(
        0, 1 / np.sqrt(max(np.prod(leaf.shape[:-1]), 4)), leaf.shape
      ).astype(np.float32),
      abstract_params(),
    )
    images = rng.uniform(-1, 1, (4, 112, 96, 3))
    got = apply({"params": params}, images.astype(np.float32))
    expected = numpy_trunk(params, images)
    np.testing.assert_allclose(
      got, expected, atol=2e-5 * np.abs(expected).max()
    )

  def test_fresh_features_tell_images_apart(self):
    rng = np.random.default_rng(0)
    contrast = np.array([0.3, 0.5, 0.7, 1]).reshape(4, 1, 1, 1)
    images = contrast * rng.uniform(-1, 1, (4, 112, 96, 3))
    variables = MobileFace().lazy_init(
      jax.random.key(0), jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
    )
    features = apply(variables, images.astype(np.float32))
    # Neither gone nor grown over 17 blocks.
    self.assertBetween(float(features.std()), 0.05, 2)
    self.assertGreater(float(features.std(0).mean()), 0.02)

  def test_in_bfloat16_parameters_stay_float32(self):
    images = jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32)
    features, variables = jax.eval_shape(
      MobileFace(dtype="bfloat16").init_with_output, jax.random.key(0), images
    )
    self.assertEqual(features.dtype, jnp.bfloat16)
    for leaf in jax.tree.leaves(variables):
      self.assertEqual(leaf.dtype, jnp.float32)

  def test_wrong_images_are_refused(self):
    with self.assertRaisesRegex(ValueError, "images: .*112, 96, 3"):
      MobileFace().apply({"params": {}}, np.zeros((1, 96, 112, 3), np.float32))

  def test_prepared_params_are_the_params(self):
    params = {"encoder": {"trunk": abstract_params()}}
    model = FaceModel("mobile")
    self.assertIs(prepare_params(params, model=model, backend="cpu"), params)

  @pytest.mark.slow
  def test_it_trains(self):
    config = smoke.get_config()
    config.model.trunk = "mobile"
    config.run_phases = ("latents",)
    config.export_phases = ("latents",)
    config.examples.num_examples = 8
    latents = config.phases.latents
    latents.steps, latents.batch_size = 30, 8
    latents.optimizers.encoder.rate = 5e-4
    latents.optimizers.encoder.schedule.warmup_steps = 5
    config.checkpoint_every = 30
    folder = pathlib.Path(self.create_tempdir().full_path)
    self.assertTrue(train(config, folder).complete)
    losses = [row["loss"] for row in read_metrics(folder)]
    self.assertLen(losses, 15)
    self.assertLess(np.mean(losses[-3:]), 0.75 * np.mean(losses[:3]))


if __name__ == "__main__":
  absltest.main()
