from absl.testing import absltest, parameterized
import numpy as np
import scipy.optimize

from disentangle3d.evaluation import lower_bound
from disentangle3d.evaluation.icp import similarity
from disentangle3d.evaluation.reconstruction import shape_error
from tests.fixtures import random_morphable_model


def _projector(model):
  basis = np.concatenate([model.identity_basis, model.expression_basis], -1)
  return lower_bound.make_projector(
    model.mean_shape, basis, model.landmark_vertices
  )


def _score(projector, coefficients, truth, with_scale):
  """liu2018 written out, for any coefficients."""
  shape = (projector.mean + coefficients @ projector.basis).reshape(-1, 3)
  marks = projector.landmark_vertices
  motion = similarity(shape[marks], truth[marks], with_scale=with_scale)
  inside = np.linalg.norm(truth - truth[projector.nose_tip], axis=1) <= 95
  away = np.linalg.norm(motion.apply(shape) - truth, axis=1)
  return np.sqrt(np.mean(away[inside] ** 2))


class ProjectTruthTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.model = random_morphable_model(
      num_vertices=150, identity_dim=6, expression_dim=3
    )
    self.projector = _projector(self.model)
    rng = np.random.default_rng(1)
    span = 1.5 * rng.normal(size=9) @ self.projector.basis
    self.in_span = (self.projector.mean + span).reshape(-1, 3)
    self.truth = self.in_span + 2 * rng.normal(size=(150, 3))

  def test_a_shape_of_the_model_has_no_error_wherever_it_stands(self):
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    moved = self.in_span @ turn.T + [9.0, -30, 4]
    found = lower_bound.project_truth(self.projector, moved, with_scale=False)
    self.assertLess(found.rmse_mm, 1e-6)
    self.assertTrue(found.converged)

  @parameterized.parameters(True, False)
  def test_equal_to_a_general_minimiser_of_the_protocols_score(self, scale):
    found = lower_bound.project_truth(
      self.projector, self.truth, with_scale=scale
    )
    oracle = scipy.optimize.minimize(
      lambda c: _score(self.projector, c, self.truth, scale), np.zeros(9)
    )
    self.assertAlmostEqual(found.rmse_mm, oracle.fun, delta=2e-3)
    self.assertLess(found.iterations, 15)

  def test_it_is_what_the_protocol_itself_measures(self):
    for protocol, scale in (("liu2018", True), ("liu2018_rigid", False)):
      found = lower_bound.project_truth(
        self.projector, self.truth, with_scale=scale
      )
      error = shape_error(
        found.shape.astype(np.float32),
        self.truth.astype(np.float32),
        landmark_vertices=self.model.landmark_vertices,
        protocol=protocol,
      )
      self.assertAlmostEqual(float(error.rmse_mm), found.rmse_mm, places=4)

  def test_a_mode_that_is_nearly_size_costs_nothing(self):
    # The alignment undoes it but for a rest: undamped steps along it are wild.
    size = 0.1 * (self.model.mean_shape - self.model.mean_shape.mean(0))
    rest = 1e-3 * np.random.default_rng(4).normal(size=(150, 3))
    basis = np.concatenate(
      [self.model.identity_basis, (size + rest)[..., None]], -1
    ).astype(np.float32)
    more = lower_bound.make_projector(
      self.model.mean_shape, basis, self.model.landmark_vertices
    )
    fewer = lower_bound.make_projector(
      self.model.mean_shape,
      self.model.identity_basis,
      self.model.landmark_vertices,
    )
    for truth in (self.truth, 1.3 * self.truth, 0.8 * self.truth):
      scaled = lower_bound.project_truth(more, truth).rmse_mm
      without = lower_bound.project_truth(fewer, truth).rmse_mm
      self.assertLess(scaled, without + 1e-3)

  def test_no_shape_of_the_model_scores_better(self):
    found = lower_bound.project_truth(self.projector, self.truth)
    rng = np.random.default_rng(3)
    for size in (0.01, 0.1, 1.0):
      for _ in range(20):
        other = found.coefficients + size * rng.normal(size=9)
        score = _score(self.projector, other, self.truth, True)
        self.assertGreater(score, found.rmse_mm - 1e-3)

  def test_more_modes_never_score_worse(self):
    fewer = lower_bound.make_projector(
      self.model.mean_shape,
      self.model.identity_basis,
      self.model.landmark_vertices,
    )
    least, more = (
      lower_bound.project_truth(p, self.truth).rmse_mm
      for p in (self.projector, fewer)
    )
    self.assertLess(least, more)

  def test_errors_name_the_argument(self):
    with self.assertRaisesRegex(ValueError, r"truth: .*\[150, 3\].*149"):
      lower_bound.project_truth(self.projector, self.truth[1:])
    marks = np.where(np.arange(68) == 30, -1, self.model.landmark_vertices)
    with self.assertRaisesRegex(ValueError, "landmark_vertices: .*nose tip"):
      lower_bound.make_projector(
        self.model.mean_shape, self.model.identity_basis, marks
      )


if __name__ == "__main__":
  absltest.main()
