from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial

from disentangle3d.evaluation import reconstruction as rec
from tests.fixtures import random_morphable_model


def _kabsch(source, target, with_scale):
  """The textbook alignment by SVD (Kabsch, Umeyama), in float64."""
  x, y = source - source.mean(0), target - target.mean(0)
  u, singular, vt = np.linalg.svd(y.T @ x)
  sign = np.array([1, 1, np.linalg.det(u) * np.linalg.det(vt)])
  rotation = (u * sign) @ vt
  scale = (singular * sign).sum() / (x**2).sum() if with_scale else 1.0
  return scale, rotation, target.mean(0) - scale * rotation @ source.mean(0)


def _random_rotation(rng):
  q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
  return q * np.linalg.det(q)


def _pair(seed=0, batch=3):
  """True faces, predictions with a random motion, landmark vertices."""
  rng = np.random.default_rng(seed)
  model = random_morphable_model(num_vertices=300)
  truth = model.mean_shape + rng.normal(size=(batch, 300, 3))
  predicted = np.stack(
    [
      1.2 * shape @ _random_rotation(rng).T + rng.normal(size=3) * 20
      for shape in truth + 2 * rng.normal(size=truth.shape)
    ]
  )
  return (
    predicted.astype(np.float32),
    truth.astype(np.float32),
    np.asarray(model.landmark_vertices),
  )


_jitted = jax.jit(rec.shape_error, static_argnames=("protocol", "radius_mm"))


def _error(predicted, truth, marks, **options):
  return _jitted(predicted, truth, landmark_vertices=marks, **options)


class OracleTest(parameterized.TestCase):
  @parameterized.parameters(("liu2018", True), ("liu2018_rigid", False))
  def test_equal_to_the_protocol_written_out(self, protocol, with_scale):
    predicted, truth, marks = _pair()
    marks = marks.copy()
    marks[[0, 5, 60]] = -1
    got = _error(predicted, truth, marks, protocol=protocol)
    known = marks[marks >= 0]
    for i in range(3):
      p, t = predicted[i].astype(np.float64), truth[i].astype(np.float64)
      scale, rotation, shift = _kabsch(p[known], t[known], with_scale)
      distance = np.linalg.norm(scale * p @ rotation.T + shift - t, axis=1)
      inside = np.linalg.norm(t - t[marks[30]], axis=1) <= 95
      self.assertBetween(inside.sum(), 30, 280)
      np.testing.assert_allclose(got.distance_mm[i], distance, atol=1e-3)
      np.testing.assert_array_equal(got.inside[i], inside)
      n, square = inside.sum(), (distance[inside] ** 2).sum()
      for value, oracle in (
        (got.rmse_mm, np.sqrt(square / n)),
        (got.rmse_all_mm, np.sqrt((distance**2).mean())),
        (got.mean_distance_mm, distance[inside].mean()),
        (got.printed_formula_mm, np.sqrt(square) / n),
      ):
        np.testing.assert_allclose(value[i], oracle, rtol=1e-4)

  def test_equal_to_scipys_procrustes_where_all_vertices_are_landmarks(self):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(68, 3)) * 40
    predicted = (
      0.7 * (truth + rng.normal(size=(68, 3))) @ _random_rotation(rng).T
    )
    _, _, disparity = scipy.spatial.procrustes(truth, predicted)
    spread = ((truth - truth.mean(0)) ** 2).sum()
    got = _error(
      predicted.astype(np.float32)[None],
      truth.astype(np.float32)[None],
      np.arange(68),
    )
    # SciPy's disparity is the sum of squares over the truth's spread.
    np.testing.assert_allclose(
      got.rmse_all_mm[0], np.sqrt(disparity * spread / 68), rtol=1e-4
    )

  def test_radius_by_hand(self):
    """Points at 0, 10 and 20 mm from the nose tip, off by 0, 0, 3 mm."""
    rng = np.random.default_rng(2)
    truth = np.concatenate(
      [[[0, 0, 0], [10, 0, 0], [0, 20, 0]], rng.normal(size=(67, 3)) * 9 + 90]
    )
    predicted = truth.copy()
    predicted[2, 1] += 3
    marks = np.concatenate([np.arange(3, 33), [0], np.arange(33, 70)])
    for radius, rmse in ((5.0, 0.0), (10.5, 0.0), (21.0, 3 / np.sqrt(3))):
      got = _error(
        predicted[None].astype(np.float32),
        truth[None].astype(np.float32),
        marks,
        protocol="liu2018_rigid",
        radius_mm=radius,
      )
      np.testing.assert_allclose(got.rmse_mm, [rmse], atol=1e-3)


class InvarianceTest(parameterized.TestCase):
  @parameterized.product(
    protocol=["liu2018", "liu2018_rigid"], moved=["both", "predicted"]
  )
  def test_rigid_motion_changes_nothing(self, protocol, moved):
    predicted, truth, marks = _pair()
    rng = np.random.default_rng(3)
    rotation = _random_rotation(rng).astype(np.float32)
    shift = np.float32([30, -20, 50])
    before = _error(predicted, truth, marks, protocol=protocol)
    after = _error(
      predicted @ rotation.T + shift,
      truth @ rotation.T + shift if moved == "both" else truth,
      marks,
      protocol=protocol,
    )
    np.testing.assert_allclose(after.rmse_mm, before.rmse_mm, rtol=1e-4)
    np.testing.assert_allclose(after.distance_mm, before.distance_mm, atol=2e-3)

  def test_only_the_similarity_forgives_a_wrong_size(self):
    _, truth, marks = _pair()
    similar = _error(1.1 * truth, truth, marks)
    rigid = _error(1.1 * truth, truth, marks, protocol="liu2018_rigid")
    np.testing.assert_allclose(similar.rmse_all_mm, 0, atol=1e-3)
    self.assertGreater(float(jnp.min(rigid.rmse_all_mm)), 5.0)

  def test_order_of_samples_is_kept_and_samples_do_not_mix(self):
    predicted, truth, marks = _pair()
    together = _error(predicted, truth, marks)
    for i in range(3):
      alone = _error(predicted[i], truth[i], marks)
      self.assertEqual(alone.rmse_mm.shape, ())
      np.testing.assert_allclose(alone.rmse_mm, together.rmse_mm[i], rtol=1e-4)

  def test_eager_equals_jit_equals_vmap(self):
    predicted, truth, marks = _pair()
    eager = rec.shape_error(predicted, truth, landmark_vertices=marks)

    def error(predicted, truth, marks):
      return rec.shape_error(predicted, truth, landmark_vertices=marks)

    jitted = jax.jit(error)(predicted, truth, marks)
    mapped = jax.vmap(error, (0, 0, None))(predicted, truth, marks)
    for other in (jitted, mapped):
      chex.assert_trees_all_close(eager, other, atol=5e-4, rtol=1e-7)


class ExtensionAndErrorTest(parameterized.TestCase):
  def test_a_protocol_is_a_value(self):
    predicted, truth, marks = _pair()
    unaligned = rec.Protocol(
      name="unaligned, whole face",
      align=lambda predicted, truth, marks: predicted,
      distance=rec.vertex_distance,
      region=lambda truth, marks, radius: jnp.ones(truth.shape[:-1], bool),
    )
    got = _error(predicted, truth, marks, protocol=unaligned)
    oracle = np.linalg.norm(predicted - truth, axis=-1)
    np.testing.assert_allclose(got.distance_mm, oracle, rtol=1e-4)
    np.testing.assert_allclose(got.rmse_mm, got.rmse_all_mm, rtol=1e-5)

  def test_without_a_nose_tip_nothing_is_measured(self):
    predicted, truth, marks = _pair()
    marks = np.where(np.arange(68) == 30, -1, marks)
    got = _error(predicted, truth, marks)
    self.assertTrue(np.isnan(np.asarray(got.rmse_mm)).all())
    self.assertTrue(np.isfinite(np.asarray(got.rmse_all_mm)).all())

  def test_errors_name_the_argument(self):
    predicted, truth, marks = _pair()
    with self.assertRaisesRegex(ValueError, "predicted: .*V=300.*299"):
      _error(predicted[:, 1:], truth, marks)
    with self.assertRaisesRegex(ValueError, r"predicted: .*\[3, 300.*\[2, 300"):
      _error(predicted[:2], truth, marks)
    with self.assertRaisesRegex(ValueError, "landmark_vertices: .*68"):
      _error(predicted, truth, marks[:5])
    with self.assertRaisesRegex(TypeError, "landmark_vertices: .*integer"):
      _error(predicted, truth, marks.astype(np.float32))
    with self.assertRaisesRegex(
      ValueError, "liu2018, liu2018_rigid, deng2019, .*got 'x'"
    ):
      _error(predicted, truth, marks, protocol="x")
    with self.assertRaisesRegex(ValueError, "radius_mm: .* got -1"):
      _error(predicted, truth, marks, radius_mm=-1.0)


if __name__ == "__main__":
  absltest.main()
