"""Configs by the names that keys had before."""

import copy

from absl.testing import absltest, parameterized

from experiments.configs import _old_names, default, demo, paper_scale
from experiments.training.phases import phases_of, todays_phases


class OldNamesTest(parameterized.TestCase):
  @parameterized.parameters(
    ("dataset", "examples.path", "somewhere"),
    ("input.kind", "examples.kind", "synthetic"),
    ("fake.num_classes", "examples.num_classes", 7),
    ("cache_mib", "examples.cache_mib", 1),
    ("phases.encoder.steps", "phases.latents.steps", 5),
    ("phases.encoder.input", "phases.latents.examples", "fake"),
    (
      "phases.encoder.optimizer.kind",
      "phases.latents.optimizers.encoder.name",
      "sgd",
    ),
    (
      "phases.decoders.optimizer.epsilon",
      "phases.decoders.optimizers.decoders.arguments.eps",
      1e-5,
    ),
    (
      "phases.joint_recognition.head.schedule.decay_steps",
      "phases.joint_recognition.optimizers.identity_head.schedule.decay_steps",
      5,
    ),
    (
      "phases.joint_reconstruction.reconstruction",
      "phases.joint_reconstruction.weights.reconstruction",
      2.0,
    ),
  )
  def test_what_they_set_is_where_it_is_today(self, old, today, value):
    self.assertEqual(default.get_config().path_of(old), today)
    *above, last = old.split(".")
    nested = {last: value}
    for key in reversed(above):
      nested = {key: nested}
    for override in (
      lambda config: (
        setattr(config[".".join(above)], last, value)
        if above
        else setattr(config, last, value)
      ),
      lambda config: config.update_from_flattened_dict({old: value}),
      lambda config: config.update(nested),
    ):
      config = copy.deepcopy(default.get_config().lock())
      untouched = config.copy_and_resolve_references()
      override(config)
      self.assertEqual(config[today], value)
      self.assertEqual(config[old], value)
      # Nothing else changed, and nothing came of the old name.
      config[".".join(today.split(".")[:-1])][today.split(".")[-1]] = untouched[
        today
      ]
      self.assertEqual(config.to_dict(), untouched.to_dict())

  def test_each_is_told_of_once_by_its_place(self):
    _old_names._told.clear()
    config = demo.get_config()
    with self.assertLogs("disentangle3d.config", "WARNING") as logs:
      for phase in default.JOINT:
        config.phases[phase].head.rate = 1.0
    self.assertEqual(
      [record.getMessage() for record in logs.records],
      [
        "config.phases.<phase>.head is called"
        " config.phases.<phase>.optimizers.identity_head now"
      ],
    )

  def test_a_misspelt_one_is_no_old_one(self):
    config = default.get_config().lock()
    with self.assertRaisesRegex(AttributeError, 'mean "phases" instead of "ph'):
      config.phase.encoder.steps = 3
    with self.assertRaisesRegex(AttributeError, "does not exist"):
      config.data = "x"

  def test_an_old_config_makes_the_same_phases(self):
    config, old = demo.get_config(), demo.get_config()
    config.run_phases = ("latents", "decoders")
    old.run_phases = ("encoder", "decoders")
    config.phases.latents.optimizers.encoder.arguments.b1 = 0.8
    old.phases.encoder.optimizer.beta1 = 0.8
    self.assertEqual(phases_of(config), phases_of(old))
    self.assertEqual(todays_phases(("encoder",)), ("latents",))

  def test_epochs_are_by_phase_too(self):
    config = paper_scale.get_config()
    config.epochs.encoder = 3
    self.assertEqual(config.epochs.latents, 3)
    self.assertEqual(
      paper_scale.with_steps(config, 25_600).phases.latents.steps, 300
    )


if __name__ == "__main__":
  absltest.main()
