"""`train` from Python: a caller's losses and optimizers, old workdirs."""

import pathlib
from unittest import mock

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import optax

from disentangle3d.folder_use import sole_use
from disentangle3d.training.checkpoint import PhaseCheckpoints
from disentangle3d.training.run_files import read_metrics
from disentangle3d.types import UserError
from experiments.configs import smoke
from experiments.training import runs
from experiments.training.phases import exported_phases
from experiments.training.runs import _todays_config, train


def _config():
  """Phase II alone: it compiles soonest."""
  config = smoke.get_config()
  config.run_phases = ("decoders",)
  config.export_phases = ()
  config.log_every = 1
  config.phases.decoders.steps = 2
  optimizer = config.phases.decoders.optimizers.decoders
  optimizer.schedule.kind = "constant"
  return config


def _length(forward):
  kernel = forward.params["identity_decoder"]["kernel"]
  return jnp.sum(kernel**2) + jnp.sum(forward.targets.identity**2, -1)


class TrainTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)

  def test_a_new_loss_is_a_function_and_a_line(self):
    config = _config()
    config.phases.decoders.weights.length = 0.5
    train(config, self.root / "run", losses={"length": _length})
    for line in read_metrics(self.root / "run"):
      self.assertGreater(line["length"], 0)
      self.assertAlmostEqual(
        line["loss"],
        line["identity_decoder"]
        + line["residual_decoder"]
        + 0.5 * line["length"],
        delta=1e-5 * line["loss"],
      )

  def test_phases_that_do_not_run_are_not_exported(self):
    config = smoke.get_config()
    config.export_phases = ("decoders", "joint_recognition")
    for run, exported in (
      (("latents", "decoders"), ("decoders",)),
      (("joint_recognition",), ("joint_recognition",)),
    ):
      config.run_phases = run
      self.assertEqual(exported_phases(config), exported)
    config.export_phases = ("decoder",)
    with self.assertRaisesRegex(ValueError, "export_phases: .* got decoder"):
      train(config, self.root / "run")

  def test_losses_that_do_not_go_together_are_refused(self):
    config = _config()
    with self.assertRaisesRegex(
      ValueError, r"^losses: .*weight of length.* config.phases.<phase>.weights"
    ):
      train(config, self.root / "a", losses={"length": _length})
    config.phases.decoders.weights.length = 0.5
    with self.assertRaisesRegex(
      ValueError, "^decoders.weights: .*latent, .*identification, .*got length$"
    ):
      train(config, self.root / "a")
    with self.assertRaisesRegex(
      ValueError, r"losses\['length'\]: .*\[1\], got \[\]"
    ):
      train(config, self.root / "b", losses={"length": lambda f: jnp.ones(())})
    self.assertFalse((self.root / "a").exists())

  def test_a_workdir_is_one_runs_at_once(self):
    with sole_use(self.root), self.assertRaisesRegex(UserError, "in use by"):
      train(_config(), self.root)
    self.assertEmpty(list(self.root.iterdir()))

  def test_what_no_phase_has_begun_with_may_change(self):
    config = _config()
    # Stopped before the first checkpoint, as by a full disk.
    with mock.patch.object(
      PhaseCheckpoints, "save", side_effect=OSError(28, "full")
    ):
      with self.assertRaises(OSError):
        train(config, self.root)
    config.seed = 1
    train(config, self.root)
    # The head's kind is of phases that come later.
    config.identity_head.kind = "cosface"
    train(config, self.root)
    config.seed = 2
    with self.assertRaisesRegex(UserError, "config.seed: expected 1 as the"):
      train(config, self.root)

  def test_examples_of_one_person_are_told(self):
    config = smoke.get_config()
    config.examples.num_classes = 1
    # Only what comes before the first step.
    with mock.patch.object(runs, "run_phases"):
      with mock.patch.object(runs, "write_summary"):
        with self.assertLogs("disentangle3d", "WARNING") as logs:
          train(config, self.root)
    self.assertRegex(
      logs.output[0], "joint_recognition: all examples are of one person"
    )

  def test_an_optimizer_may_come_whole(self):
    config = _config()
    optimizer = config.phases.decoders.optimizers.decoders
    optimizer.name, optimizer.rate = "sgd", 0.25
    optimizer.arguments.momentum = 0.5
    named = train(config, self.root / "named")
    whole = train(
      config,
      self.root / "whole",
      optimizers={"decoders": {"decoders": optax.sgd(0.25, momentum=0.5)}},
    )
    jax.tree.map(np.testing.assert_array_equal, named.params, whole.params)
    first, *_ = read_metrics(self.root / "named")
    self.assertEqual(first["rate_identity_decoder"], 0.25)
    first, *_ = read_metrics(self.root / "whole")
    self.assertNotIn("rate_identity_decoder", first)

  def test_optimizers_of_nothing_are_refused(self):
    tx = optax.sgd(1.0)
    for optimizers, message in (
      ({"latents": {"encoder": tx}}, "phases decoders, got latents"),
      ({"decoders": {"encoder": tx}}, "expected some of decoders, got encoder"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        train(_config(), self.root, optimizers=optimizers)


class OldWorkdirTest(absltest.TestCase):
  def test_what_an_earlier_version_wrote_is_no_change(self):
    today = smoke.get_config()
    flat = _todays_config(
      {
        "dataset": "there",
        "run_phases": ["encoder", "decoders"],
        "phases.encoder.optimizer.kind": "adam",
        "phases.encoder.optimizer.momentum": 0.9,
        "phases.encoder.optimizer.beta1": 0.5,
        "phases.joint_recognition.identification": 0.0,
      }
    )
    self.assertEqual(flat["examples.path"], "there")
    self.assertEqual(flat["run_phases"], ["latents", "decoders"])
    encoder = "phases.latents.optimizers.encoder."
    self.assertEqual(flat[encoder + "name"], "adam")
    self.assertIsNone(flat[encoder + "arguments.momentum"])
    self.assertEqual(flat[encoder + "arguments.b1"], 0.5)
    self.assertEqual(
      flat["phases.joint_recognition.weights.identification"], 0.0
    )
    # What that version did not have has the schema's default.
    for name in flat:
      today[name]


if __name__ == "__main__":
  absltest.main()
