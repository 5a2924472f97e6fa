"""Damaged files: every outcome is told apart."""

import os
import time
from unittest import mock

from absl.testing import absltest
import numpy as np

from disentangle3d.types import UserError
from experiments.resilience import fuzzed


class OutcomeTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.path = self.create_tempfile("face.obj", "v 1 2 3").full_path

  def outcome(self, read):
    handler = fuzzed.signal.signal(fuzzed.signal.SIGPROF, fuzzed._too_slow)
    try:
      return fuzzed._outcome(read, fuzzed.pathlib.Path(self.path))
    finally:
      fuzzed.signal.signal(fuzzed.signal.SIGPROF, handler)

  def test_each_is_told_apart(self):
    def refuse(path):
      raise UserError(f"{path}: damaged")

    def forget(path):
      raise UserError("damaged")

    def fall(path):
      return {}["key"]

    def fill(path):
      raise MemoryError

    def work(path):
      end = time.process_time() + 5
      while time.process_time() < end:
        pass

    self.assertEqual(self.outcome(os.stat), ("read", ""))
    self.assertEqual(self.outcome(refuse), ("refused", ""))
    self.assertEqual(
      self.outcome(forget), ("wrong error", "UserError: damaged")
    )
    self.assertEqual(self.outcome(fall), ("wrong error", "KeyError: 'key'"))
    self.assertEqual(
      self.outcome(fill), ("too much memory", "more than 1024 MB")
    )
    with mock.patch.object(fuzzed, "MOST_SECONDS", 1):
      self.assertEqual(self.outcome(work), ("too slow", "more than 1 s"))

  def test_damage_is_decided_by_the_seed_and_of_every_kind(self):
    good = bytes(range(200)) * 3
    self.assertEqual(
      fuzzed.damage(good, np.random.default_rng(7)),
      fuzzed.damage(good, np.random.default_rng(7)),
    )
    rng = np.random.default_rng(0)
    some = [fuzzed.damage(good, rng) for _ in range(200)]
    cut = [content for content in some if good.startswith(content)]
    self.assertBetween(len(cut), 5, 60)
    self.assertGreater(len(set(some)), 150)


if __name__ == "__main__":
  absltest.main()
