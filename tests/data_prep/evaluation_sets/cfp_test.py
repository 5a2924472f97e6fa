import pathlib

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.evaluation_sets.cfp import read_cfp_pairs
from tests.data_prep.evaluation_sets.cfp_layout import write_cfp


class CfpTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path) / "cfp-dataset"
    write_cfp(self.folder)

  @parameterized.parameters(("FF", "frontal"), ("FP", "profile"))
  def test_pairs_stand_in_folds_with_the_names_of_their_photos(
    self, protocol, kind
  ):
    found = read_cfp_pairs(self.folder, protocol)
    names = np.array(found.names)
    self.assertEqual(
      names[found.pairs.first].tolist(),
      [f"{person:03d}/frontal/01" for person in (1, 2, 1, 2, 3, 4, 3, 4)],
    )
    self.assertEqual(
      names[found.pairs.second].tolist(),
      [f"{person:03d}/{kind}/02" for person in (1, 2, 2, 1, 3, 4, 4, 3)],
    )
    np.testing.assert_array_equal(found.pairs.same, [1, 1, 0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(found.pairs.fold, [0, 0, 0, 0, 1, 1, 1, 1])

  def test_ten_splits_are_in_the_order_of_their_numbers(self):
    splits = self.folder / "Protocol" / "Split" / "FF"
    (splits / "02").rename(splits / "10")
    found = read_cfp_pairs(self.folder, "FF")
    self.assertEqual(found.names[found.pairs.first[-1]], "004/frontal/01")

  @parameterized.parameters(
    ("Split/FP/01/same.txt", "1;2", "same.txt, line 1: expected two numbers"),
    ("Split/FP/02/diff.txt", "1,99", "diff.txt, line 1: expected a photo of"),
    ("Pair_list_P.txt", "one a/b/c.jpg", "line 1: expected a number and a"),
    ("Pair_list_F.txt", "1 01.jpg", "line 1: expected a number and a photo"),
  )
  def test_what_is_wrong_is_named(self, name, text, problem):
    (self.folder / "Protocol" / name).write_text(text)
    with self.assertRaisesRegex(ValueError, problem):
      read_cfp_pairs(self.folder, "FP")

  def test_another_folder_is_none(self):
    with self.assertRaisesRegex(FileNotFoundError, "Pair_list_F.txt"):
      read_cfp_pairs(self.folder / "Data", "FF")
    with self.assertRaisesRegex(ValueError, "protocol: expected one of FF, FP"):
      read_cfp_pairs(self.folder, "PP")


if __name__ == "__main__":
  absltest.main()
