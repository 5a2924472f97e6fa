import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.evaluation_sets.ljson import read_ljson

POINTS = np.random.default_rng(0).normal(0, 50, (68, 3)).round(3).tolist()
V2 = {"landmarks": {"points": POINTS, "connectivity": [[0, 1]]}, "labels": []}


def text() -> str:
  """A good file."""
  return json.dumps({"version": 2, **V2})


class LjsonTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "110920150452.ljson"

  @parameterized.named_parameters(
    (
      "1",
      {
        "version": 1,
        "groups": [
          {
            "label": label,
            "connectivity": [],
            "landmarks": [{"point": point} for point in points],
          }
          for label, points in (("jaw", POINTS[:17]), ("rest", POINTS[17:]))
        ],
      },
    ),
    ("2", {"version": 2, **V2}),
    ("3", {"version": 3, "groups": {"LJSON": V2}}),
  )
  def test_each_version_is_read(self, content):
    self.path.write_text(json.dumps(content))
    found = read_ljson(self.path)
    self.assertEqual(found.dtype, np.float32)
    np.testing.assert_allclose(found, POINTS, rtol=1e-6)

  def test_a_missing_landmark_is_not_a_number(self):
    points = [*POINTS[:5], [None] * 3, *POINTS[6:]]
    content = {"version": 2, "landmarks": {"points": points}}
    self.path.write_text(json.dumps(content))
    found = read_ljson(self.path)
    np.testing.assert_array_equal(np.isnan(found).any(1), np.arange(68) == 5)

  @parameterized.named_parameters(
    ("text", "hello", "version 1, 2 or 3, got something else .JSONDecodeError"),
    ("number", "7", "got something else .TypeError"),
    ("version", '{"version": 4}', "KeyError: 'version 4'"),
    ("no_points", '{"version": 2}', "KeyError: 'landmarks'"),
    ("groups", '{"version": 3, "groups": {}}', "one group, not 0"),
    (
      "two_d",
      {"version": 2, "landmarks": {"points": [[1, 2]]}},
      "landmark 0: ",
    ),
    (
      "word",
      {"version": 2, "landmarks": {"points": [["x"] * 3]}},
      "landmark 0",
    ),
    (
      "bool",
      {"version": 2, "landmarks": {"points": [[True] * 3]}},
      "landmark 0",
    ),
    ("large", {"version": 2, "landmarks": {"points": [[1e99] * 3]}}, "ark 0: "),
    ("nan", '{"version": 2, "landmarks": {"points": [[NaN]]}}', "NaN is no JS"),
    (
      "few",
      {"version": 2, "landmarks": {"points": POINTS[:5]}},
      "68 landmarks",
    ),
    ("deep", "[" * 200_000, "got something else"),
    ("digits", "9" * 5000, "got something else"),
  )
  def test_what_is_malformed_is_named(self, content, problem):
    text = content if isinstance(content, str) else json.dumps(content)
    self.path.write_text(text)
    with self.assertRaisesRegex(ValueError, f"0452.ljson: .*{problem}"):
      read_ljson(self.path)


if __name__ == "__main__":
  absltest.main()
