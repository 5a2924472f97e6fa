import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.faces.pts import read_pts


def pts_bytes(points, head=b"version: 1\nn_points:  %d\n") -> bytes:
  """A file as 300-W has it; `points` are 0-based."""
  rows = b"".join(b"%f %f\n" % (x + 1, y + 1) for x, y in points)
  return head % len(points) + b"{\n" + rows + b"}\n"


class PtsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "face.pts"
    self.points = np.random.default_rng(0).uniform(-3, 500, (68, 2))

  def test_pixels_are_counted_from_zero(self):
    self.path.write_bytes(b"n_points: 2\n{\n1 1\n1.101000e+02 52.5\n}")
    np.testing.assert_array_equal(
      read_pts(self.path, num_points=2),
      np.array([[0, 0], [109.1, 51.5]], np.float32),
    )

  @parameterized.named_parameters(
    ("as_written", lambda text: text),
    ("windows_lines_and_a_mark", lambda text: b"\xef\xbb\xbf" + _crlf(text)),
    ("comments_and_empty_lines", lambda text: b"// 300-W\n\n" + text + b"\n"),
    ("no_version", lambda text: text.removeprefix(b"version: 1\n")),
  )
  def test_68_points_come_back(self, change):
    self.path.write_bytes(change(pts_bytes(self.points)))
    found = read_pts(self.path)
    self.assertEqual((found.shape, found.dtype), ((68, 2), np.float32))
    np.testing.assert_allclose(found, self.points, atol=1e-4)

  @parameterized.named_parameters(
    ("cut_off", b"n_points: 2\n{\n1 2\n3", "found no closing one"),
    ("no_braces", b"version: 1\n", "found no opening one"),
    ("lying_count", b"n_points: 3\n{\n1 2\n}\n", "expected 3 points, as n_p"),
    ("count", b"n_points: many\n{\n}\n", "line 1: expected a count.*'many'"),
    ("three_numbers", b"{\n1 2 3\n}", "line 2: expected 2 numbers, got 3"),
    ("word", b"{\n1 2\n1 x\n}", "line 3: expected 2 numbers, could not"),
    ("nan", b"{\n1 2\nnan 1\n}", "line 3: expected finite numbers"),
    ("other_text", b"hello\n", "line 1: expected version.*'hello'"),
    ("binary", b"\xff\xd8\xff", "byte 0: expected UTF-8 text"),
    ("five_points", b"{\n" + b"1 2\n" * 5 + b"}", "expected 68 points, got 5"),
  )
  def test_what_is_malformed_is_named(self, content, problem):
    self.path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, f"face.pts.*{problem}"):
      read_pts(self.path)

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "face.pts: no such file"):
      read_pts(self.path)


def _crlf(text: bytes) -> bytes:
  return text.replace(b"\n", b"\r\n")


if __name__ == "__main__":
  absltest.main()
