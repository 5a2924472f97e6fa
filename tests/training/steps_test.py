"""The step, through the loop's own pmap: what moves, what not, and how far."""

import dataclasses
import tempfile

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import flatten_basis
from disentangle3d.network.face_model import init_params
from disentangle3d.network.identity_heads import init_identity_head
from disentangle3d.training.batches import TrainBatch, prior_batch
from disentangle3d.training.checkpoint import PhaseCheckpoints
from disentangle3d.training.loop import LoopOptions, train_phase
from disentangle3d.training.optimizers import OptimizerSetting, Schedule
from disentangle3d.training.phases import Phase
from disentangle3d.training.steps import TrainState, initial_state
from tests.training.cases import (
  MODEL,
  MORPHABLE_MODEL,
  fake_input,
  tiny_phases,
)


def _params(head: bool = False) -> dict:
  params = init_params(jax.random.key(0), MODEL, MORPHABLE_MODEL)
  if head:
    params["identity_head"] = init_identity_head(
      jax.random.key(1), num_classes=4, identity_dim=12
    )
  return jax.tree.map(np.asarray, params)


def _run(
  phase: Phase, params: dict, num_devices: int = 1
) -> tuple[TrainState, list[dict[str, float]]]:
  logged = []
  with (
    tempfile.TemporaryDirectory() as folder,
    PhaseCheckpoints(folder, phase.name) as checkpoints,
  ):
    state, complete = train_phase(
      jax.tree.map(np.asarray, initial_state(phase, params)),
      phase,
      model=MODEL,
      phase_input=fake_input(),
      devices=jax.devices()[:num_devices],
      checkpoints=checkpoints,
      options=LoopOptions(log_every=1, checkpoint_every=1000),
      report=lambda phase, step, values: logged.append(dict(values)),
      should_stop=lambda: False,
    )
  assert complete
  return state, logged


class JointStepTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.phase = dataclasses.replace(tiny_phases(2)[2], input="fake")
    cls.params = _params(head=True)
    cls.state, cls.logged = _run(cls.phase, cls.params)

  def test_what_trains_moves_and_what_is_frozen_stays_to_the_bit(self):
    for name, before in self.params.items():
      same = jax.tree.map(
        lambda a, b: np.array_equal(a, b), before, self.state.params[name]
      )
      frozen = name == "mean_shape"
      kernels = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(same)
        if frozen or "kernel" in jax.tree_util.keystr(path)
      ]
      self.assertEqual(set(kernels), {frozen}, name)

  def test_only_what_trains_has_optimizer_memory(self):
    self.assertEqual(set(self.state.opt_state), set(self.phase.optimizers))

  def test_losses_start_where_the_units_say(self):
    first = self.logged[0]
    self.assertAlmostEqual(first["identification"], np.log(4), delta=0.3)
    self.assertAlmostEqual(
      first["loss"],
      0.5 * first["reconstruction"] + first["identification"],
      places=3,
    )
    # Decoders near 0: the distance is the size of the target's offset.
    drawn = prior_batch(
      jax.random.fold_in(jax.random.key(self.phase.seed), 0),
      TrainBatch(position=jnp.arange(8)),
      identity_dim=12,
      residual_dim=5,
    )
    offset = drawn.identity_coefficients @ flatten_basis(
      MORPHABLE_MODEL.identity_basis
    ) + drawn.expression_coefficients @ flatten_basis(
      MORPHABLE_MODEL.expression_basis
    )
    wanted = float(jnp.mean(jnp.sum(offset**2, -1)) / 120)
    self.assertAlmostEqual(first["reconstruction"], wanted, delta=0.01 * wanted)
    for name in ("rate_encoder", "head_norm", "saturated_identity"):
      self.assertIn(name, first)

  def test_eight_devices_do_what_one_does(self):
    eight, logged = _run(self.phase, self.params, num_devices=8)
    for one, other in zip(self.logged, logged, strict=True):
      for name in ("loss", "reconstruction", "identification"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4)
    # The mean over devices adds in another order; Adam at its first steps
    # turns that into at most a rate's worth where a gradient is next to 0.
    for a, b in zip(
      jax.tree.leaves(self.state.params),
      jax.tree.leaves(eight.params),
      strict=True,
    ):
      self.assertLess(float(np.mean(np.abs(a - b))), 2e-5)

  def test_a_batch_that_devices_cannot_share_is_refused(self):
    with self.assertRaisesRegex(ValueError, "of the 3 devices, got 8"):
      _run(self.phase, self.params, num_devices=3)


class DecodersStepTest(absltest.TestCase):
  def test_columns_become_three_times_the_basis(self):
    optimizer = OptimizerSetting(
      "adam",
      0.5,
      schedule=Schedule("warmup_cosine", warmup_steps=10, decay_steps=300),
    )
    phase = dataclasses.replace(
      tiny_phases()[1],
      optimizers={
        "identity_decoder": optimizer,
        "residual_decoder": optimizer,
      },
      steps=300,
      batch_size=64,
    )
    before = _params()
    state, logged = _run(phase, before)
    for name, basis in (
      ("identity_decoder", MORPHABLE_MODEL.identity_basis),
      ("residual_decoder", MORPHABLE_MODEL.expression_basis),
    ):
      wanted = 3 * np.asarray(flatten_basis(basis))
      error = np.linalg.norm(state.params[name]["kernel"] - wanted, axis=1)
      share = error / np.linalg.norm(wanted, axis=1)
      self.assertLess(share.max(), 0.01, name)
    jax.tree.map(
      np.testing.assert_array_equal, before["encoder"], state.params["encoder"]
    )
    self.assertLess(logged[-1]["loss"], 1e-3 * logged[0]["loss"])


class PriorTest(absltest.TestCase):
  def test_an_example_depends_on_step_key_and_position_only(self):
    key = jax.random.key(4)
    sizes = {"identity_dim": 12, "residual_dim": 5}
    whole = prior_batch(key, TrainBatch(position=jnp.arange(8)), **sizes)
    part = prior_batch(key, TrainBatch(position=jnp.arange(4, 8)), **sizes)
    np.testing.assert_array_equal(
      whole.identity_coefficients[4:], part.identity_coefficients
    )
    other = prior_batch(
      jax.random.fold_in(key, 1), TrainBatch(position=jnp.arange(8)), **sizes
    )
    self.assertFalse(
      np.array_equal(
        whole.expression_coefficients, other.expression_coefficients
      )
    )

  def test_draws_are_normal_and_clipped(self):
    drawn = prior_batch(
      jax.random.key(0),
      TrainBatch(position=jnp.arange(2000)),
      identity_dim=12,
      residual_dim=5,
    ).identity_coefficients
    self.assertLessEqual(float(jnp.abs(drawn).max()), 3.0)
    self.assertEqual(float(jnp.abs(drawn).max()), 3.0)
    # 24,000 draws; clipping at 3 takes 0.7 % off the standard deviation.
    self.assertAlmostEqual(float(drawn.std()), 0.993, delta=0.02)
    self.assertAlmostEqual(float(drawn.mean()), 0.0, delta=0.02)


if __name__ == "__main__":
  absltest.main()
