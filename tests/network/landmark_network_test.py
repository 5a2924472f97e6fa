import pathlib
import tempfile

from absl.testing import absltest
import chex
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.network import landmark_network
from disentangle3d.network.landmark_files import (
  load_landmark_params,
  save_landmark_params,
)
from disentangle3d.network.landmark_network import (
  CROP_PX,
  LandmarkNetwork,
  find_points,
  mapped_crops,
  mirrored_points,
  visibility_of,
)
from disentangle3d.output_files import replace_npz


def setUpModule():
  global PARAMS, CROPS
  CROPS = jax.random.uniform(jax.random.key(0), (2, CROP_PX, CROP_PX, 3)) - 0.5
  PARAMS = LandmarkNetwork().init(jax.random.key(1), CROPS)["params"]


class LandmarkNetworkTest(absltest.TestCase):
  def test_it_is_small_and_says_all_of_every_face(self):
    self.assertLess(sum(leaf.size for leaf in jax.tree.leaves(PARAMS)), 2e6)
    found = find_points(PARAMS, CROPS)
    chex.assert_shape(found.points, (2, 68, 3))
    chex.assert_shape(found.silhouette, (2, 17, 2))
    chex.assert_shape([found.spread_px, found.visibility_logit], (2, 68))
    self.assertTrue((found.spread_px > 0).all())
    seen = visibility_of(found)
    self.assertTrue(((seen > 0) & (seen < 1)).all())

  def test_uint8_is_mapped_as_everywhere(self):
    mapped = mapped_crops(jnp.asarray([0, 255], jnp.uint8))
    np.testing.assert_allclose(mapped, [-127.5 / 128, 127.5 / 128])

  def test_mirroring_twice_changes_nothing_and_once_swaps_sides(self):
    found = find_points(PARAMS, CROPS)
    once = mirrored_points(found)
    chex.assert_trees_all_close(mirrored_points(once), found, atol=1e-4)
    right_eye, left_eye = found.points[:, 45], once.points[:, 36]
    mirrored = CROP_PX - 1 - right_eye[:, 0]
    np.testing.assert_allclose(left_eye[:, 0], mirrored, atol=1e-4)
    np.testing.assert_allclose(left_eye[:, 1:], right_eye[:, 1:])

  def test_without_evidence_nothing_moves(self):
    about = jnp.asarray([[[40.3, 51.7], [-8.0, 99.0]]])
    moves = landmark_network._moves(about, jnp.zeros((1, 24, 24, 2)))
    np.testing.assert_allclose(moves, jnp.zeros((1, 2, 2)), atol=1e-4)

  def test_normal_evidence_moves_points_to_the_product_of_two_normals(self):
    about, seen, deviation = np.array([40.0, 50.0]), np.array([47.0, 44.0]), 5.0
    cells = landmark_network._CELL_PX * np.arange(24)
    x, y = cells[None, :] - seen[0], cells[:, None] - seen[1]
    evidence = -(x**2 + y**2) / (2 * deviation**2)
    moves = landmark_network._moves(
      jnp.asarray(about, jnp.float32)[None, None],
      jnp.asarray(evidence, jnp.float32)[None, :, :, None],
    )
    trust = 1 / deviation**2
    trust /= trust + 1 / landmark_network._REACH_PX**2
    np.testing.assert_allclose(moves[0, 0], trust * (seen - about), atol=0.02)

  def test_another_size_is_refused(self):
    with self.assertRaisesRegex(ValueError, "crops: expected shape"):
      find_points(PARAMS, CROPS[:, 1:])


class LandmarkFilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "locator.npz"

  def test_params_come_back(self):
    save_landmark_params(self.path, PARAMS, precision="float32")
    chex.assert_trees_all_equal(load_landmark_params(self.path), PARAMS)
    save_landmark_params(self.path, PARAMS)
    chex.assert_trees_all_close(
      load_landmark_params(self.path), PARAMS, rtol=1e-3, atol=1e-6
    )

  def test_layers_that_a_file_lacks_start_afresh(self):
    older = {k: v for k, v in PARAMS.items() if k != "evidence"}
    save_landmark_params(self.path, older, precision="float32")
    with self.assertRaisesRegex(ValueError, "evidence.*got nothing"):
      load_landmark_params(self.path)
    fresh = jax.tree.map(jnp.ones_like, PARAMS)
    loaded = load_landmark_params(self.path, fresh=fresh)
    chex.assert_trees_all_equal(loaded["evidence"], fresh["evidence"])
    chex.assert_trees_all_equal(loaded["hidden"], PARAMS["hidden"])

  def test_what_is_no_such_file_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "locator.npz"):
      load_landmark_params(self.path)
    replace_npz(self.path, {"about": np.array("{}")})
    with self.assertRaisesRegex(ValueError, "expected .* got nothing"):
      load_landmark_params(self.path)
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), PARAMS)
    save_landmark_params(self.path, broken)
    with self.assertRaisesRegex(ValueError, "finite"):
      load_landmark_params(self.path)


if __name__ == "__main__":
  absltest.main()
