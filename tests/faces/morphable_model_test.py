import pathlib

from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces import morphable_model as mm
from tests.fixtures import random_morphable_model


class SynthesisTest(absltest.TestCase):
  def test_shape_is_mean_plus_both_bases(self):
    model = random_morphable_model()
    rng = np.random.default_rng(0)
    alpha = rng.normal(size=(2, 3, 12)).astype(np.float32)
    beta = rng.normal(size=(2, 3, 5)).astype(np.float32)
    oracle = (
      model.mean_shape
      + np.einsum("vdi,...i->...vd", model.identity_basis, alpha)
      + np.einsum("vde,...e->...vd", model.expression_basis, beta)
    )
    got = mm.synthesize_shape(model, jnp.asarray(alpha), jnp.asarray(beta))
    np.testing.assert_allclose(got, oracle, atol=1e-3)

  def test_no_coefficients_are_the_mean(self):
    model = random_morphable_model()
    got = mm.synthesize_shape(model, jnp.zeros(12), jnp.zeros(5))
    np.testing.assert_array_equal(got, model.mean_shape)

  def test_the_closest_coefficients_are_those_that_made_the_shape(self):
    model = random_morphable_model()
    rng = np.random.default_rng(4)
    alpha = rng.normal(size=(3, model.identity_dim)).astype(np.float32)
    beta = rng.normal(size=(3, model.expression_dim)).astype(np.float32)
    neutral = mm.synthesize_shape(model, alpha, np.zeros_like(beta))
    shape = mm.synthesize_shape(model, alpha, beta)
    away = neutral - model.mean_shape[None]
    np.testing.assert_allclose(
      mm.closest_coefficients(model.identity_basis, away), alpha, atol=1e-4
    )
    np.testing.assert_allclose(
      mm.closest_coefficients(model.expression_basis, shape - neutral),
      beta,
      atol=1e-4,
    )
    # What no identity explains moves nothing.
    basis = np.asarray(model.identity_basis).reshape(-1, model.identity_dim)
    other = rng.normal(size=len(basis))
    other -= basis @ np.linalg.lstsq(basis, other)[0]
    np.testing.assert_allclose(
      mm.closest_coefficients(
        model.identity_basis, np.asarray(away[0]) + other.reshape(-1, 3)
      ),
      alpha[0],
      atol=1e-4,
    )
    with self.assertRaisesRegex(ValueError, "displacement"):
      mm.closest_coefficients(model.identity_basis, np.zeros((3, 3)))

  def test_truncation_keeps_the_first_modes(self):
    model = mm.truncate_modes(random_morphable_model(), 4, 2)
    self.assertEqual((model.identity_dim, model.expression_dim), (4, 2))
    np.testing.assert_array_equal(
      model.identity_basis, random_morphable_model().identity_basis[..., :4]
    )

  def test_truncation_cuts_what_belongs_to_the_modes(self):
    rng = np.random.default_rng(0)
    mixing, samples = rng.normal(size=(7, 5)), rng.normal(size=(9, 5))
    whole = random_morphable_model().replace(
      expression_mixing=mixing, expression_samples=samples
    )
    model = mm.truncate_modes(whole, 4, 2)
    np.testing.assert_array_equal(model.expression_mixing, mixing[:, :2])
    np.testing.assert_array_equal(model.expression_samples, samples[:, :2])
    self.assertIsNone(mm.without_modes(whole).expression_samples)

  def test_wrong_sizes_are_named(self):
    model = random_morphable_model()
    with self.assertRaisesRegex(ValueError, "identity_coefficients.*I=12"):
      mm.synthesize_shape(model, jnp.zeros((2, 11)), jnp.zeros((2, 5)))
    with self.assertRaisesRegex(ValueError, r"batch dimensions \[2\]"):
      mm.synthesize_shape(model, jnp.zeros((2, 12)), jnp.zeros((3, 5)))
    with self.assertRaisesRegex(ValueError, "identity_dim: expected 1 to 12"):
      mm.truncate_modes(model, 13, 5)


class FileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    self.path = self.folder / "model.npz"

  def test_round_trip(self):
    model = random_morphable_model().replace(
      mirror_vertices=np.arange(120, dtype=np.int32),
      expression_samples=np.eye(5, dtype=np.float32)[:3],
    )
    mm.save_morphable_model(self.path, model)
    back = mm.load_morphable_model(self.path)
    for field in (
      "mean_shape",
      "identity_basis",
      "triangles",
      "mirror_vertices",
      "expression_samples",
    ):
      np.testing.assert_array_equal(getattr(back, field), getattr(model, field))
    self.assertEqual(back.licence, "Apache-2.0")
    self.assertIsNone(back.expression_mixing)
    self.assertEqual([p.name for p in self.folder.iterdir()], ["model.npz"])

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "model.npz: no such file"):
      mm.load_morphable_model(self.path)

  def test_a_truncated_file_is_named(self):
    mm.save_morphable_model(self.path, random_morphable_model())
    content = self.path.read_bytes()
    for size in (0, 3, 200, len(content) // 2, len(content) - 1):
      self.path.write_bytes(content[:size])
      with self.assertRaisesRegex(ValueError, "model.npz: expected"):
        mm.load_morphable_model(self.path)

  def test_a_damaged_array_is_named(self):
    mm.save_morphable_model(self.path, random_morphable_model())
    content = bytearray(self.path.read_bytes())
    content[1000:1016] = bytes(16)
    self.path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, "model.npz: "):
      mm.load_morphable_model(self.path)

  def test_a_pickle_inside_is_refused(self):
    np.savez(self.path, mean_shape=np.array([{"a": 1}], object))
    with self.assertRaisesRegex(ValueError, "model.npz: expected"):
      mm.load_morphable_model(self.path)

  def test_another_npz_is_refused(self):
    np.savez(self.path, mean_shape=np.zeros((3, 3), np.float32))
    with self.assertRaisesRegex(ValueError, "without about, expression_basis"):
      mm.load_morphable_model(self.path)

  @parameterized.named_parameters(
    ("nan", {"mean_shape": np.full((120, 3), np.nan, np.float32)}, "NaN"),
    ("vertex", {"triangles": np.full((9, 3), 120, np.int32)}, "from 0 to 119"),
    ("size", {"identity_basis": np.zeros((119, 3, 4), np.float32)}, "V=120"),
    ("landmarks", {"landmark_vertices": np.zeros(67, np.int32)}, r"\[68\]"),
    (
      "mirror",
      {"mirror_vertices": np.roll(np.arange(120), 1).astype(np.int32)},
      "involution",
    ),
  )
  def test_an_invalid_model_is_not_written(self, change, message):
    model = random_morphable_model().replace(**change)
    with self.assertRaisesRegex(ValueError, message):
      mm.save_morphable_model(self.path, model)
    self.assertEmpty(list(self.folder.iterdir()))


if __name__ == "__main__":
  absltest.main()
