"""Tables of scans: against numbers written out."""

from absl.testing import absltest
import numpy as np

from disentangle3d.evaluation.side_by_side import (
  OUTLINE_MEDIAN,
  OUTLINE_RMSE,
  SideBySide,
)
from experiments.pages.york import outline_table
from experiments.sets.heldout import MEAN_SHAPE, SINGLE_FIT


def _both(median_mm: list[float], rmse_mm: list[float]) -> dict:
  return {OUTLINE_MEDIAN: np.array(median_mm), OUTLINE_RMSE: np.array(rmse_mm)}


class OutlineTableTest(absltest.TestCase):
  def test_differences_are_of_photos_that_both_have(self):
    table = SideBySide(
      scores={
        MEAN_SHAPE: _both([2.0, 1.0, 3.0], [3.0, 2.0, 4.0]),
        SINGLE_FIT: _both([1.5, 1.5, np.nan], [2.0, 2.0, np.nan]),
        "network": _both([1.0, 1.25, 1.0], [2.0, 1.0, 1.5]),
      },
      now={},
      unconverged={},
      groups=np.array([0, 1, 1]),
      outline_mm={},
    )
    found = outline_table(table)
    means = [[str(c).partition(" [")[0] for c in row] for row in found.rows]
    self.assertEqual(
      means,
      [
        [MEAN_SHAPE, "2.00", "3.00", "–", "–", "0.00", "3"],
        [SINGLE_FIT, "1.50", "2.00", "0.00", "−0.50", "–", "2"],
        ["network", "1.08", "1.50", "−0.92", "−1.50", "−0.38", "3"],
      ],
    )


if __name__ == "__main__":
  absltest.main()
