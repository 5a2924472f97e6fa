import math

from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np

from disentangle3d.training.optimizers import (
  OptimizerSetting,
  Schedule,
  learning_rate,
  make_optimizer,
  schedule_factor,
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
  )
  def test_bad_schedules_are_refused(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      Schedule(**fields)


class OptimizerTest(parameterized.TestCase):
  def test_sgd_adds_decay_of_kernels_before_the_momentum(self):
    tx = make_optimizer(
      OptimizerSetting("sgd", 1.0, momentum=0.5, weight_decay=0.1)
    )
    params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full((1,), 2.0)}
    gradient = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones((1,))}
    state = tx.init(params)
    _, state = tx.update(gradient, state, params)
    direction, _ = tx.update(gradient, state, params)
    # (1 + 0.1 * 2) * (1 + 0.5), and the same without the decay.
    self.assertAlmostEqual(direction["kernel"].item(), 1.8, places=6)
    self.assertAlmostEqual(direction["bias"].item(), 1.5, places=6)

  def test_adam_is_the_textbooks(self):
    tx = make_optimizer(OptimizerSetting("adam", 1.0, beta1=0.8, beta2=0.9))
    params = jnp.zeros(2)
    state, m, v = tx.init(params), np.zeros(2), np.zeros(2)
    for gradient in ([1.0, -2.0], [3.0, 0.5]):
      g = np.array(gradient)
      m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
      direction, state = tx.update(jnp.asarray(g, jnp.float32), state, params)
    wanted = m / (1 - 0.8**2) / (np.sqrt(v / (1 - 0.9**2)) + 1e-8)
    np.testing.assert_allclose(direction, wanted, rtol=1e-5)

  @parameterized.parameters(
    ({"kind": "lamb", "rate": 1.0}, "expected one of sgd, adam, got lamb"),
    ({"kind": "sgd", "rate": 0.0}, "rate: expected above 0"),
    ({"kind": "sgd", "rate": math.nan}, "rate: expected above 0"),
    ({"kind": "sgd", "rate": 1.0, "weight_decay": -1.0}, "weight_decay"),
  )
  def test_bad_settings_are_refused(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      OptimizerSetting(**fields)


if __name__ == "__main__":
  absltest.main()
