from absl.testing import absltest
import numpy as np

from disentangle3d.evaluation.roc import roc_curve
from disentangle3d.reporting import roc_charts


def _texts(axes) -> list[str]:
  return [text.get_text() for text in axes.figure.legends[0].get_texts()]


class RocChartsTest(absltest.TestCase):
  def test_roc_curves_in_percent(self):
    same = np.arange(40) < 20
    curve = roc_curve(np.random.default_rng(0).normal(size=40) + same, same)
    (axes,) = roc_charts.roc_curves({"identity": curve}).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 100 * curve.tar)
    self.assertEqual(_texts(axes), ["identity", "chance"])
    self.assertEqual(axes.get_xlim(), (5.0, 100.0))

  def test_det_curves_show_misses_and_end_at_the_frame(self):
    same = np.arange(40) < 20
    curve = roc_curve(np.random.default_rng(0).normal(size=40) + same, same)
    (axes,) = roc_charts.det_curves({"identity": curve}).axes
    line = axes.lines[0]
    missed = 100 * (1 - curve.tar)
    shown = missed > 1e-9
    np.testing.assert_allclose(line.get_ydata()[shown], missed[shown])
    # One of 20 pairs is the least rate there is; 0 lies below the frame.
    self.assertEqual(axes.get_xlim(), (5.0, 100.0))
    self.assertEqual(axes.get_ylim(), (5.0, 100.0))
    self.assertLess(line.get_ydata().min(), 5.0)
    self.assertEqual(_texts(axes), ["identity", "equal error rate"])


if __name__ == "__main__":
  absltest.main()
