import os
import pathlib
import tempfile

from absl import flags
from absl.testing import absltest, parameterized

from data_prep.stages import flag_values, flag_words
from disentangle3d.output_files import check_output_file
from disentangle3d.types import UserError


class OldNamesTest(parameterized.TestCase):
  renamed = {
    "params": "network",
    "after": "network=after",
    "config.phases.first": "config.phases.latents",
  }

  @parameterized.named_parameters(
    ("as_it_is", "--network=a", "--network=a", 0),
    ("with_a_value", "--params=a=b", "--network=a=b", 1),
    ("value_apart", "--params", "--network", 1),
    ("one_dash", "-params=a", "-network=a", 1),
    (
      "part_of_a_config",
      "--config.phases.first.steps=3",
      "--config.phases.latents.steps=3",
      1,
    ),
    ("named", "--after=b", "--network=after=b", 1),
    ("begins_alike", "--paramsx=a", "--paramsx=a", 0),
    ("a_value", "params", "params", 0),
  )
  def test_old_names_become_todays(self, word, expected, count):
    words, warnings = flag_words.today(["binary", word], self.renamed)
    self.assertEqual(words, ["binary", expected])
    self.assertLen(warnings, count)

  def test_a_value_apart_joins_the_beginning_that_a_name_brings(self):
    words, _ = flag_words.today(["b", "--after", "c", "--d"], self.renamed)
    self.assertEqual(words, ["b", "--network=after=c", "--d"])

  def test_the_warning_says_both_names(self):
    _, (warning,) = flag_words.today(["b", "--params=a"], self.renamed)
    self.assertEqual(warning, "--params is called --network now")


class NamedPathsTest(absltest.TestCase):
  def test_a_path_may_have_a_name(self):
    self.assertEqual(
      flag_values.parse_named("network", "after III=runs/a=b"),
      ("after III", "runs/a=b"),
    )
    self.assertEqual(flag_values.parse_named("network", "runs/a")[0], "runs/a")

  def test_a_path_that_exists_is_no_name(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, "a=b")
      path.mkdir()
      self.assertEqual(
        flag_values.parse_named("network", str(path)), (str(path), str(path))
      )

  def test_what_is_wrong_is_said(self):
    for text in ("=a", "a="):
      with self.assertRaisesRegex(UserError, "--network: expected NAME=PATH"):
        flag_values.parse_named("network", text)
    with self.assertRaisesRegex(UserError, "different names, got 'a' twice"):
      flag_values.parse_all_named("network", ["a=x", "a=y"])

  def test_numbers(self):
    self.assertEqual(
      flag_values.numbers_of("batch_sizes", ["1", "32"]), [1, 32]
    )
    for wrong in (["0"], ["1", "x"], ["-1"]):
      with self.assertRaisesRegex(UserError, "--batch_sizes: expected whole"):
        flag_values.numbers_of("batch_sizes", wrong)


class PathTest(absltest.TestCase):
  def test_the_tilde_is_the_home_folder(self):
    names = ("test_path", "test_paths")
    flag_words.define_path(names[0], "A path.")
    flag_words.define_paths(names[1], "Paths.")
    home = os.path.expanduser("~")
    try:
      flags.FLAGS["test_path"].parse("~/a")
      flags.FLAGS["test_paths"].parse(["b=~/c", "~/d=e", "/~f"])
      self.assertEqual(flags.FLAGS.test_path, f"{home}/a")
      self.assertEqual(
        flags.FLAGS.test_paths, [f"b={home}/c", f"{home}/d=e", "/~f"]
      )
    finally:
      for name in names:
        delattr(flags.FLAGS, name)


class OutputFileTest(absltest.TestCase):
  def test_a_file_that_cannot_be_written_is_told_with_the_flags(self):
    with tempfile.TemporaryDirectory() as folder:
      parser = flag_words.OutputParser(check_output_file)
      path = f"{folder}/new/page.html"
      self.assertEqual(parser.parse(path), path)
      with self.assertRaisesRegex(UserError, "to write to, got a folder"):
        parser.parse(folder)
      pathlib.Path(folder, "file").touch()
      with self.assertRaisesRegex(UserError, "/file: expected a folder to wr"):
        parser.parse(f"{folder}/file/page.html")


class CheckInputsTest(absltest.TestCase):
  def test_what_is_not_there_is_told_with_its_flag(self):
    values = flags.FlagValues()
    flags.DEFINE_string("one", None, "", flag_values=values)
    flags.DEFINE_multi_string("many", [], "", flag_values=values)
    values(["binary"])
    flag_values.check_inputs(values, "one", "many")
    with tempfile.TemporaryDirectory() as folder:
      there = pathlib.Path(folder) / "set.zip"
      there.touch()
      values(["binary", f"--one={there}::faces", f"--many=a={there}"])
      flag_values.check_inputs(values, "one", "many")
      values(["binary", f"--many={folder}/gone"])
      with self.assertRaisesRegex(
        UserError, "^--many: .*/gone: no such file or folder$"
      ):
        flag_values.check_inputs(values, "one", "many")


class NamesTest(parameterized.TestCase):
  @parameterized.parameters(
    ("a, b,,c", ["a", "b", "c"]),
    ('"Smith, John",Ann', ["Smith, John", "Ann"]),
    ("5' 10\" tall, b", ["5' 10\" tall", "b"]),
    ("", []),
  )
  def test_a_name_may_have_a_comma(self, text, expected):
    self.assertEqual(flag_values.split_names(text), expected)

  def test_a_line_that_ends_is_no_name(self):
    with self.assertRaisesRegex(UserError, r"expected names .*got 'a\\nb'"):
      flag_values.split_names("a\nb")

  def test_a_path_that_is_there_may_have_one_without_quotes(self):
    parser = flag_words.PathListParser()
    with tempfile.TemporaryDirectory() as folder:
      path = f"{folder}/Smith, John.jpg"
      self.assertEqual(parser.parse(path), [folder + "/Smith", "John.jpg"])
      pathlib.Path(path).touch()
      self.assertEqual(parser.parse(path), [path])
      self.assertEqual(parser.parse(f'"{path}", b'), [path, "b"])
    home = os.path.expanduser("~")
    self.assertEqual(parser.parse("~/a,b,~/c"), [f"{home}/a", "b", f"{home}/c"])


if __name__ == "__main__":
  absltest.main()
