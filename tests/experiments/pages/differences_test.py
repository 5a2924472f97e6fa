from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.evaluation.bootstrap import Interval
from disentangle3d.evaluation.code_scores import score_pairs
from disentangle3d.evaluation.pair_plans import draw_pairs, plan_pairs
from experiments.pages.differences import (
  Difference,
  auc_differences,
  differences_table,
)


class DifferencesTest(parameterized.TestCase):
  @parameterized.parameters(
    (0.5, 2.0, True, "better"),
    (0.5, 2.0, False, "worse"),
    (-2.0, -0.5, True, "worse"),
    (-2.0, -0.5, False, "better"),
    (-0.5, 2.0, True, "no difference shown"),
  )
  def test_an_interval_says_what_it_shows(self, low, high, more, verdict):
    value = Interval((low + high) / 2, low, high, 0.95)
    found = Difference("AUC", "a", "b", value, more_is_better=more)
    self.assertEqual(found.verdict(), verdict)

  def test_the_last_network_is_compared_with_all_before_it(self):
    people = np.repeat(np.arange(8), 4).astype(np.int32)
    pairs = draw_pairs(people, plan_pairs(people))
    perfect = score_pairs(np.eye(8, dtype=np.float32)[people], pairs)
    chance = score_pairs(np.ones((32, 8), np.float32), pairs)
    found = auc_differences(
      "code",
      {"first": chance, "second": perfect, "third": perfect},
      people,
      more_is_better=True,
    )
    what = "AUC of the code, points"
    self.assertEqual(
      [tuple(row) for row in differences_table(found).rows],
      [
        (what, "third", "second", "0.00 [0.00, 0.00]", "no difference shown"),
        (what, "third", "first", "50.00 [50.00, 50.00]", "better"),
        (what, "second", "first", "50.00 [50.00, 50.00]", "better"),
      ],
    )


if __name__ == "__main__":
  absltest.main()
