import inspect
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.models.formats import FORMATS, read_landmark_list
from data_prep.models.ict_facekit import read_ict_facekit


class FormatsTest(parameterized.TestCase):
  @parameterized.parameters(*FORMATS)
  def test_options_are_keywords_of_the_reader(self, name):
    form = FORMATS[name]
    # ICT's goes through one that shows progress.
    read = read_ict_facekit if name == "ict_facekit" else form.read
    parameters = inspect.signature(read).parameters
    for option in form.options:
      self.assertEqual(
        parameters[option].kind, inspect.Parameter.KEYWORD_ONLY, option
      )
    self.assertContainsSubset(form.required, form.options)
    self.assertIn("landmarks", inspect.signature(form.read).parameters)

  @parameterized.parameters(*FORMATS)
  def test_a_missing_source_is_named(self, name):
    path = pathlib.Path("no_such_folder") / "model"
    required = dict.fromkeys(FORMATS[name].required, path)
    with self.assertRaisesRegex(FileNotFoundError, "no_such_folder.model"):
      FORMATS[name].read(path, **required)


class ReadLandmarkListTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "list.txt"

  def test_numbers_apart_by_blanks_lines_or_commas(self):
    vertices = [-1, *range(900, 967)]
    for apart in (" ", "\n", ",", ", ", "\r\n"):
      self.path.write_text(apart.join(map(str, vertices)))
      found = read_landmark_list(self.path)
      self.assertEqual(found.dtype, np.int32)
      np.testing.assert_array_equal(found, vertices)

  @parameterized.named_parameters(
    ("few", b"1 " * 67, "expected 68 numbers, got 67"),
    ("many", b"1 " * 69, "expected 68 numbers, got 69"),
    ("empty", b"", "expected 68 numbers, got 0"),
    ("word", b"1 " * 67 + b"nose", "expected whole numbers, .*nose"),
    ("fraction", b"1 " * 67 + b"1.5", "expected whole numbers, .*1.5"),
    ("huge", b"1 " * 67 + b"4294967296", "expected whole numbers"),
    ("no_text", b"\xff\xfe1 ", "expected whole numbers"),
  )
  def test_other_texts_are_refused(self, content, message):
    self.path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, rf"list\.txt: {message}"):
      read_landmark_list(self.path)

  def test_a_missing_file(self):
    with self.assertRaisesRegex(FileNotFoundError, r"list\.txt"):
      read_landmark_list(self.path)


if __name__ == "__main__":
  absltest.main()
