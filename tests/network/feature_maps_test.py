"""Codes that see a trunk's last map beside its feature."""

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.inference import encode, prepare_params
from disentangle3d.network.face_model import FaceModel, widen_to_map
from disentangle3d.network.trunks import feature_dim, make_trunk, trunk_features
from disentangle3d.training.export import abstract_params
from tests.fixtures import random_leaves

PLAIN = FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=120)
_FEATURE = feature_dim("tiny")
# What makes the last map, and its channels.
_LAST = {"tiny": ("prelu4_1", 128), "mobile128": ("bottleneck5_3", 128)}


def crops(count=2):
  return np.random.default_rng(1).integers(
    0, 256, (count, 112, 96, 3), dtype=np.uint8
  )


class FeatureMapTest(parameterized.TestCase):
  @parameterized.named_parameters(("sphere", "tiny"), ("mobile", "mobile128"))
  def test_the_map_stands_behind_the_feature(self, trunk):
    images = np.float32(crops() / 128.0 - 1)
    params = random_leaves(abstract_params(FaceModel(trunk)))["encoder"][
      "trunk"
    ]
    layer, channels = _LAST[trunk]
    feature, state = make_trunk(trunk, "float32").apply(
      {"params": params},
      images,
      capture_intermediates=lambda module, _: module.name == layer,
    )
    last_map = np.asarray(state["intermediates"][layer]["__call__"][0])
    self.assertEqual(last_map.shape, (2, 7, 6, channels))
    seen = trunk_features(params, images, trunk=trunk, with_map=True)
    self.assertEqual(seen.shape, (2, feature_dim(trunk, with_map=True)))
    self.assertEqual(seen.shape[1], feature_dim(trunk) + 42 * channels)
    np.testing.assert_allclose(
      seen,
      np.concatenate([feature, last_map.reshape(2, -1) / 42], 1),
      atol=1e-4,
    )

  def test_a_code_sees_the_map_where_the_model_says_so(self):
    seen = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5632)))
    seen = seen.astype(jnp.float32)
    for identity, residual in ((False, True), (True, False), (True, True)):
      model = PLAIN.clone(
        identity_from_map=identity, residual_from_map=residual
      )
      heads = random_leaves(abstract_params(model))["encoder"]
      slopes = jax.jacobian(
        lambda features, model=model, heads=heads: model.apply(
          {"params": {"encoder": heads}}, features, method="encode"
        )
      )(seen)
      for slope, sees in (
        (slopes.identity, identity),
        (slopes.residual, residual),
      ):
        by_feature, by_map = np.split(np.abs(slope[0, :, 0]), [_FEATURE], 1)
        self.assertGreater(by_feature.max(), 0)
        self.assertEqual(by_map.max() > 0, sees)

  def test_winograd_sees_the_same(self):
    model = PLAIN.clone(residual_from_map=True)
    params = random_leaves(abstract_params(model))
    fast = prepare_params(params, model=model, backend="cpu")
    self.assertIsNot(fast, params)
    chex.assert_trees_all_close(
      encode(fast, crops(), model=model),
      encode(params, crops(), model=model),
      atol=1e-4,
    )

  def test_widened_a_network_computes_what_it_did(self):
    params = random_leaves(abstract_params(PLAIN))
    for model in (
      PLAIN.clone(identity_from_map=True),
      PLAIN.clone(residual_from_map=True),
      PLAIN.clone(identity_from_map=True, residual_from_map=True),
    ):
      wide = widen_to_map(params, PLAIN, model)
      chex.assert_trees_all_equal_shapes(wide, abstract_params(model))
      chex.assert_trees_all_close(
        encode(wide, crops(), model=model),
        encode(params, crops(), model=PLAIN),
        atol=1e-6,
      )
      chex.assert_trees_all_equal(widen_to_map(wide, model, model), wide)


if __name__ == "__main__":
  absltest.main()
