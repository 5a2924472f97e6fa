import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.evaluation_sets.lfw import read_lfw_pairs
from data_prep.evaluation_sets.pair_lists import find_photos
from tests.fixtures import SHARED_DATA

LIST = "2\t1\nAnn\t1\t4\nAnn\t2\tBob\t10\nCy\t3\t1\nDee\t1\tCy\t1\n"


class LfwTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "pairs.txt"

  def test_pairs_stand_in_folds_with_the_names_of_their_photos(self):
    for text in (LIST, LIST.replace("\n", "\r\n") + "\n\n"):
      self.path.write_bytes(text.encode())
      found = read_lfw_pairs(self.path)
      names = np.array(found.names)
      self.assertEqual(
        names[found.pairs.first].tolist(),
        ["Ann/Ann_0001", "Ann/Ann_0002", "Cy/Cy_0003", "Dee/Dee_0001"],
      )
      self.assertEqual(
        names[found.pairs.second].tolist(),
        ["Ann/Ann_0004", "Bob/Bob_0010", "Cy/Cy_0001", "Cy/Cy_0001"],
      )
      np.testing.assert_array_equal(found.pairs.same, [1, 0, 1, 0])
      np.testing.assert_array_equal(found.pairs.fold, [0, 0, 1, 1])

  def test_a_development_list_is_one_fold(self):
    self.path.write_text("1\nAnn\t1\t4\nAnn\t2\tBob\t10\n")
    np.testing.assert_array_equal(read_lfw_pairs(self.path).pairs.fold, [0, 0])

  def test_the_published_list_is_whole(self):
    real = SHARED_DATA / "lfw" / "pairs.txt"
    if not real.is_file():
      self.skipTest(f"{real} is not there")
    found = read_lfw_pairs(real)
    pairs = found.pairs
    self.assertLen(pairs.same, 6000)
    np.testing.assert_array_equal(pairs.fold, np.arange(6000) // 600)
    np.testing.assert_array_equal(pairs.same, np.arange(6000) % 600 < 300)
    self.assertEqual(found.names[0], "Abel_Pacheco/Abel_Pacheco_0001")
    self.assertEqual(found.names[1], "Abel_Pacheco/Abel_Pacheco_0004")
    people = np.array([name.split("/")[0] for name in found.names])
    np.testing.assert_array_equal(
      people[pairs.first] == people[pairs.second], pairs.same
    )
    # View 2: no person is in two folds.
    folds = [
      set(people[pairs.first[pairs.fold == fold]])
      | set(people[pairs.second[pairs.fold == fold]])
      for fold in range(10)
    ]
    self.assertLen(set.union(*folds), sum(map(len, folds)))
    # Every photo of the list is one of LFW's 13,233.
    with (SHARED_DATA / "lfw" / "lfw_landmark.txt").open() as file:
      photos = [line.split("\t")[0] for line in file]
    self.assertLen(photos, 13_233)
    places = find_photos(found.names, photos, where="LFW")
    self.assertEqual(photos[places[0]], f"{found.names[0]}.jpg")
    with self.assertRaisesRegex(
      ValueError, "LFW: .* [0-9]+ of them .* the first 'Abel_Pacheco/Abel_Pa"
    ):
      find_photos(found.names, photos[100:], where="LFW")

  @parameterized.named_parameters(
    ("empty", "", "line 1: expected the numbers of folds and of pairs"),
    ("text", "ten folds of\n", "line 1: expected the numbers"),
    ("one_short", LIST[: LIST.rindex("Dee")], "expected 2 folds of 1.*got 3"),
    ("lying", "9" + LIST, "expected 92 folds of 1 . 1 pairs.*got 4"),
    ("none", "10\t0\n", "expected 10 folds of 0"),
    (
      "order",
      LIST.replace("Ann\t1\t4", "Ann\t1\tCy\t1"),
      "line 2: .*name, pho",
    ),
    ("same", LIST.replace("Bob", "Ann"), "line 3: expected name, photo, name"),
    ("word", LIST.replace("10", "ten"), "line 3: .*'Ann 2 Bob ten'"),
  )
  def test_a_malformed_list_is_named(self, content, problem):
    self.path.write_text(content)
    with self.assertRaisesRegex(ValueError, f"pairs.txt.*{problem}"):
      read_lfw_pairs(self.path)


if __name__ == "__main__":
  absltest.main()
