"""The public calls: equal to the modules, single = batch, every transform."""

import functools

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d import inference
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import save_network
from disentangle3d.types import Latents
from tests.fixtures import random_morphable_model

MODEL = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=120)


def photos(batch=3, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (batch, 112, 96, 3), np.uint8)


class InferenceTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.params = init_params(jax.random.key(0), MODEL, random_morphable_model())

  def call(self, name, images):
    return getattr(inference, name)(self.params, images, model=MODEL)

  def test_uint8_is_mapped_and_float_taken_as_mapped(self):
    images = photos()
    mapped = (images.astype(np.float32) - 127.5) / 128
    expected = MODEL.apply({"params": self.params}, mapped, method="encode")
    for given in (images, mapped):
      got = self.call("encode", given)
      np.testing.assert_array_equal(got.identity, expected.identity)
      np.testing.assert_array_equal(got.residual, expected.residual)

  @parameterized.parameters("encode", "reconstruct", "face_embedding")
  def test_a_single_image_comes_back_without_the_batch_axis(self, name):
    images = photos()
    batch = self.call(name, images)
    for row in (0, 2):
      single = self.call(name, images[row])
      expected = jax.tree.map(lambda leaf, row=row: leaf[row], batch)
      chex.assert_trees_all_close(single, expected, atol=2e-5, rtol=1e-7)

  @parameterized.parameters("encode", "reconstruct", "face_embedding")
  def test_eager_jit_vmap_and_pmap_agree(self, name):
    images = photos()
    function = getattr(inference, name)
    eager = self.call(name, images)

    def bound(params, images):
      return function(params, images, model=MODEL)

    mapped = jax.jit(jax.vmap(bound, (None, 0)))(self.params, images)
    jitted = jax.jit(bound)(self.params, images)
    spread = jax.pmap(bound, in_axes=(None, 0), devices=jax.devices()[:3])(
      self.params, images[:, None]
    )
    spread = jax.tree.map(lambda leaf: leaf[:, 0], spread)
    for other in (mapped, jitted, spread):
      # Millimetres and codes; another order of summation.
      chex.assert_trees_all_close(eager, other, atol=3e-5, rtol=1e-7)

  def test_the_same_shapes_are_compiled_once(self):
    traced = []

    @jax.jit
    def run(params, images):
      traced.append(images.shape)
      return inference.reconstruct(params, images, model=MODEL)

    other = jax.tree.map(lambda leaf: 2 * leaf, self.params)
    for params, seed in ((self.params, 0), (self.params, 1), (other, 2)):
      run(params, photos(seed=seed))
    self.assertEqual(traced, [(3, 112, 96, 3)])
    # A model that was made anew is the same value.
    again = functools.partial(
      jax.jit(inference.encode, static_argnames="model"), self.params, photos()
    )
    with jax.log_compiles(True), self.assertLogs(level="WARNING") as logs:
      again(model=MODEL)
      first = len(logs.output)
      again(model=MODEL.clone())
    self.assertLen(logs.output, first)

  def test_reconstruct_is_decode_of_encode(self):
    images = photos()
    faces = self.call("reconstruct", images)
    latents = self.call("encode", images)
    decoded = self.call("decode", latents)
    chex.assert_trees_all_equal(faces, decoded)
    identity = np.asarray(latents.identity)
    kernel = np.asarray(self.params["identity_decoder"]["kernel"])
    expected = identity @ kernel + np.ravel(self.params["mean_shape"])[None]
    np.testing.assert_allclose(
      faces.identity_shape.reshape(3, -1), expected, atol=1e-4
    )

  def test_model_is_passed_on_and_residual_moves_only_the_full_shape(self):
    latents = self.call("encode", photos())
    other = latents.replace(residual=-latents.residual)
    one, two = self.call("decode", latents), self.call("decode", other)
    np.testing.assert_array_equal(one.identity_shape, two.identity_shape)
    np.testing.assert_allclose(
      one.shape + two.shape, 2 * one.identity_shape, atol=1e-4
    )
    self.assertGreater(np.abs(one.shape - two.shape).max(), 1e-5)

  def test_gradient_of_the_codes_in_the_image(self):
    image = photos(1)[0].astype(np.float32) / 128 - 1
    direction = np.random.default_rng(1).normal(size=image.shape)
    direction = direction.astype(np.float32)
    weights = jnp.arange(12.0)

    @jax.jit
    def score(image):
      codes = inference.encode(self.params, image, model=MODEL).identity
      return jnp.sum(weights * codes)

    slope = np.sum(jax.grad(score)(image) * direction)
    # Short steps: thousands of activations have their kink near zero.
    step = 1e-4
    difference = score(image + step * direction) - score(
      image - step * direction
    )
    np.testing.assert_allclose(slope, difference / (2 * step), rtol=0.02)

  def test_embeddings_are_identity_codes_at_unit_length(self):
    images = photos()
    embedding = self.call("face_embedding", images)
    codes = np.asarray(self.call("encode", images).identity)
    lengths = np.linalg.norm(codes, axis=1, keepdims=True)
    np.testing.assert_allclose(embedding, codes / lengths, rtol=1e-5)

  def test_a_zero_code_embeds_as_zero_with_a_finite_gradient(self):
    encoder = self.params["encoder"]
    silent = jax.tree.map(jnp.zeros_like, encoder["identity_fc"])
    params = {"encoder": encoder | {"identity_fc": silent}}
    with jax.debug_nans(True):
      embedding = inference.face_embedding(params, photos(), model=MODEL)
      gradient = jax.grad(lambda c: jnp.sum(inference.unit_length(c)))(
        jnp.zeros((2, 12))
      )
    np.testing.assert_array_equal(embedding, np.zeros((3, 12)))
    self.assertTrue(np.isfinite(gradient).all())

  def test_short_codes_still_become_unit_length(self):
    code = np.full((1, 4), 1e-8, np.float32)
    np.testing.assert_allclose(
      inference.unit_length(code), np.full((1, 4), 0.5), rtol=1e-5
    )

  def test_an_empty_batch_is_a_batch(self):
    latents = self.call("encode", photos(0))
    self.assertEqual(latents.identity.shape, (0, 12))
    self.assertEqual(latents.residual.shape, (0, 5))


class CastParamsTest(parameterized.TestCase):
  @parameterized.parameters("tiny", "mobile")
  def test_what_is_stored_in_bfloat16_makes_the_same_faces(self, trunk):
    model = MODEL.clone(trunk=trunk, dtype="bfloat16")
    params = init_params(jax.random.key(0), model, random_morphable_model())
    cast = inference.cast_params(params, model=model)
    kernel = cast["identity_decoder"]["kernel"]
    self.assertEqual(kernel.dtype, jnp.bfloat16)
    self.assertEqual(params["identity_decoder"]["kernel"].dtype, jnp.float32)
    chex.assert_trees_all_equal(
      inference.reconstruct(cast, photos(), model=model),
      inference.reconstruct(params, photos(), model=model),
    )

  def test_what_computes_in_float32_stays_as_it_is(self):
    params = init_params(jax.random.key(0), MODEL, random_morphable_model())
    self.assertIs(inference.cast_params(params, model=MODEL), params)


class LoadParamsTest(absltest.TestCase):
  def test_an_export_comes_back_as_model_and_params(self):
    basis = random_morphable_model()
    params = init_params(jax.random.key(0), MODEL, basis)
    head = {"kernel": np.zeros((12, 4)), "bias": np.zeros(4)}
    folder = self.create_tempdir().full_path
    save_network(
      folder, MODEL, params | {"identity_head": head}, basis, phase="phase_3"
    )
    model, loaded = inference.load_params(folder)
    self.assertEqual(model, MODEL)
    chex.assert_trees_all_equal(loaded, params)

  def test_a_folder_without_an_export_is_refused(self):
    with self.assertRaisesRegex(FileNotFoundError, "expected the workdir"):
      inference.load_params(self.create_tempdir().full_path)


class RefusalTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.params = init_params(jax.random.key(0), MODEL, random_morphable_model())

  @parameterized.named_parameters(
    ("turned", np.zeros((1, 96, 112, 3), np.uint8), ValueError, "112, 96, 3"),
    ("grey", np.zeros((112, 96), np.uint8), ValueError, "112, 96, 3"),
    (
      "two_batches",
      np.zeros((1, 1, 112, 96, 3), np.uint8),
      ValueError,
      r"\[B, 112, 96, 3\] or \[112, 96, 3\], got \[1, 1, 112, 96, 3\]",
    ),
    ("int32", np.zeros((112, 96, 3), np.int32), TypeError, "uint8 or floating"),
    ("path", "face.png", TypeError, "expected an array.*got str"),
  )
  def test_images(self, images, error, message):
    for name in ("encode", "reconstruct", "face_embedding"):
      with self.assertRaisesRegex(error, f"images: .*{message}"):
        getattr(inference, name)(self.params, images, model=MODEL)

  def test_latents_of_another_model(self):
    latents = Latents(identity=np.zeros((2, 11)), residual=np.zeros((2, 5)))
    with self.assertRaisesRegex(ValueError, r"latents\.identity: .*I=12"):
      inference.decode(self.params, latents, model=MODEL)

  @parameterized.named_parameters(
    ("trunk", {"trunk": "sphere4"}),
    ("identity_dim", {"identity_dim": 11}),
    ("vertices", {"num_vertices": 121}),
  )
  def test_params_of_another_model(self, fields):
    with self.assertRaisesRegex(ValueError, r"params: .*FaceModel\(trunk"):
      inference.reconstruct(self.params, photos(1), model=MODEL.clone(**fields))

  def test_params_without_an_encoder(self):
    params = {k: v for k, v in self.params.items() if k != "encoder"}
    with self.assertRaisesRegex(ValueError, "params: expected"):
      inference.encode(params, photos(1), model=MODEL)


if __name__ == "__main__":
  absltest.main()
