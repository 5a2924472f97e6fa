import functools
import pathlib

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from disentangle3d.types import CASIA_NUM_IMAGES
from experiments.configs import paper_scale
from experiments.study.order import steps_by_worth
from experiments.study.plan import (
  PLAN,
  Budget,
  Rates,
  expected_seconds,
  keep_plan,
  kept_plan,
  plan_of,
  scale_for,
  setting_of,
)
from experiments.study.stages import open_study
from experiments.study.variants import VARIANTS

# As an H200 is thought to be, and as two cores are with the tiny trunk.
_GPU = Rates(render=5e-4, fit=2e-4, step=5e-5, compile=10)
_CPU = Rates(render=0.015, fit=0.002, step=0.004, compile=8)


class ScaleTest(parameterized.TestCase):
  @parameterized.parameters(
    (_GPU, 540), (_GPU, 5_000), (_CPU, 3_600), (_CPU, 7_200)
  )
  def test_the_core_fits_and_the_first_result_surely(self, rates, seconds):
    config = paper_scale.get_config()
    scale = scale_for(rates, config, seconds)

    def whole(scale):
      expected = expected_seconds(rates, config, scale * CASIA_NUM_IMAGES)
      return sum(expected.values()) + expected["evaluation"]

    self.assertLessEqual(whole(scale), seconds)
    if scale < 1:
      self.assertGreater(whole(1.12 * scale), seconds)
    expected = expected_seconds(rates, config, scale * CASIA_NUM_IMAGES)
    control = expected.pop("training, no_identification,")
    self.assertGreater(control, 0)
    self.assertLess(4 / 3 * sum(expected.values()), seconds)

  def test_of_too_little_time_the_least_is_made_and_never_more_than_all(self):
    config = paper_scale.get_config()
    self.assertLess(scale_for(_CPU, config, 10), 1e-4)
    self.assertGreater(scale_for(_CPU, config, 10), 0)
    self.assertEqual(scale_for(_GPU, config, 1e6), 1)

  def test_every_epoch_of_every_phase_is_counted(self):
    config = paper_scale.get_config()
    only_steps = Rates(0, 0, 1, 0)
    scaled = paper_scale.with_steps(config, 10_000)
    steps = {n: p.steps * p.batch_size for n, p in scaled.phases.items()}
    expected = expected_seconds(only_steps, config, 10_000)
    self.assertAlmostEqual(
      expected["training, paper,"] / sum(steps.values()), 1, delta=0.01
    )


class PlanTest(absltest.TestCase):
  def test_it_is_kept_and_damage_is_named(self):
    workdir = pathlib.Path(self.create_tempdir().full_path)
    self.assertIsNone(kept_plan(workdir))
    config = paper_scale.get_config()
    plan = plan_of(_GPU, config, setting=setting_of(config, 9), scale=0.25)
    keep_plan(workdir, plan)
    self.assertEqual(kept_plan(workdir), plan)
    (workdir / PLAN).write_text("{}")
    with self.assertRaisesRegex(ValueError, "plan.json: expected a plan"):
      kept_plan(workdir)

  def test_a_budget_ends(self):
    now = [5.0]
    budget = Budget(2, clock=lambda: now[0])
    now[0] = 65.0
    self.assertEqual((budget.limited, budget.left), (True, 60.0))
    self.assertEqual(Budget(0).left, np.inf)
    self.assertFalse(Budget(0).limited)


class OrderTest(absltest.TestCase):
  def test_what_is_worth_most_comes_first(self):
    said = [str(step) for step in steps_by_worth(list(VARIANTS)[:3], (60, 500))]
    self.assertEqual(
      said,
      [
        "fit paper",
        "train paper",
        "evaluate on 60 people",
        "fit no_identification",
        "train no_identification",
        "evaluate on 60 people",
        "evaluate on 500 people",
        "fit identity_shape",
        "train identity_shape",
        "evaluate on 500 people",
      ],
    )


class RatesTest(absltest.TestCase):
  @pytest.mark.slow
  def test_everything_takes_time_and_the_scale_follows(self):
    config = paper_scale.get_config()
    config.model.trunk, config.batch_size = "tiny", 8
    opened = functools.partial(
      open_study,
      self.create_tempdir().full_path + "/study",
      config,
      scale=None,
      morphable_model=None,
      num_vertices=500,
      test_people=4,
      world_seed=0,
    )
    study = opened(budget=Budget(30))
    rates = study.plan.rates
    for name in ("render", "fit", "step", "compile"):
      self.assertGreater(getattr(rates, name), 0)
    # Compiling is apart: a photo does not take what a program does.
    self.assertGreater(rates.compile, 20 * max(rates.render, rates.step))
    self.assertEqual(study.scale, study.plan.scale)
    self.assertBetween(study.scale, 1e-5, 1)
    # The same command has the same people, without measuring again.
    again = opened(budget=Budget(1))
    self.assertEqual(again.plan, study.plan)
    np.testing.assert_array_equal(again.people.counts, study.people.counts)


if __name__ == "__main__":
  absltest.main()
