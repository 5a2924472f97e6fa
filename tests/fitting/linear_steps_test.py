from absl.testing import absltest, parameterized
import jax
import numpy as np

from disentangle3d.fitting.linear_steps import (
  conjugate_gradient,
  landmark_basis,
  quadratic_step,
)
from tests.fixtures import random_morphable_model


def _problem(*, seed: int = 0):
  """Two subjects, three images: axes, weights, residuals."""
  rng = np.random.default_rng(seed)
  axes = rng.normal(size=(2, 3, 2, 3)).astype("f")
  weights = (rng.random((2, 3, 68)) > 0.3).astype("f")
  residuals = rng.normal(size=(2, 3, 2, 68)).astype("f")
  return axes, weights, residuals


class QuadraticStepTest(parameterized.TestCase):
  def _solve(self, basis, metric, force, start, prior):
    got = jax.jit(
      lambda *arrays: quadratic_step(
        *arrays, prior=prior, tolerance=1e-6, max_iterations=200
      )
    )(basis, metric, force, start)
    return np.asarray(got)

  @parameterized.parameters(2.25, 0.0)
  def test_expressions_are_the_least_squares_of_each_image(self, prior):
    basis = np.asarray(landmark_basis(random_morphable_model()).expression)
    axes, weights, residuals = _problem()
    start = np.random.default_rng(1).normal(size=(2, 3, 5)).astype("f")
    metric = np.einsum("snai,snaj,snl->snijl", axes, axes, weights)
    force = np.einsum("snai,snl,snal->snil", axes, weights, residuals)
    got = self._solve(basis, metric, force, start, prior)
    for s, n in np.ndindex(2, 3):
      root = np.sqrt(weights[s, n])[None, :, None]
      columns = root * np.einsum("ai,cil->alc", axes[s, n], basis)
      rows = np.concatenate(
        [columns.reshape(-1, 5), np.sqrt(prior) * np.eye(5)]
      ).astype(float)
      target = (root[..., 0] * residuals[s, n]).ravel()
      rhs = np.concatenate([target, -np.sqrt(prior) * start[s, n]])
      step = np.linalg.lstsq(rows, rhs, rcond=None)[0]
      np.testing.assert_allclose(got[s, n] - start[s, n], step, atol=1e-4)

  @parameterized.parameters(2.25, 0.0)
  def test_identity_is_the_least_squares_over_all_images(self, prior):
    basis = np.asarray(landmark_basis(random_morphable_model()).identity)
    axes, weights, residuals = _problem(seed=2)
    start = np.random.default_rng(3).normal(size=(2, 12)).astype("f")
    metric = np.einsum("snai,snaj,snl->sijl", axes, axes, weights)
    force = np.einsum("snai,snl,snal->sil", axes, weights, residuals)
    got = self._solve(basis, metric, force, start, prior)
    for s in range(2):
      root = np.sqrt(weights[s])[:, None, :, None]
      columns = root * np.einsum("nai,cil->nalc", axes[s], basis)
      rows = columns.reshape(-1, 12).astype(float)
      normal = rows.T @ rows + prior * np.eye(12)
      rhs = rows.T @ (root[..., 0] * residuals[s]).ravel() - prior * start[s]
      step = np.linalg.solve(normal, rhs)
      np.testing.assert_allclose(got[s] - start[s], step, atol=1e-4)


class ConjugateGradientTest(absltest.TestCase):
  def test_a_system_does_not_depend_on_its_batch(self):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(9, 9)).astype("f")
    matrix = factor @ factor.T
    rhs = rng.normal(size=(5, 9)).astype("f")
    rhs[3] = 0
    rhs[4] *= 1e6

    def solve(rhs):
      return conjugate_gradient(
        lambda x: x @ matrix,
        rhs,
        np.ones_like(rhs),
        tolerance=1e-3,
        max_iterations=50,
      )

    together = np.asarray(solve(rhs))
    alone = np.concatenate([solve(rhs[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(together[3], np.zeros(9))

  def test_stops_where_nothing_is_curved(self):
    with jax.debug_nans(True):
      got = conjugate_gradient(
        lambda x: 0 * x,
        np.ones((2, 3), np.float32),
        np.ones((2, 3), np.float32),
        tolerance=1e-3,
        max_iterations=5,
      )
    np.testing.assert_array_equal(got, np.zeros((2, 3)))


class LandmarkBasisTest(absltest.TestCase):
  def test_centroids_and_missing_landmarks(self):
    model = random_morphable_model()
    vertices = np.array(model.landmark_vertices)
    vertices[5] = -1
    basis = landmark_basis(model.replace(landmark_vertices=vertices))
    np.testing.assert_array_equal(basis.mask, np.arange(68) != 5)
    kept = np.delete(np.arange(68), 5)
    expected = np.asarray(model.identity_basis)[vertices[kept]]
    got = np.asarray(basis.identity)[..., kept]
    whole = got + np.asarray(basis.identity_centroid)[..., None]
    np.testing.assert_allclose(whole, expected.transpose(2, 1, 0), atol=1e-5)
    np.testing.assert_allclose(got.mean(-1), np.zeros((12, 3)), atol=1e-5)
    np.testing.assert_array_equal(basis.mean[:, 5], np.zeros(3))

  def test_wrong_number_of_landmarks_is_named(self):
    model = random_morphable_model().replace(
      landmark_vertices=np.zeros(5, np.int32)
    )
    with self.assertRaisesRegex(
      ValueError, r"model.landmark_vertices: expected shape \[68\], got \[5\]"
    ):
      landmark_basis(model)


if __name__ == "__main__":
  absltest.main()
