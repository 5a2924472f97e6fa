import pathlib
import tempfile

from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np

from data_prep.faces.five_point_lists import read_five_points
from tests.fixtures import SHARED_DATA

_LINE = "ann/1.jpg 10 20 30 21 20.5 30 12 40 28 41"


class FivePointListsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "points.txt"

  @parameterized.parameters(
    _LINE, _LINE.replace(" ", "\t"), _LINE.replace("jpg", "jpg 7"), f"\n{_LINE}"
  )
  def test_lfw_and_casia_lines_are_read(self, line):
    self.path.write_text(f"{line}\nbob/2.jpg 1 2 3 4 5 6 7 8 9 10\n")
    points = read_five_points(self.path)
    self.assertEqual(list(points), ["ann/1.jpg", "bob/2.jpg"])
    np.testing.assert_array_equal(
      points["ann/1.jpg"], [[10, 20], [30, 21], [20.5, 30], [12, 40], [28, 41]]
    )
    self.assertEqual(points["ann/1.jpg"].dtype, np.float32)

  def test_paths_may_have_blanks(self):
    numbers = "1 2 3 4 5 6 7 8 9 10"
    self.path.write_text(
      f"Ann Lee/1 a.jpg {numbers}\nAnn Lee/2.jpg\t7\t{numbers}\n"
    )
    points = read_five_points(self.path)
    self.assertEqual(list(points), ["Ann Lee/1 a.jpg", "Ann Lee/2.jpg"])
    np.testing.assert_array_equal(points["Ann Lee/2.jpg"][4], [9, 10])

  @parameterized.parameters(
    ("ann/1.jpg 1 2 3", "line 1: expected a path and 10 numbers, got 4 words"),
    (f"{_LINE}\n{_LINE}", "line 2: expected each photo once, got ann/1.jpg"),
    (_LINE.replace("41", "x"), "line 1: expected"),
    (_LINE.replace("41", "nan"), "line 1: expected"),
    ("\n", "expected a list of five points, got an empty file"),
  )
  def test_other_lines_are_named(self, text, message):
    self.path.write_text(text)
    with self.assertRaisesRegex(ValueError, f"points.txt.*{message}"):
      read_five_points(self.path)

  @settings(max_examples=60, deadline=None)
  @given(content=st.binary(max_size=200))
  def test_any_bytes_give_points_or_one_error(self, content):
    self.path.write_bytes(content)
    try:
      points = read_five_points(self.path)
    except ValueError as error:
      self.assertIn("points.txt", str(error))
    else:
      for five in points.values():
        self.assertTrue(np.isfinite(five).all())

  def test_the_real_list_has_all_of_lfw(self):
    path = SHARED_DATA / "lfw" / "lfw_landmark.txt"
    if not path.is_file():
      self.skipTest(f"{path} is not there")
    points = read_five_points(path)
    self.assertLen(points, 13_233)
    stacked = np.stack(list(points.values()))
    # LFW photos are 250 x 250, the face in the middle.
    np.testing.assert_allclose(
      stacked.mean((0, 1)), [124.5, 132], atol=8, rtol=0
    )
    self.assertGreater(np.mean(stacked[:, 1, 0] > stacked[:, 0, 0]), 0.999)


if __name__ == "__main__":
  absltest.main()
