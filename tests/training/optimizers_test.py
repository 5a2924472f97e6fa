import math

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import optax

from disentangle3d.training.optimizers import (
  OptimizerSetting,
  Schedule,
  initial_memory,
  learning_rate,
  make_optimizer,
  schedule_factor,
  update_of,
)


class ScheduleTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.5), (110, 0.0), (500, 0.0)
  )
  def test_warmup_and_cosine(self, step, factor):
    schedule = Schedule("warmup_cosine", warmup_steps=10, decay_steps=110)
    self.assertAlmostEqual(
      float(schedule_factor(schedule, step)), factor, places=6
    )

  @parameterized.parameters((0, 1.0), (9, 1.0), (10, 0.1), (20, 0.01))
  def test_step_decay(self, step, factor):
    schedule = Schedule("step_decay", boundaries=(10, 20), final_factor=0.1)
    self.assertAlmostEqual(
      float(schedule_factor(schedule, step)), factor, places=6
    )

  def test_constant_is_the_rate(self):
    setting = OptimizerSetting("sgd", 0.3)
    self.assertAlmostEqual(float(learning_rate(setting, 99)), 0.3, places=6)

  @parameterized.parameters(
    ({"kind": "linear"}, "expected one of constant"),
    ({"kind": "warmup_cosine", "warmup_steps": 5}, "more than the 5"),
    ({"kind": "step_decay", "boundaries": (5, 3)}, "rising steps"),
    ({"kind": "step_decay", "boundaries": ("a",)}, "rising steps"),
  )
  def test_bad_schedules_are_refused(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      Schedule(**fields)


class OptimizerTest(parameterized.TestCase):
  def test_sgd_adds_decay_of_kernels_before_the_momentum(self):
    tx = make_optimizer(
      OptimizerSetting(
        "sgd", 1.0, arguments={"momentum": 0.5}, weight_decay=0.1
      )
    )
    params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full((1,), 2.0)}
    gradient = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones((1,))}
    state = tx.init(params)
    _, state = tx.update(gradient, state, params)
    update, _ = tx.update(gradient, state, params)
    # (1 + 0.1 * 2) * (1 + 0.5), and the same without the decay.
    self.assertAlmostEqual(update["kernel"].item(), -1.8, places=6)
    self.assertAlmostEqual(update["bias"].item(), -1.5, places=6)

  def test_adam_is_the_textbooks(self):
    tx = make_optimizer(
      OptimizerSetting("adam", 1.0, arguments={"b1": 0.8, "b2": 0.9})
    )
    params = jnp.zeros(2)
    state, m, v = tx.init(params), np.zeros(2), np.zeros(2)
    for gradient in ([1.0, -2.0], [3.0, 0.5]):
      g = np.array(gradient)
      m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
      update, state = tx.update(jnp.asarray(g, jnp.float32), state, params)
    wanted = m / (1 - 0.8**2) / (np.sqrt(v / (1 - 0.9**2)) + 1e-8)
    np.testing.assert_allclose(update, -wanted, rtol=1e-5)

  def test_a_trunk_takes_its_share_of_the_rate_or_stands_still(self):
    params = {"trunk": {"kernel": jnp.ones((2, 2))}, "fc": jnp.ones(2)}
    gradient = jax.tree.map(jnp.ones_like, params)
    for factor, moved in ((1.0, 0.5), (0.1, 0.05), (0.0, 0.0)):
      setting = OptimizerSetting("sgd", 0.5, trunk_factor=factor)
      update, _ = update_of(
        setting, gradient, initial_memory(setting, params), params, jnp.int32(0)
      )
      np.testing.assert_allclose(update["trunk"]["kernel"], -moved)
      np.testing.assert_allclose(update["fc"], -0.5)

  def test_any_of_optax_goes_by_name_with_its_arguments(self):
    params = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full((2,), 2.0)}
    gradient = jax.tree.map(lambda x: jnp.cos(3 * x), params)
    for name, arguments in (
      ("lion", {"b1": 0.8}),
      ("rmsprop", {"decay": 0.7, "nesterov": True}),
      ("adamw", {}),
    ):
      tx = make_optimizer(
        OptimizerSetting(name, 1.0, arguments=arguments, weight_decay=0.25)
      )
      plain = OptimizerSetting(name, 1.0, arguments=arguments)
      update, _ = tx.update(gradient, tx.init(params), params)
      kwargs = {} if name == "rmsprop" else {"weight_decay": 0.0}
      theirs = getattr(optax, name)(1.0, **arguments, **kwargs)
      wanted, _ = theirs.update(gradient, theirs.init(params), params)
      for setting, decay in ((plain, 0.0), (None, 0.5)):
        if setting is not None:
          own = make_optimizer(setting)
          got, _ = own.update(gradient, own.init(params), params)
        else:
          got = update
        np.testing.assert_allclose(
          got["kernel"], wanted["kernel"] - decay, rtol=1e-6
        )
        np.testing.assert_allclose(got["bias"], wanted["bias"], rtol=1e-6)

  def test_the_memory_is_flat_as_in_earlier_checkpoints(self):
    params = {"kernel": jnp.ones((1, 1))}
    for name, decay, wanted in (
      ("sgd", 0.0, {"[0].trace['kernel']"}),
      ("sgd", 0.1, {"[1].trace['kernel']"}),
      ("adam", 0.1, {"[0].count", "[0].mu['kernel']", "[0].nu['kernel']"}),
    ):
      memory = make_optimizer(
        OptimizerSetting(name, 1.0, weight_decay=decay)
      ).init(params)
      paths = {
        jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(memory)
      }
      self.assertEqual(paths, wanted)

  @parameterized.parameters(
    (
      {"name": "adam", "rate": 1.0, "arguments": {"beta1": 0.9}},
      "arguments: expected some of b1, b2, eps, .* for adam, got beta1",
    ),
    (
      {"name": "adamw", "rate": 1.0, "arguments": {"weight_decay": 0.1}},
      "got weight_decay",
    ),
    (
      {"name": "sgd", "rate": 1.0, "arguments": {"momentum": "much"}},
      "sgd cannot train .* with {'momentum': 'much'}",
    ),
    ({"name": "lbfgs", "rate": 1.0}, "lbfgs cannot train on gradients alone"),
    ({"name": "adm", "rate": 1.0}, "name: expected one of .*adam,.* got adm"),
    ({"name": "sgd", "rate": 0.0}, "rate: expected above 0"),
    ({"name": "sgd", "rate": math.nan}, "rate: expected above 0"),
    ({"name": "sgd", "rate": 1.0, "weight_decay": -1.0}, "weight_decay"),
  )
  def test_bad_settings_are_refused(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      OptimizerSetting(**fields)


if __name__ == "__main__":
  absltest.main()
