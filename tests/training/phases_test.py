import dataclasses

from absl.testing import absltest, parameterized
import jax.numpy as jnp

from disentangle3d.training.phases import (
  Plateau,
  initial_plateau,
  is_saturated,
  split_params,
  update_plateau,
  without_residual,
)
from tests.training.cases import ADAM, tiny_phases


class PlateauTest(parameterized.TestCase):
  def test_epoch_means_are_judged_as_by_hand(self):
    state = initial_plateau()
    losses = [4.0, 2.0, 3.0, 1.0, 1.9, 2.1, 2.0, 2.2]  # means 3, 2, 2, 2.1
    expected = [(3.0, 0, 1), (2.0, 0, 2), (2.0, 1, 3), (2.0, 2, 4)]
    for step, loss in enumerate(losses):
      state = update_plateau(
        state, jnp.float32(loss), relative=0.1, steps_per_epoch=2
      )
      if step % 2:
        best, patience, epochs = expected[step // 2]
        self.assertAlmostEqual(float(state.best), best, places=6)
        self.assertEqual(int(state.patience), patience)
        self.assertEqual(int(state.epochs), epochs)
        self.assertEqual((float(state.sum), int(state.count)), (0.0, 0))

  def test_a_gain_below_relative_is_none(self):
    state = initial_plateau()
    for loss in (1.0, 0.995):
      state = update_plateau(
        state, jnp.float32(loss), relative=0.01, steps_per_epoch=1
      )
    self.assertEqual(int(state.patience), 1)

  def test_patience_and_epochs_stop(self):
    rule = Plateau(relative=0.0, patience_epochs=2, max_epochs=10)
    self.assertFalse(is_saturated(rule, patience=1, epochs=9))
    self.assertTrue(is_saturated(rule, patience=2, epochs=3))
    self.assertTrue(is_saturated(rule, patience=0, epochs=10))

  @parameterized.parameters(
    ({"relative": 1.0, "patience_epochs": 1, "max_epochs": 1}, "relative"),
    ({"relative": 0.0, "patience_epochs": 0, "max_epochs": 1}, "patience"),
    ({"relative": 0.0, "patience_epochs": 1, "max_epochs": 0}, "max_epochs"),
  )
  def test_bad_rules_are_refused(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      Plateau(**fields)


class PhaseTest(parameterized.TestCase):
  def test_params_split_by_name(self):
    params = dict.fromkeys(
      ("encoder", "identity_decoder", "residual_decoder", "mean_shape"), 0
    )
    trained, frozen = split_params(params, tiny_phases()[1])
    self.assertEqual(set(trained), {"identity_decoder", "residual_decoder"})
    self.assertEqual(set(frozen), {"encoder", "mean_shape"})

  def test_unknown_and_uncovered_params_are_named(self):
    params = dict.fromkeys(("encoder", "identity_decoder", "other"), 0)
    with self.assertRaisesRegex(
      ValueError, "unknown: mean_shape, residual_decoder; uncovered: other"
    ):
      split_params(params, tiny_phases()[0])

  def test_weights_are_the_papers(self):
    weights = [dict(phase.weights) for phase in tiny_phases()]
    self.assertEqual(weights[0], {"latent": 1.0})
    self.assertEqual(
      weights[1], {"identity_decoder": 1.0, "residual_decoder": 1.0}
    )
    self.assertEqual(weights[2], {"reconstruction": 0.5, "identification": 1.0})
    self.assertEqual(weights[3], {"reconstruction": 1.0, "identification": 1.0})

  def test_without_residual_its_decoder_is_frozen_in_every_phase(self):
    for phase in tiny_phases():
      less = without_residual(phase)
      self.assertIn("residual_decoder", less.frozen)
      self.assertEqual(
        {*less.optimizers, *less.frozen}, {*phase.optimizers, *phase.frozen}
      )
      self.assertEqual(
        set(phase.weights) - set(less.weights),
        {"residual_decoder"} if phase.name == "decoders" else set(),
      )

  @parameterized.parameters(
    ({"weights": {"latent": 0.0}}, "expected above 0, got 0"),
    ({"weights": {"latent": float("nan")}}, "expected above 0, got nan"),
    ({"weights": {}}, "got none"),
    (
      {"examples": "web"},
      "examples: expected one of dataset, prior, fake, got web",
    ),
    ({"examples": "prior"}, "the prior has no images for latent"),
    ({"steps": 0}, "latents.steps: expected at least 1, got 0"),
    ({"batch_size": 0}, "batch_size"),
    ({"optimizers": {}}, "optimizers: expected at least one"),
    ({"frozen": ("encoder",)}, "none that train, got encoder"),
  )
  def test_bad_phases_are_refused(self, change, message):
    with self.assertRaisesRegex(ValueError, message):
      dataclasses.replace(tiny_phases()[0], **change)

  def test_optimizers_are_the_modules_own(self):
    phase = tiny_phases()[2]
    self.assertEqual(phase.optimizers["identity_head"], ADAM)
    self.assertNotIn("mean_shape", phase.optimizers)


if __name__ == "__main__":
  absltest.main()
