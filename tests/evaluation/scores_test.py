"""shape_scores and code_scores on cases whose answer is known."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.evaluation.code_scores import auc_difference, score_pairs
from disentangle3d.evaluation.pair_plans import (
  PairPlan,
  draw_pairs,
  plan_pairs,
  usual_plan,
)
from disentangle3d.evaluation.shape_scores import Method, score_shapes
from tests.fixtures import random_morphable_model


def _stored(data, rows):
  return data[0][rows], data[1][rows]


class ShapeScoresTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.model = random_morphable_model()
    rng = np.random.default_rng(0)
    mean = self.model.mean_shape[None]
    noise = rng.normal(size=(7, 120, 3)).astype(np.float32)
    self.shapes = jnp.asarray(mean + noise)
    self.identity = jnp.asarray(mean + 0 * noise)

  def _score(self, shapes, identity):
    return score_shapes(
      Method(jax.jit(_stored), (self.shapes, self.identity)),
      {"it": Method(jax.jit(_stored), (shapes, identity))},
      7,
      self.model.landmark_vertices,
      batch_size=3,
    )["it"]

  def test_the_truth_has_no_error(self):
    scores = self._score(self.shapes, self.identity)
    for name, values in vars(scores).items():
      self.assertEqual(values.shape, (7,), name)
      np.testing.assert_allclose(values, 0, atol=1e-3, err_msg=name)

  def test_size_counts_only_where_alignment_is_rigid(self):
    scores = self._score(1.1 * self.shapes, 1.1 * self.identity)
    np.testing.assert_allclose(scores.within, 0, atol=1e-3)
    np.testing.assert_allclose(scores.everywhere, 0, atol=1e-3)
    self.assertGreater(scores.within_rigid.min(), 3)
    self.assertGreater(scores.identity_within_rigid.min(), 3)

  def test_rows_of_a_table_stay_in_the_order_of_the_methods(self):
    method = Method(jax.jit(_stored), (self.shapes, self.identity))
    scores = score_shapes(
      method,
      {"third": method, "first": method, "second": method},
      7,
      self.model.landmark_vertices,
    )
    self.assertEqual(list(scores), ["third", "first", "second"])

  def test_a_photo_is_compared_with_its_own_truth(self):
    wrong = self.shapes.at[4].set(self.shapes[5])
    scores = self._score(wrong, self.identity)
    self.assertGreater(scores.within[4], 0.5)
    np.testing.assert_allclose(np.delete(scores.within, 4), 0, atol=1e-3)
    np.testing.assert_allclose(scores.identity_within, 0, atol=1e-3)


class CodeScoresTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.people = np.repeat(np.arange(20), 6).astype(np.int32)
    self.pairs = draw_pairs(self.people, PairPlan(folds=5, pairs_per_fold=60))

  def test_codes_that_name_the_person_are_perfect(self):
    codes = np.eye(20, dtype=np.float32)[self.people]
    result = score_pairs(codes, self.pairs).result
    self.assertEqual(result.auc.mean, 100)
    self.assertEqual(result.accuracy.mean, 100)

  def test_codes_of_noise_are_chance(self):
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(120, 40)).astype(np.float32)
    result = score_pairs(codes, self.pairs).result
    self.assertBetween(result.auc.mean, 40, 60)

  def test_a_code_differs_from_itself_by_nothing_and_from_chance_by_half(self):
    codes = np.eye(20, dtype=np.float32)[self.people]
    perfect = score_pairs(codes, self.pairs)
    chance = score_pairs(np.ones_like(codes), self.pairs)
    none = auc_difference(perfect, perfect, self.people)
    self.assertEqual((none.mean, none.low, none.high), (0, 0, 0))
    half = auc_difference(perfect, chance, self.people)
    self.assertEqual((half.mean, half.low, half.high), (50, 50, 50))


class PairPlanTest(absltest.TestCase):
  def test_six_people_make_three_folds_that_can_be_filled(self):
    people = np.repeat(np.arange(6), 10)
    plan = plan_pairs(people)
    self.assertEqual(plan.folds, 3)
    codes = np.eye(6, dtype=np.float32)[people]
    scored = score_pairs(codes, draw_pairs(people.astype(np.int32), plan))
    self.assertEqual(scored.result.auc.mean, 100)

  def test_three_people_cannot_be_verified(self):
    with self.assertRaisesRegex(ValueError, "at least four people.*got 3"):
      plan_pairs(np.repeat(np.arange(3), 10))

  def test_the_usual_plan_is_taken_where_every_fold_fills_it(self):
    usual = PairPlan(folds=10, pairs_per_fold=600)
    # 45 genuine pairs a person: seven people a fold.
    for count in (5, 40, 60, 69, 70, 75):
      people = np.repeat(np.arange(count), 10)
      plan = usual_plan(people, usual=usual)
      self.assertEqual(plan == usual, count >= 70, count)
      self.assertLen(set(draw_pairs(people, plan).fold), plan.folds)


if __name__ == "__main__":
  absltest.main()
