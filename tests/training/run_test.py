"""Phase after phase: exact resume, where a phase starts, and clean stops."""

import dataclasses
import pathlib
import shutil
from unittest import mock

from absl.testing import absltest
import chex
import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np
import pytest

from disentangle3d.network.margins import MARGINS, HeadSetting
from disentangle3d.training.checkpoint import latest_step
from disentangle3d.training.export import load_network, save_network
from disentangle3d.training.loop import LoopOptions, should_run
from disentangle3d.training.metric_queue import NonFiniteLossError
from disentangle3d.training.optimizers import OptimizerSetting
from disentangle3d.training.phases import Plateau
from disentangle3d.training.run import check_phases, run_phases
from tests.training.cases import (
  ADAM,
  MODEL,
  MORPHABLE_MODEL,
  decoders_phase,
  fake_input,
  tiny_input,
  tiny_phases,
  write_tiny_dataset,
)


class _StopAfter:
  """Asks to stop after so many steps."""

  def __init__(self, steps: int):
    self._left = steps

  def __call__(self) -> bool:
    self._left -= 1
    return self._left == 0


def _run(workdir, phases, phase_input=None, *, stop_after=0, **changes):
  settings = {
    "model": MODEL,
    "morphable_model": MORPHABLE_MODEL,
    "phase_input": phase_input or fake_input(),
    "devices": jax.devices()[:1],
    "workdir": workdir,
    "options": LoopOptions(log_every=2, checkpoint_every=100),
    "should_stop": _StopAfter(stop_after),
  }
  return run_phases(phases, **settings | changes)


def _assert_same(a, b):
  chex.assert_trees_all_equal(a, b)


class ResumeTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    # The same phases run several times over; compile each once.
    self._set_cache(self.create_tempdir().full_path)
    self.addCleanup(self._set_cache, None)

  @staticmethod
  def _set_cache(folder):
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()

  def test_interrupted_runs_end_where_a_straight_one_does_to_the_bit(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    phase_input = tiny_input(write_tiny_dataset(root / "dataset"))
    phases = tiny_phases(6)
    straight = _run(root / "a", phases, phase_input, export_phases=["decoders"])
    self.assertTrue(straight.complete)
    # Three steps into phase I; then its rest, phase II, and three steps more.
    stops = (("latents", 3, 3), ("joint_recognition", 3, 3 + 6 + 3))
    for name, step, stop_after in stops:
      outcome = _run(root / "b", phases, phase_input, stop_after=stop_after)
      self.assertFalse(outcome.complete)
      self.assertEqual((outcome.phase, outcome.step), (name, step))
      if name == "latents":
        # As an earlier version called it.
        checkpoints = root / "b" / "checkpoints"
        (checkpoints / "latents").rename(checkpoints / "encoder")
    self.assertEqual(latest_step(root / "b", "joint_recognition"), 3)
    resumed = _run(root / "b", phases, phase_input)
    self.assertTrue(resumed.complete)
    self.assertFalse((root / "b" / "checkpoints" / "latents").exists())
    _assert_same(straight.params, resumed.params)
    self.assertIn("identity_head", straight.params)
    _assert_same(
      load_network(root / "a").params, load_network(root / "b").params
    )
    between = load_network(root / "a" / "export" / "decoders")
    self.assertEqual(between.phase, "decoders")
    self.assertNotIn("identity_head", load_network(root / "a").params)


class StartTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.decoders = tiny_phases(2)[1]

  def test_a_finished_run_does_nothing_more(self):
    before = _run(self.root, [self.decoders])
    again = _run(self.root, [self.decoders])
    self.assertEqual(again.step, 2)
    _assert_same(before.params, again.params)

  def test_precedence_is_own_then_previous_then_init_from_then_fresh(self):
    fresh = _run(self.root / "a", [self.decoders]).params
    other = jax.tree.map(np.zeros_like, fresh)
    other["mean_shape"] = np.asarray(MORPHABLE_MODEL.mean_shape)
    save_network(self.root / "x", MODEL, other, MORPHABLE_MODEL, phase="x")
    init = {"init_from": str(self.root / "x")}
    started = _run(self.root / "b", [self.decoders], **init).params
    self.assertEqual(np.abs(jax.tree.leaves(started["encoder"])[0]).max(), 0)
    self.assertGreater(np.abs(started["identity_decoder"]["kernel"]).max(), 0)
    # The own checkpoint comes before init_from.
    own = _run(self.root / "a", [self.decoders], **init).params
    _assert_same(own, fresh)
    # So does the phase before, of this run.
    second = dataclasses.replace(self.decoders, name="again")
    after = _run(self.root / "a", [self.decoders, second], **init).params
    _assert_same(after["encoder"], fresh["encoder"])

  def test_init_from_half_precision_starts_at_the_3dmms_mean(self):
    params = _run(self.root / "a", [self.decoders]).params
    save_network(
      self.root / "x", MODEL, params, MORPHABLE_MODEL, phase="x", half=True
    )
    mean = np.asarray(MORPHABLE_MODEL.mean_shape)
    kept = load_network(self.root / "x").params["mean_shape"]
    self.assertGreater(np.abs(kept - mean).max(), 0.01)
    got = _run(self.root / "b", [self.decoders], init_from=str(self.root / "x"))
    np.testing.assert_array_equal(got.params["mean_shape"], mean)

  def test_init_from_another_network_or_3dmm_is_refused(self):
    params = _run(self.root / "a", [self.decoders]).params
    moved = params | {"mean_shape": params["mean_shape"] + 1}
    save_network(self.root / "x", MODEL, moved, MORPHABLE_MODEL, phase="x")
    with self.assertRaisesRegex(ValueError, "mean shape is up to 1 mm off"):
      _run(self.root / "b", [self.decoders], init_from=str(self.root / "x"))
    self.assertFalse((self.root / "b").exists())
    with self.assertRaisesRegex(
      ValueError, "of a network with trunk 'sphere4', got trunk 'tiny' in"
    ):
      _run(
        self.root / "c",
        [self.decoders],
        init_from=str(self.root / "a"),
        model=MODEL.clone(trunk="sphere4"),
      )

  def test_init_from_a_network_of_other_crops_goes_on(self):
    first = str(self.root / "a")
    _run(self.root / "a", [self.decoders])
    plain = _run(self.root / "b", [self.decoders], init_from=first)
    whole = MODEL.clone(template="whole_face")
    other = _run(self.root / "c", [self.decoders], init_from=first, model=whole)
    chex.assert_trees_all_equal(plain.params, other.params)
    exported = load_network(self.root / "c").model
    self.assertEqual(exported.template, "whole_face")

  def test_a_phase_may_take_over_the_optimizers_memory(self):
    second = dataclasses.replace(self.decoders, name="again")
    taken = dataclasses.replace(second, takes_over=True)
    a = _run(self.root / "a", [self.decoders, second]).params
    b = _run(self.root / "b", [self.decoders, taken]).params
    name = "identity_decoder"
    self.assertGreater(np.abs(a[name]["kernel"] - b[name]["kernel"]).max(), 0)
    sgd = OptimizerSetting("sgd", 0.1)
    other = dataclasses.replace(
      taken,
      optimizers=dict.fromkeys(("identity_decoder", "residual_decoder"), sgd),
    )
    with self.assertRaisesRegex(ValueError, "expected the optimizers of"):
      _run(self.root / "c", [self.decoders, other])
    # Before the first phase is run.
    self.assertFalse((self.root / "c").exists())

  def test_phases_that_cannot_start_are_told_before_the_first(self):
    sgd = OptimizerSetting("sgd", 0.1)
    later = dataclasses.replace(
      self.decoders,
      name="later",
      optimizers={**self.decoders.optimizers, "nose": sgd},
    )
    with self.assertRaisesRegex(ValueError, "nose"):
      _run(self.root / "a", [self.decoders, later])
    usage = mock.Mock(free=1000)
    with mock.patch.object(shutil, "disk_usage", return_value=usage):
      with self.assertRaisesRegex(ValueError, "/b: .* MB or more of free spac"):
        _run(self.root / "b", [self.decoders])
    self.assertEmpty(list(self.root.iterdir()))


class StopTest(absltest.TestCase):
  def test_a_loss_that_is_not_finite_stops_and_saves_nothing(self):
    root = self.create_tempdir().full_path
    huge = OptimizerSetting("sgd", 1e30)
    phase = decoders_phase(optimizer=huge, steps=9, batch_size=8)
    options = LoopOptions(log_every=100, checkpoint_every=1)
    with self.assertRaisesRegex(
      NonFiniteLossError,
      r"the loss of step 2 is (inf|nan); not finite: .*identity_decoder, loss",
    ):
      _run(root, [phase], options=options)
    self.assertEqual(latest_step(root, "decoders"), 1)

  def test_debugging_names_the_step_and_the_params_that_it_spoiled(self):
    root = self.create_tempdir().full_path
    huge = OptimizerSetting("sgd", 1e38)
    phase = decoders_phase(optimizer=huge, steps=9, batch_size=8)
    options = LoopOptions(log_every=100, checkpoint_every=100, debug_nans=True)
    with self.assertRaisesRegex(
      NonFiniteLossError,
      r"step \d made NaN or infinity of .*params/identity_decoder/kernel",
    ):
      _run(root, [phase], options=options)

  @pytest.mark.slow
  def test_phase_three_goes_on_with_other_devices(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    phase_input = tiny_input(write_tiny_dataset(root / "dataset"))
    head = HeadSetting("cosface", margin=MARGINS["cosface"], sharded=True)
    phase = dataclasses.replace(tiny_phases(6)[2], head=head)
    self._assert_devices_do_not_matter(root, phase, phase_input, rtol=1e-4)

  def test_a_rate_of_a_million_diverges_and_names_step_and_metric(self):
    root = self.create_tempdir().full_path
    phase = decoders_phase(
      optimizer=OptimizerSetting("sgd", 1e6), steps=60, batch_size=8
    )
    with self.assertRaisesRegex(
      NonFiniteLossError, r"loss of step \d+ is .*; not finite: .*decoder"
    ):
      _run(root, [phase])
    self.assertIsNone(latest_step(root, "decoders"))

  def test_other_devices_go_on_with_the_same_curve(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    self._assert_devices_do_not_matter(root, tiny_phases(6)[1], rtol=1e-5)

  def _assert_devices_do_not_matter(self, root, phase, *inputs, rtol):
    """Six steps on one device, and two each on 8, 2 and 1."""
    curves = {"straight": {}, "moved": {}}

    def run(name, devices, stop_after=0):
      return _run(
        root / name,
        [phase],
        *inputs,
        devices=jax.devices()[:devices],
        options=LoopOptions(log_every=1, checkpoint_every=100),
        report=lambda phase, step, values: curves[name].update(
          {step: values["loss"]}
        ),
        stop_after=stop_after,
      )

    run("straight", 1)
    for devices, stop_after in ((8, 2), (2, 2), (1, 0)):
      run("moved", devices, stop_after)
    self.assertEqual(list(curves["moved"]), list(range(1, 7)))
    np.testing.assert_allclose(
      list(curves["moved"].values()),
      list(curves["straight"].values()),
      rtol=rtol,
    )

  def test_waiting_for_input_is_measured_and_steps_are_traced(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    logged = []
    options = LoopOptions(
      log_every=2,
      checkpoint_every=100,
      profile_steps=2,
      profile_folder=str(root / "profile"),
    )
    _run(
      root / "run",
      [tiny_phases(7)[1]],
      options=options,
      report=lambda phase, step, values: logged.append((step, values)),
    )
    # Late, but each in its turn.
    self.assertEqual([step for step, _ in logged], [2, 4, 6, 7])
    for _, values in logged:
      self.assertBetween(values["input_wait_share"], 0, 1)
    self.assertTrue(list((root / "profile").rglob("*.xplane.pb")))

  def test_a_plateau_ends_the_phase_and_a_restart_knows(self):
    root = self.create_tempdir().full_path
    # 20 examples, batches of 8: 3 steps an epoch; a rate of next to nothing.
    phase = dataclasses.replace(
      decoders_phase(
        optimizer=OptimizerSetting("sgd", 1e-9), steps=90, batch_size=8
      ),
      plateau=Plateau(relative=0.9, patience_epochs=2, max_epochs=9),
    )
    outcome = _run(root, [phase])
    self.assertTrue(outcome.complete)
    self.assertEqual(outcome.step, 9)
    self.assertEqual(_run(root, [phase]).step, 9)

  def test_should_run_at_multiples_and_at_the_end(self):
    due = [s for s in range(8) if should_run(s, every=3, total=7)]
    self.assertEqual(due, [3, 6, 7])
    self.assertEqual(
      [s for s in range(4) if should_run(s, every=1, total=3)], [1, 2, 3]
    )

  def test_phases_that_cannot_run_are_refused(self):
    phases = tiny_phases()
    with self.assertRaisesRegex(ValueError, "latents.batch_size: .* 3 devices"):
      check_phases(phases, 3, ())
    other = dataclasses.replace(phases[0], weights={"l2": 1.0})
    with self.assertRaisesRegex(ValueError, "weights: .* latent,.* got l2"):
      check_phases([other], 1, ())
    with self.assertRaisesRegex(ValueError, "expected different names"):
      check_phases([phases[0]] * 2, 1, ())
    with self.assertRaisesRegex(ValueError, "export_phases: .* got other"):
      check_phases(phases, 1, ["other"])
    with self.assertRaisesRegex(ValueError, "log_every: expected at least 1"):
      LoopOptions(log_every=0, checkpoint_every=1)

  def test_a_phase_that_needs_a_dataset_says_so(self):
    phase = dataclasses.replace(tiny_phases()[1], examples="dataset")
    with self.assertRaisesRegex(ValueError, "expected a dataset, got none"):
      _run(self.create_tempdir().full_path, [phase])

  def test_phase_two_may_learn_from_the_datasets_latents(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    phase = decoders_phase(
      optimizer=ADAM, steps=2, batch_size=8, examples="dataset"
    )
    phase_input = tiny_input(write_tiny_dataset(root / "dataset"))
    self.assertTrue(_run(root / "a", [phase], phase_input).complete)


if __name__ == "__main__":
  absltest.main()
