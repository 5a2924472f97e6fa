"""What the demo demands, on figures made up for it."""

import types

from absl.testing import absltest
import numpy as np

from experiments.sets.heldout import MEAN_SHAPE
from experiments.study.gates import AFTER_JOINT, AFTER_PRETRAINING, demo_gates


def _passed(*, pretrained_mm, joint_mm, pretrained, residual, joint):
  def errors(mean):
    return types.SimpleNamespace(within=np.array([mean - 1, mean + 1]))

  def verified(percent):
    auc = types.SimpleNamespace(mean=percent)
    return types.SimpleNamespace(result=types.SimpleNamespace(auc=auc))

  photos = types.SimpleNamespace(
    scores={
      MEAN_SHAPE: errors(3.0),
      AFTER_PRETRAINING: errors(pretrained_mm),
      AFTER_JOINT: errors(joint_mm),
    }
  )
  faces = types.SimpleNamespace(
    rows={
      f"identity code, {AFTER_PRETRAINING}": verified(pretrained),
      f"residual code, {AFTER_PRETRAINING}": verified(residual),
      f"identity code, {AFTER_JOINT}": verified(joint),
    }
  )
  return demo_gates(photos, faces)


class GatesTest(absltest.TestCase):
  def test_each_gate_has_its_own_bound(self):
    good = {
      "pretrained_mm": 2.7,
      "joint_mm": 2.75,
      "pretrained": 80.0,
      "residual": 69.0,
      "joint": 78.5,
    }
    self.assertEqual([gate.passed for gate in _passed(**good)], [True] * 4)
    for place, bad in enumerate(
      ({"pretrained_mm": 2.77}, {"joint_mm": 2.77}, {"residual": 71.0})
    ):
      gates = [gate.passed for gate in _passed(**good | bad)]
      self.assertEqual(gates, [n != place for n in range(4)])
    last = _passed(**good | {"joint": 77.9})[3]
    self.assertFalse(last.passed)
    self.assertIn("77.90, demanded at least 78.00 %", last.text)


if __name__ == "__main__":
  absltest.main()
