from absl.testing import absltest, parameterized
import matplotlib
import numpy as np

from disentangle3d.reporting import charts


def _texts(axes) -> list[str]:
  return [text.get_text() for text in axes.get_legend().get_texts()]


class ChartTest(parameterized.TestCase):
  def test_line_chart_draws_the_numbers_with_their_names(self):
    figure = charts.line_chart(
      {
        "network": charts.Series([0, 30], [2.0, 2.5], [1.9, 2.4], [2.1, 2.6]),
        "fit": charts.Series([0, 30], [1.9, np.nan]),
      },
      x_label="yaw (degrees)",
      y_label="RMSE (mm)",
    )
    (axes,) = figure.axes
    self.assertEqual(axes.get_xlabel(), "yaw (degrees)")
    self.assertEqual(axes.get_ylabel(), "RMSE (mm)")
    self.assertEqual(_texts(axes), ["network", "fit"])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2.0, 2.5])
    self.assertLen(axes.collections, 1)
    self.assertNotEqual(
      axes.lines[0].get_linestyle(), axes.lines[1].get_linestyle()
    )

  def test_loss_curves_show_the_running_mean(self):
    steps, losses = np.arange(80), np.exp(-np.arange(80) / 20)
    figure = charts.loss_curves(
      {"L_R": charts.Series(steps, losses)}, unit="mm²", smooth_points=5
    )
    (axes,) = figure.axes
    self.assertEqual(axes.get_ylabel(), "loss (mm²)")
    self.assertEqual(axes.get_yscale(), "log")
    np.testing.assert_allclose(
      axes.lines[1].get_ydata()[2:-2],
      np.convolve(losses, np.ones(5) / 5, "valid"),
    )

  @parameterized.parameters(1, 2, 3, 6, 100)
  def test_running_mean_keeps_constants_and_length(self, width):
    np.testing.assert_allclose(
      charts.running_mean(np.full(9, 3.0), width), np.full(9, 3.0)
    )

  def test_no_two_bars_look_alike(self):
    figure = charts.bar_chart(
      ["a"], {f"method {n}": [1.0] for n in range(20)}, y_label="mm"
    )
    (axes,) = figure.axes
    looks = {(bar.get_facecolor(), bar.get_hatch()) for bar in axes.patches}
    self.assertLen(looks, 20)

  def test_bar_chart_puts_a_dash_where_a_number_is_missing(self):
    figure = charts.bar_chart(
      ["happy", "sad"],
      {"network": [2.125, float("nan")], "fit": [1.0, 2.0]},
      y_label="RMSE (mm)",
      errors={"network": [0.1, 0.1]},
    )
    (axes,) = figure.axes
    self.assertEqual(
      [text.get_text() for text in axes.texts], ["2.12", "–", "1.00", "2.00"]
    )
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_array_equal(heights, [2.125, 0.0, 1.0, 2.0])
    self.assertEqual(axes.get_ylim()[0], 0.0)

  def test_figure_as_picture_and_png(self):
    figure = charts.line_chart(
      {"a": charts.Series([0, 1], [0, 1])}, x_label="x", y_label="y"
    )
    picture = charts.figure_image(figure, dots_per_inch=50)
    self.assertEqual((picture.shape, picture.dtype), ((170, 270, 3), np.uint8))
    self.assertGreater(len(np.unique(picture)), 10)
    self.assertStartsWith(
      charts.figure_png(figure, dots_per_inch=50), b"\x89PNG"
    )

  def test_bytes_of_a_files_name_are_drawn_as_written_out(self):
    pictures = []
    for name in ("Jos\udce9", r"Jos\xe9"):
      line = charts.line_chart(
        {name: charts.Series([0, 1], [0, 1]), "b": charts.Series([0], [0])},
        x_label="x",
        y_label="y",
      )
      bars = charts.bar_chart([name], {name: [1.0]}, y_label="y")
      pictures.append([charts.figure_image(figure) for figure in (line, bars)])
    for one, other in zip(*pictures, strict=True):
      np.testing.assert_array_equal(one, other)

  def test_no_global_figure_is_made(self):
    charts.line_chart(
      {"a": charts.Series([0, 1], [0, 1])}, x_label="x", y_label="y"
    )
    pyplot = getattr(matplotlib, "pyplot", None)
    self.assertFalse(pyplot and pyplot.get_fignums())

  def test_errors_name_the_series(self):
    labels = {"x_label": "x", "y_label": "y"}
    with self.assertRaisesRegex(ValueError, "series: expected at least one"):
      charts.line_chart({}, **labels)
    with self.assertRaisesRegex(ValueError, "'fit': expected 2 y, got 3"):
      charts.line_chart({"fit": charts.Series([0, 1], [0, 1, 2])}, **labels)
    with self.assertRaisesRegex(ValueError, "'fit': expected 2 heights, got 1"):
      charts.bar_chart(["a", "b"], {"fit": [1]}, y_label="mm")


if __name__ == "__main__":
  absltest.main()
