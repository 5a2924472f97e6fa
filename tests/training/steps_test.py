"""The step, through the loop's own pmap: what moves, what not, and how far."""

import dataclasses
import tempfile

from absl.testing import absltest
import chex
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import flatten_basis
from disentangle3d.network.face_model import init_params
from disentangle3d.network.identity_heads import init_identity_head
from disentangle3d.network.margins import HeadSetting
from disentangle3d.training.batches import TrainBatch, prior_batch
from disentangle3d.training.checkpoint import PhaseCheckpoints
from disentangle3d.training.loop import LoopOptions, train_phase
from disentangle3d.training.optimizers import OptimizerSetting, Schedule
from disentangle3d.training.phases import Phase
from disentangle3d.training.state import TrainState, final_params, initial_state
from tests.training.cases import (
  ADAM,
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
  phase: Phase, params: dict, num_devices: int = 1, dtype: str = "float32"
) -> tuple[TrainState, list[dict[str, float]]]:
  logged = []
  with (
    tempfile.TemporaryDirectory() as folder,
    PhaseCheckpoints(folder, phase.name) as checkpoints,
  ):
    state, complete = train_phase(
      jax.tree.map(np.asarray, initial_state(phase, params)),
      phase,
      model=MODEL.clone(dtype=dtype),
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
    cls.phase = dataclasses.replace(tiny_phases(2)[2], examples="fake")
    cls.params = _params(head=True)
    cls.state, cls.logged = _run(cls.phase, cls.params)

  def test_bfloat16_computes_nearly_the_same_and_remembers_in_float32(self):
    state, logged = _run(self.phase, self.params, dtype="bfloat16")
    kept = state.params, state.opt_state, state.plateau
    for leaf in jax.tree.leaves(kept):
      self.assertNotEqual(leaf.dtype, jnp.bfloat16)
    for half, full in zip(logged, self.logged, strict=True):
      # Eight bits of mantissa, through a dozen layers.
      np.testing.assert_allclose(half["loss"], full["loss"], rtol=0.03)
    self.assertNotEqual(logged[0]["loss"], self.logged[0]["loss"])
    moved = "identity_decoder"
    half, full = (s.params[moved]["kernel"] for s in (state, self.state))
    # Two steps of Adam at 1e-3: the same way almost everywhere.
    before = self.params[moved]["kernel"]
    same_way = np.sign(half - before) == np.sign(full - before)
    self.assertGreater(np.mean(same_way), 0.95)

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


class ShardedStepTest(absltest.TestCase):
  def test_shards_in_parts_on_four_devices_do_what_a_dense_head_does(self):
    dense = dataclasses.replace(
      tiny_phases(2)[2],
      examples="fake",
      head=HeadSetting("arcface", scale=10.0, margin=0.5),
    )
    shards = dataclasses.replace(
      dense, head=dataclasses.replace(dense.head, sharded=True), accumulate=2
    )
    params = _params(head=True)
    del params["identity_head"]["bias"]
    one, logged = _run(dense, params)
    four, also_logged = _run(shards, params, num_devices=4)
    for a, b in zip(logged, also_logged, strict=True):
      self.assertEqual(a.keys(), b.keys())
      for name in ("loss", "identification", "head_norm", "code_norm"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, err_msg=name)
    self.assertEqual(jax.tree.map(np.shape, one), jax.tree.map(np.shape, four))
    for a, b in zip(
      jax.tree.leaves(one.params), jax.tree.leaves(four.params), strict=True
    ):
      self.assertLess(float(np.mean(np.abs(a - b))), 2e-5)

  def test_parts_that_a_device_cannot_share_are_refused(self):
    phase = dataclasses.replace(tiny_phases(2)[1], accumulate=3)
    with self.assertRaisesRegex(ValueError, "accumulate: .* got 3 of the 4"):
      _run(phase, _params(), num_devices=2)


class UpdateTest(absltest.TestCase):
  def _decoders(self, steps, **changes):
    setting = OptimizerSetting(
      "sgd", 0.5, arguments={"momentum": 0.0}, clip_norm=0.25
    )
    return dataclasses.replace(
      tiny_phases(steps)[1],
      optimizers={"identity_decoder": setting, "residual_decoder": ADAM},
      **changes,
    )

  def test_a_long_gradient_is_cut_and_the_average_is_the_written_one(self):
    before = _params()
    phase = self._decoders(1, average_decay=0.9)
    first, logged = _run(phase, before)
    name = "identity_decoder"
    moved = first.params[name]["kernel"] - before[name]["kernel"]
    self.assertGreater(logged[0]["gradient_norm_identity_decoder"], 0.25)
    self.assertAlmostEqual(float(np.linalg.norm(moved)), 0.125, places=5)
    second, _ = _run(dataclasses.replace(phase, steps=2), before)
    # The decay of step t is min(0.9, (1 + t) / (10 + t)).
    average = 0.1 * before[name]["kernel"] + 0.9 * first.params[name]["kernel"]
    average = (2 * average + 9 * second.params[name]["kernel"]) / 11
    np.testing.assert_allclose(
      second.average[name]["kernel"], average, atol=1e-5
    )
    self.assertIs(final_params(second)[name], second.average[name])
    self.assertEqual(set(second.average), set(phase.optimizers))


class DecodersStepTest(absltest.TestCase):
  def test_columns_become_three_times_the_basis(self):
    optimizer = OptimizerSetting(
      "adam",
      0.5,
      schedule=Schedule("warmup_cosine", warmup_steps=10, decay_steps=300),
    )
    phase = dataclasses.replace(
      tiny_phases()[1],
      optimizers={"identity_decoder": optimizer, "residual_decoder": optimizer},
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
    chex.assert_trees_all_equal(before["encoder"], state.params["encoder"])
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
