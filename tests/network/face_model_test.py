"""The composed network: sizes, layout, initial parameters, refusals."""

import dataclasses

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import flatten_basis, synthesize_shape
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network import face_model
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.sphereface import PRESETS
from disentangle3d.network.trunks import trunk_features
from disentangle3d.types import Latents
from tests.fixtures import random_morphable_model
from tests.network.sphereface_test import count_by_hand

SMALL = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=120)


def random_latents(*batch, seed=0):
  rng = np.random.default_rng(seed)
  return Latents(
    identity=rng.uniform(-1, 1, (*batch, 12)).astype(np.float32),
    residual=rng.uniform(-1, 1, (*batch, 5)).astype(np.float32),
  )


class SizeTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("sphere4", "sphere4", 32_942_525),
    ("sphere10", "sphere10", 35_599_293),
    ("sphere20", "sphere20", 43_050_685),
    ("sphere36", "sphere36", 53_158_845),
    ("sphere64", "sphere64", 68_580_541),
    ("tiny", "tiny", 21_869_837),
  )
  def test_parameter_count_at_the_papers_sizes(self, trunk, expected):
    shapes = jax.eval_shape(
      FaceModel(trunk).init,
      jax.random.key(0),
      jax.ShapeDtypeStruct((1, 112, 96, 3), jnp.float32),
    )["params"]
    feature = PRESETS[trunk].feature_dim
    by_hand = (
      count_by_hand(PRESETS[trunk])
      + (feature + 1) * (199 + 29)
      + (199 + 29 + 1) * 88_485
    )
    self.assertEqual(face_model.count_params(shapes), by_hand)
    self.assertEqual(face_model.count_params(shapes), expected)
    self.assertEqual(shapes["identity_decoder"]["kernel"].shape, (199, 88_485))
    self.assertEqual(shapes["residual_decoder"]["kernel"].shape, (29, 88_485))
    self.assertEqual(shapes["mean_shape"].shape, (29_495, 3))

  def test_the_fields_say_all_there_is(self):
    fields = {
      field.name: field.default
      for field in dataclasses.fields(FaceModel)
      if field.name not in ("parent", "name")
    }
    self.assertEqual(
      fields,
      {
        "trunk": "sphere20",
        "identity_dim": 199,
        "residual_dim": 29,
        "num_vertices": 29_495,
        "dtype": "float32",
        "identity_from_map": False,
        "residual_from_map": False,
        "template": "sphereface",
      },
    )

  def test_equal_models_hash_alike(self):
    self.assertEqual(hash(FaceModel("tiny")), hash(FaceModel(trunk="tiny")))
    self.assertEqual(FaceModel("tiny"), FaceModel(trunk="tiny"))
    self.assertNotEqual(FaceModel("tiny"), FaceModel("sphere4"))


class ApplyTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.morphable_model = random_morphable_model()
    cls.params = init_params(jax.random.key(0), SMALL, cls.morphable_model)

  def test_top_level_and_mean_shape(self):
    self.assertEqual(
      set(self.params),
      {"encoder", "identity_decoder", "residual_decoder", "mean_shape"},
    )
    self.assertEqual(
      set(self.params["encoder"]), {"trunk", "identity_fc", "residual_fc"}
    )
    np.testing.assert_array_equal(
      self.params["mean_shape"], self.morphable_model.mean_shape
    )

  def test_key_decides_everything(self):
    again = init_params(jax.random.key(0), SMALL, self.morphable_model)
    other = init_params(jax.random.key(1), SMALL, self.morphable_model)
    chex.assert_trees_all_equal(self.params, again)
    for name in ("encoder", "identity_decoder", "residual_decoder"):
      for one, two in zip(
        jax.tree.leaves(self.params[name]),
        jax.tree.leaves(other[name]),
        strict=True,
      ):
        if one.ndim > 1:
          self.assertFalse(np.array_equal(one, two))

  def test_initialisation_may_be_traced(self):
    shapes = jax.eval_shape(
      lambda key: init_params(key, SMALL, self.morphable_model),
      jax.random.key(0),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, self.params)

  def test_decoders_start_as_small_noise(self):
    for name in ("identity_decoder", "residual_decoder"):
      kernel = np.asarray(self.params[name]["kernel"])
      self.assertAlmostEqual(kernel.std(), 0.01, delta=1e-3)

  def test_encoder_does_not_start_saturated(self):
    images = np.random.default_rng(0).uniform(-1, 1, (4, 112, 96, 3))
    latents = SMALL.apply(
      {"params": self.params}, images.astype(np.float32), method="encode"
    )
    self.assertEqual(latents.identity.shape, (4, 12))
    self.assertEqual(latents.residual.shape, (4, 5))
    for code in (latents.identity, latents.residual):
      self.assertLess(np.abs(code).max(), 0.9)
      self.assertGreater(np.abs(code).max(), 0.01)

  def test_features_of_the_trunk_do_for_the_images(self):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 112, 96, 3))
    images = images.astype(np.float32)
    encoder = self.params["encoder"]
    features = trunk_features(encoder["trunk"], images, trunk=SMALL.trunk)
    heads = {k: v for k, v in encoder.items() if k != "trunk"}
    wanted, got = (
      SMALL.apply({"params": {"encoder": params}}, seen, method="encode")
      for params, seen in ((encoder, images), (heads, features))
    )
    chex.assert_trees_all_close(got, wanted, atol=1e-6)
    with self.assertRaisesRegex(ValueError, "features: expected .*256"):
      SMALL.apply({"params": self.params}, features[:, 1:], method="encode")

  def test_latents_never_leave_the_unit_interval(self):
    encoder = jax.tree.map(lambda leaf: 50 * leaf, self.params["encoder"])
    images = np.ones((1, 112, 96, 3), np.float32)
    latents = SMALL.apply(
      {"params": {"encoder": encoder}}, images, method="encode"
    )
    for code in (latents.identity, latents.residual):
      self.assertLessEqual(np.abs(code).max(), 1.0)
      self.assertGreater(np.abs(code).max(), 0.999)

  def test_decoding_zero_gives_the_mean_shape(self):
    zero = jax.tree.map(jnp.zeros_like, random_latents(2))
    faces = SMALL.apply({"params": self.params}, zero, method="decode")
    for shape in (faces.shape, faces.identity_shape):
      np.testing.assert_array_equal(
        shape, np.stack([self.morphable_model.mean_shape] * 2)
      )

  @parameterized.named_parameters(
    ("single", ()), ("batch", (3,)), ("two_axes", (2, 3))
  )
  def test_three_times_the_basis_decodes_as_the_3dmm(self, batch):
    """The optimum of phase II: latents are coefficients / 3."""
    basis = self.morphable_model
    params = {
      "mean_shape": basis.mean_shape,
      "identity_decoder": {"kernel": 3 * flatten_basis(basis.identity_basis)},
      "residual_decoder": {"kernel": 3 * flatten_basis(basis.expression_basis)},
    }
    latents = random_latents(*batch)
    faces = SMALL.apply({"params": params}, latents, method="decode")
    alpha, beta = 3 * latents.identity, 3 * latents.residual
    np.testing.assert_allclose(
      faces.shape, synthesize_shape(basis, alpha, beta), atol=1e-3
    )
    np.testing.assert_allclose(
      faces.identity_shape, synthesize_shape(basis, alpha, 0 * beta), atol=1e-3
    )

  def test_training_entries_beside_are_ignored(self):
    head = {"identity_head": {"kernel": jnp.zeros((12, 7))}}
    faces = SMALL.apply(
      {"params": self.params | head}, random_latents(1), method="decode"
    )
    self.assertEqual(faces.shape.shape, (1, 120, 3))

  def test_bfloat16_gives_float32_close_by(self):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 112, 96, 3))
    images = images.astype(np.float32)
    half = SMALL.clone(dtype="bfloat16")
    got, expected = (
      jax.jit(model.apply)({"params": self.params}, images)
      for model in (half, SMALL)
    )
    for leaf in jax.tree.leaves(got):
      self.assertEqual(leaf.dtype, jnp.float32)
    np.testing.assert_allclose(
      got.latents.identity, expected.latents.identity, atol=0.02
    )

  def test_without_a_3dmm_the_procedural_mean_shape_is_taken(self):
    model = SMALL.clone(num_vertices=1_000)
    params = init_params(jax.random.key(0), model)
    full = procedural_face_model(
      num_vertices=1_000, identity_dim=12, expression_dim=5
    )
    np.testing.assert_array_equal(params["mean_shape"], full.mean_shape)


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    ("num_vertices", {"num_vertices": 121}),
    ("identity_dim", {"identity_dim": 11}),
    ("expression_dim", {"residual_dim": 6}),
  )
  def test_3dmm_of_other_sizes(self, name, fields):
    model = SMALL.clone(**fields)
    with self.assertRaisesRegex(
      ValueError, rf"morphable_model\.{name}: expected \d+.* got \d+"
    ):
      init_params(jax.random.key(0), model, random_morphable_model())

  def test_legacy_key(self):
    with self.assertRaisesRegex(TypeError, "key: expected .*jax.random.key"):
      init_params(jax.random.PRNGKey(0), SMALL, random_morphable_model())

  def test_latents_of_other_shapes(self):
    latents = random_latents(2)
    with self.assertRaisesRegex(ValueError, r"latents\.identity: .*I=11"):
      face_model.check_latents(latents, 11, 5)
    with self.assertRaisesRegex(ValueError, r"latents\.residual: .*batch"):
      face_model.check_latents(
        latents.replace(residual=latents.residual[:1]), 12, 5
      )
    with self.assertRaisesRegex(TypeError, r"latents\.residual: .*int"):
      face_model.check_latents(
        latents.replace(residual=latents.residual.astype(np.int32)), 12, 5
      )


if __name__ == "__main__":
  absltest.main()
