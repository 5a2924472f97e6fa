"""The one timer, against a clock that moves only when told to."""

import math

from absl.testing import absltest
import jax
import jax.numpy as jnp

from experiments.benchmarks import timing


class FakeClock:
  """Seconds that pass only in `wait`; half of them the processor is busy."""

  def __init__(self):
    self.now = 100.0

  def wait(self, seconds):
    self.now += seconds

  def busy(self):
    return self.now / 2


class TimingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.clock = FakeClock()
    self.clocks = {
      "clock": lambda: self.clock.now,
      "processor_clock": self.clock.busy,
    }

  def test_calls_take_turns_and_the_warm_up_does_not_count(self):
    order = []

    def work(name, seconds):
      upcoming = iter(seconds)

      def call():
        order.append(name)
        self.clock.wait(next(upcoming))

      return call

    found = timing.time_in_turn(
      {"a": work("a", [9, 7, 1, 2, 4]), "b": work("b", [5, 5, 8, 8, 16])},
      rounds=3,
      warmup=2,
      **self.clocks,
    )
    self.assertEqual("".join(order), "aabb" + "ab" * 3)
    self.assertEqual(found["a"], timing.Timing(9, (1, 2, 4), (0.5, 1, 2)))
    self.assertEqual(found["b"], timing.Timing(5, (8, 8, 16), (4, 4, 8)))

  def test_median_and_quartiles(self):
    seconds = iter([0.004, 0.001, 0.005, 0.002, 0.003])
    found = timing.time_calls(
      lambda: self.clock.wait(next(seconds)), rounds=5, warmup=0, **self.clocks
    )
    self.assertTrue(math.isnan(found.first_s))
    self.assertAlmostEqual(found.median_s, 0.003)
    self.assertAlmostEqual(found.median_cpu_s, 0.0015)
    ms = found.milliseconds()
    self.assertEqual(list(ms), ["p25_ms", "p50_ms", "p75_ms", "p95_ms"])
    for got, expected in zip(ms.values(), (2, 3, 4, 4.8), strict=True):
      self.assertAlmostEqual(got, expected)

  def test_a_call_ends_when_its_arrays_are_there(self):
    waited = []

    class Later:
      """What JAX waits for."""

      def block_until_ready(inner):
        waited.append(self.clock.now)
        self.clock.wait(3)
        return inner

    found = timing.time_calls(
      lambda: {"a": [Later()], "b": 1.0}, rounds=2, warmup=0, **self.clocks
    )
    self.assertEqual(waited, [100, 103])
    self.assertEqual(found.wall_s, (3, 3))

  def test_on_real_clocks_time_passes(self):
    run = jax.jit(lambda x: x @ x)
    found = timing.time_calls(lambda: run(jnp.ones((64, 64))), rounds=2)
    self.assertGreater(found.first_s, min(found.wall_s))
    self.assertGreater(min(found.wall_s), 0)

  def test_nothing_counted_is_refused(self):
    with self.assertRaisesRegex(ValueError, "at least 1 and 0, got 0, 1"):
      timing.time_calls(lambda: None, rounds=0)


if __name__ == "__main__":
  absltest.main()
