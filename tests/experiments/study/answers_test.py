from absl.testing import absltest
import numpy as np

from experiments.configs import paper_scale
from experiments.study.answers import figures_table
from experiments.study.results import changes_mm, outside_share
from experiments.study.variants import PAPER, VARIANTS, config_of
from experiments.training.phases import phases_of


class AnswersTest(absltest.TestCase):
  def test_seeds_are_averaged(self):
    table = figures_table(
      {0: {"a": {"x": 1.0}, "b": {"x": 5.0}}, 1: {"a": {"x": 3.0}}}
    )
    self.assertEqual(
      [tuple(row) for row in table.rows],
      [("a", 2, "2.00 ± 1.41"), ("b", 1, "5.00")],
    )


class DecodersTest(absltest.TestCase):
  def test_share_outside_a_span_is_pythagoras(self):
    modes = np.eye(6)[:2] * [[3.0], [0.1]]
    inside, outside = (
      np.float32([4, 2, 0, 0, 0, 0]),
      np.float32([0, 0, 1, 0, 2, 0]),
    )
    self.assertAlmostEqual(outside_share(inside[None], modes), 0, places=5)
    self.assertAlmostEqual(outside_share(outside[None], modes), 100, places=5)
    both = np.stack([inside + outside, inside])
    self.assertAlmostEqual(
      outside_share(both, modes), 100 * 5 / (5 + 20 + 20), places=5
    )

  def test_changes_are_of_a_vertex_a_standard_deviation(self):
    kernels = np.zeros((2, 12), np.float32), np.ones((1, 12), np.float32)
    # Every vertex of the first column 3 latents' worth of (6, 3, 6) mm.
    moved = kernels[0].copy()
    moved[0] = np.tile([6.0, 3.0, 6.0], 4)
    identity, residual = changes_mm(kernels, (moved, kernels[1]))
    self.assertAlmostEqual(identity, np.sqrt((3**2 + 0) / 2), places=5)
    self.assertEqual(residual, 0)
    self.assertIsNone(changes_mm(kernels, (moved[:1], kernels[1])))


class VariantsTest(absltest.TestCase):
  def test_each_changes_what_it_says_and_nothing_else(self):
    config = paper_scale.with_steps(paper_scale.get_config(), 5_000)
    before = config.to_json()
    phases = {
      name: phases_of(config_of(variant, config))
      for name, variant in VARIANTS.items()
    }
    self.assertEqual(config.to_json(), before)
    paper = phases[PAPER]
    for name, found in phases.items():
      self.assertEqual(
        [p.name for p in found],
        [
          p.name
          for p in (paper if VARIANTS[name].own_pretraining else paper[2:])
        ],
      )
      # The same number of steps in the same order.
      for a, b in zip(found[-2:], paper[-2:], strict=True):
        self.assertEqual((a.steps, a.seed), (b.steps, b.seed))
    self.assertNotIn("identification", phases["no_identification"][0].weights)
    self.assertEqual(phases["identity_shape"][0].weights["identity_shape"], 0.5)
    self.assertEqual(phases["arcface"][0].head.kind, "arcface")
    self.assertEqual(phases["a_softmax"][0].head.kind, "a_softmax")
    for phase in phases["no_residual"]:
      self.assertNotIn("residual_decoder", phase.optimizers)
      self.assertNotIn("residual_decoder", phase.weights)
    self.assertEqual(phases["latents99"], paper)
    self.assertEqual(phases["true_shape"], paper)

  def test_epochs_are_the_same_at_every_scale(self):
    config = paper_scale.get_config()
    for photos in (489, 5_000, 488_848):
      scaled = paper_scale.with_steps(config, photos)
      for name, epochs in config.epochs.items():
        phase = scaled.phases[name]
        seen = phase.steps * phase.batch_size
        self.assertBetween(
          seen, epochs * photos - phase.batch_size, epochs * photos
        )


if __name__ == "__main__":
  absltest.main()
