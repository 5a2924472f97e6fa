from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.reporting.charts import figure_image
from disentangle3d.reporting.galleries import Box, ColorBar, gallery

_CELL = 64


def _flat(color, height=_CELL, width=_CELL):
  return np.full((height, width, 3), color, np.uint8)


def _found(picture, color):
  """Left, top, right, bottom (inclusive) of the pixels of one colour."""
  rows, columns = np.nonzero((picture == np.array(color)).all(-1))
  return columns.min(), rows.min(), columns.max(), rows.max()


class GalleryTest(parameterized.TestCase):
  def test_every_picture_stands_in_its_row_and_column_pixel_by_pixel(self):
    colors = [[(250, 10, 20 * i + j) for j in range(3)] for i in range(2)]
    noise = np.random.default_rng(0).integers(0, 200, (_CELL, _CELL, 3))
    rows = [[_flat(color) for color in row] for row in colors]
    rows[1][2] = noise.astype(np.uint8)
    picture = figure_image(gallery(rows, cell_px=_CELL))
    corners = np.full((2, 3, 2), -1)
    for i, j in np.ndindex(2, 3):
      if (i, j) != (1, 2):
        left, top, right, bottom = _found(picture, colors[i][j])
        self.assertEqual((right - left, bottom - top), (_CELL - 1, _CELL - 1))
        corners[i, j] = left, top
    steps = np.diff(corners[:, :2], axis=1)[..., 0]
    self.assertEqual(np.unique(steps).tolist(), [_CELL + 10])
    self.assertEqual(corners[0, :, 1].tolist(), [corners[0, 0, 1]] * 3)
    self.assertGreater(corners[1, 0, 1], corners[0, 0, 1] + _CELL)
    x, y = corners[0, 2, 0], corners[1, 0, 1]
    np.testing.assert_array_equal(
      picture[y : y + _CELL, x : x + _CELL], rows[1][2]
    )

  def test_a_photo_keeps_its_proportions_and_a_missing_one_is_a_dash(self):
    rows = [[_flat((9, 99, 199), 32, 16), None]]
    picture = figure_image(gallery(rows, cell_px=_CELL))
    left, top, right, bottom = _found(picture, (9, 99, 199))
    self.assertEqual((right - left + 1, bottom - top + 1), (_CELL // 2, _CELL))
    cell = picture[top : bottom + 1, right + 16 + 10 + 1 :]
    self.assertLess(cell.min(), 100)
    self.assertGreater((cell == 255).mean(), 0.9)

  def test_the_bar_of_50_mm_is_as_long_as_the_scale_says(self):
    rows = [[_flat(200)] * 2]
    picture = figure_image(gallery(rows, cell_px=_CELL, extent_mm=160.0))
    bar = picture[_CELL + 25 : _CELL + 29]
    black = np.flatnonzero((bar < 60).all(-1).any(0))
    self.assertAlmostEqual(np.ptp(black) + 1, _CELL * 50 / 160, delta=1.01)

  def test_the_color_bar_ends_at_the_maximum_and_has_its_unit(self):
    figure = gallery(
      [[_flat(200)]], cell_px=200, color_bar=ColorBar(2.5, "distance (mm)")
    )
    bar = figure.axes[-1]
    self.assertEqual(bar.get_ylabel(), "distance (mm)")
    self.assertEqual(bar.get_ylim(), (0, 2.5))

  def test_boxes_frame_their_columns(self):
    rows = [[_flat(200)] * 3]
    figure = gallery(
      rows,
      column_labels=["a", "b", "c"],
      boxes=[Box((1, 3), "full shape", "#ff0000")],
      cell_px=_CELL,
    )
    picture = figure_image(figure)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 80)
    columns = np.flatnonzero(red.any(0))
    self.assertBetween(columns.min(), 10 + _CELL, 10 + _CELL + 10)
    self.assertGreater(columns.max(), 10 + 3 * _CELL + 20)
    self.assertIn("full shape", [text.get_text() for text in figure.texts])

  @parameterized.named_parameters(
    ("nothing", [], {}, "got 0 rows of 0"),
    ("ragged", [[_flat(1)] * 2, [_flat(1)]], {}, r"rows\[1\]: expected 2"),
    ("labels", [[_flat(1)]], {"row_labels": ["a", "b"]}, "row_labels: .*got 2"),
    ("box", [[_flat(1)]], {"boxes": [Box((0, 2), "", "red")]}, "got 0 to 2"),
  )
  def test_what_does_not_add_up_is_named(self, rows, more, problem):
    with self.assertRaisesRegex(ValueError, problem):
      gallery(rows, **more)

  def test_pictures_are_uint8(self):
    with self.assertRaisesRegex(TypeError, r"rows\[0\]\[0\]: .*uint8"):
      gallery([[_flat(1).astype(float)]])


if __name__ == "__main__":
  absltest.main()
