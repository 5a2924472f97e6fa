"""The softmax head: layout, cold and warm starts."""

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.network import identity_heads


class IdentityHeadTest(absltest.TestCase):
  def test_cold_head_is_xavier_with_zero_bias(self):
    head = identity_heads.init_identity_head(
      jax.random.key(0), num_classes=300, identity_dim=48
    )
    self.assertEqual(head["kernel"].shape, (48, 300))
    bound = np.sqrt(3 / 48)
    self.assertLessEqual(np.abs(head["kernel"]).max(), bound)
    self.assertAlmostEqual(head["kernel"].std(), bound / np.sqrt(3), delta=3e-3)
    np.testing.assert_array_equal(head["bias"], np.zeros(300))

  def test_logits_against_numpy(self):
    rng = np.random.default_rng(0)
    head = {
      "kernel": rng.normal(size=(4, 6)).astype(np.float32),
      "bias": rng.normal(size=6).astype(np.float32),
    }
    codes = rng.normal(size=(3, 4)).astype(np.float32)
    expected = np.einsum("bi,ik->bk", codes, head["kernel"])
    for k in range(6):
      expected[:, k] += head["bias"][k]
    got = identity_heads.identity_logits(head, codes)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(
      identity_heads.identity_logits(head, codes[1]), expected[1], atol=1e-5
    )

  def test_class_means_against_a_loop(self):
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(40, 3)).astype(np.float32)
    labels = rng.integers(0, 5, 40).astype(np.int32)  # class 5 stays empty
    means = identity_heads.class_means(codes, labels, num_classes=6)
    for k in range(5):
      np.testing.assert_allclose(
        means[k], codes[labels == k].mean(0), atol=1e-6
      )
    np.testing.assert_array_equal(means[5], np.zeros(3))

  def test_warm_head_ranks_by_distance_to_the_means(self):
    rng = np.random.default_rng(0)
    means = rng.uniform(-1, 1, (7, 5)).astype(np.float32)
    codes = rng.uniform(-1, 1, (50, 5)).astype(np.float32)
    head = identity_heads.identity_head_from_means(means, sharpness=20.0)
    np.testing.assert_allclose(head["kernel"], 20 * means.T, rtol=1e-6)
    logits = np.asarray(identity_heads.identity_logits(head, codes))
    square = ((codes[:, None] - means[None]) ** 2).sum(-1)
    np.testing.assert_allclose(
      logits - logits[:, :1], -10 * (square - square[:, :1]), atol=1e-4
    )

  def test_refusals(self):
    with self.assertRaisesRegex(ValueError, "num_classes: expected at least 1"):
      identity_heads.init_identity_head(
        jax.random.key(0), num_classes=0, identity_dim=4
      )
    with self.assertRaisesRegex(TypeError, "key: "):
      identity_heads.init_identity_head(0, num_classes=2, identity_dim=4)
    head = {"kernel": np.zeros((4, 6)), "bias": np.zeros(6)}
    with self.assertRaisesRegex(ValueError, "codes: .*I=4"):
      identity_heads.identity_logits(head, np.zeros((2, 5)))
    with self.assertRaisesRegex(ValueError, r"head\['bias'\]: .*K=6"):
      identity_heads.identity_logits(
        head | {"bias": np.zeros(5)}, np.zeros((2, 4))
      )
    with self.assertRaisesRegex(TypeError, "labels: .*integer"):
      identity_heads.class_means(np.zeros((2, 3)), np.zeros(2), num_classes=2)
    with self.assertRaisesRegex(ValueError, "means: "):
      identity_heads.identity_head_from_means(np.zeros(3))


if __name__ == "__main__":
  absltest.main()
